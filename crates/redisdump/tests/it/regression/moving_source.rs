//! A source that is written to while it is copied. Reported as "389 keys differ after a migration under 500 writes a
//! second".
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use crate::support::{Client, Corners, captured, fill, options, start, stream};
use redisdump::{
    Capture, CaptureMethod, CaptureOptions, CompareOptions, Comparison, DigestLog, OnExisting,
    RestoreOptions, prove, prove_digests, restore, write_position,
};
use sandbox::testing::require_redis;
use sandbox::{Redis, RedisOptions};

fn plain(version: &str) -> Option<Redis> {
    Some(start(&require_redis(version)?, RedisOptions::default()))
}

async fn copied(source: &Redis, target: &Redis, method: CaptureMethod, held: usize) -> Comparison {
    let log = DigestLog::against(&options(target)).await.unwrap().holding(held);
    let settings = CaptureOptions::by(method);
    let mut capture = Capture::start_with_digests(&options(source), &settings, log).await.unwrap();
    let skip = RestoreOptions { skip_unsupported: true, ..RestoreOptions::default() };
    let restored = restore(&mut capture, &options(target), &skip, &|_| ()).await.unwrap();
    let mut client = Client::new(source);
    client.ask("FLUSHALL");
    client.ask("SET other 1");
    let settings = CompareOptions { left_out: restored.left_out, ..CompareOptions::default() };
    let log = capture.digests().unwrap();
    prove_digests(log, "what was captured", &options(target), &settings, &|_| ()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_held_against_what_was_captured() {
    for (from, to, method, held) in [
        ("7.0", "7.0", CaptureMethod::Psync, 1 << 20),
        ("8.6", "valkey-9", CaptureMethod::Scan, 1000),
        ("8.2", "5.0", CaptureMethod::Psync, 0),
        ("valkey-9", "8.2", CaptureMethod::Psync, 1000),
    ] {
        let (Some(source), Some(target)) = (plain(from), plain(to)) else { continue };
        fill(&source, Corners::All);
        let before = write_position(&options(&source)).await.unwrap();
        let still = write_position(&options(&source)).await.unwrap();
        assert_eq!(before.written_until(&still), Some(false));
        let found = copied(&source, &target, method, held).await;
        assert!(found.equal() && found.keys > 25, "{from} {to}: {found}");
        let after = write_position(&options(&source)).await.unwrap();
        assert_eq!(before.written_until(&after), Some(true), "{before:?} {after:?}");
        // Missing and additional keys of the target are found as usual.
        let mut client = Client::new(&target);
        client.ask("FLUSHALL");
        let (again, other) = (plain(from).unwrap(), plain(to).unwrap());
        fill(&again, Corners::Oldest);
        let log = DigestLog::against(&options(&other)).await.unwrap();
        let settings = CaptureOptions::by(method);
        let mut capture = Capture::start_with_digests(&options(&again), &settings, log).await.unwrap();
        restore(&mut capture, &options(&other), &RestoreOptions::default(), &|_| ()).await.unwrap();
        let mut client = Client::new(&other);
        client.ask("DEL hash");
        client.ask("SET int 1");
        client.ask("SET beside 1");
        let settings = CompareOptions::default();
        let log = capture.digests().unwrap();
        let found = prove_digests(log, "it", &options(&other), &settings, &|_| ()).await.unwrap();
        let mut keys: Vec<&str> =
            found.differences.iter().map(|difference| difference.key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["beside", "hash", "int"], "{found}");
    }
}

/// If a key had expired before it was sent, the target's key of that name is left unchanged, which is not a
/// difference.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_expired_on_the_way_does_not_make_the_targets_own_a_difference() {
    let (Some(source), Some(target)) = (plain("7.0"), plain("7.0")) else { return };
    let (mut from, mut to) = (Client::new(&source), Client::new(&target));
    for line in ["SET goes 1 PX 600", "SET stays 1", "HSET hash f v", "PEXPIRE hash 600"] {
        from.ask(line);
    }
    to.ask("SET goes own");
    to.ask("SET hash own");
    let (rdb, _) = captured(&source).await;
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    for on_existing in [OnExisting::Replace, OnExisting::Skip] {
        let settings = RestoreOptions { on_existing, ..RestoreOptions::default() };
        let report = restore(stream(&rdb), &options(&target), &settings, &|_| ()).await.unwrap();
        assert_eq!(report.expired, 2, "{report}");
        let mut settings = CompareOptions { others_allowed: true, ..CompareOptions::default() };
        let found = prove(stream(&rdb), &options(&target), &settings, &|_| ()).await.unwrap();
        assert!(found.equal() && (found.equal_keys, found.expired_meanwhile) == (1, 2), "{found}");
        // A target that was empty has no keys of its own.
        settings.others_allowed = false;
        let found = prove(stream(&rdb), &options(&target), &settings, &|_| ()).await.unwrap();
        assert_eq!(found.different_keys, 2, "{found}");
    }
    assert_eq!((to.ask("GET goes"), to.ask("GET hash")), ("own".to_owned(), "own".to_owned()));
}
