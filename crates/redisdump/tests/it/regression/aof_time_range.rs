//! Points in time of an append-only file, and read commands that nevertheless occur in one. Reported as "`--until` is
//! ignored" and "every AOF with PFCOUNT is refused".
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::apply_aof::aof;
use crate::support::{Client, options, start};
use redisdump::{AofReport, CompareOptions, Error, RestoreOptions, apply_aof, compare};
use sandbox::testing::require_redis;
use sandbox::{Redis, RedisOptions};

fn plain(version: &str) -> Option<Redis> {
    Some(start(&require_redis(version)?, RedisOptions::default()))
}

async fn applied(path: &Path, to: &Redis, until: Option<i64>) -> Result<AofReport, Error> {
    let flush = RestoreOptions { flush: Some(options(to).address()), ..RestoreOptions::default() };
    apply_aof(path, &options(to), &flush, until, &|_| ()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undated_moment_is_refused() {
    let Some(target) = plain("7.0") else { return };
    let mut to = Client::new(&target);
    to.ask("SET kept 1");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("appendonly.aof");
    // Without any time; of unknown time before the first; all dated.
    for (lines, until, words) in [
        (&["SET a 1", "DEL a"][..], 4_000_000_000, "no timestamps"),
        (&["SET a 1", "#TS:2000", "SET b 1"][..], 1999, "Earliest moment: 1970-01-01T00:33:20Z"),
        (&["#TS:2000", "SET b 1", "#TS:3000", "SET c 1"][..], 1999, "latest: 1970-01-01T00:50:00Z"),
    ] {
        std::fs::write(&path, aof(lines.iter().copied())).unwrap();
        let refused = applied(&path, &target, Some(until)).await.unwrap_err();
        assert!(refused.is_refused() && refused.to_string().contains(words), "{refused}");
        assert_eq!(to.ask("GET kept"), "1");
    }
    let report = applied(&path, &target, Some(2000)).await.unwrap();
    assert_eq!((report.keys, to.ask("GET b")), (1, "1".to_owned()));
    assert_eq!(applied(&path, &target, Some(9999)).await.unwrap().keys, 2);
}

/// A file written by a server: a base with its time, and dated commands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_base_says_when_it_was_written() {
    let (Some(binaries), Some(target)) = (require_redis("8.2"), plain("8.2")) else { return };
    let settings = vec![("aof-timestamp-enabled".to_owned(), "yes".to_owned())];
    let mut source = start(&binaries, RedisOptions { appendonly: true, settings, ..RedisOptions::default() });
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let mut client = Client::new(&source);
    client.ask("SET base 1");
    client.ask("BGREWRITEAOF");
    while client.ask("INFO persistence").contains("aof_rewrite_in_progress:1") {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(2100));
    let between = now() - 1;
    client.ask("SET later 1");
    source.stop();
    for (until, keys) in [(between, Some(1)), (now(), Some(2)), (between - 3600, None)] {
        match (applied(source.dir(), &target, Some(until)).await, keys) {
            (Ok(report), Some(keys)) => assert_eq!(report.keys, keys, "{until}: {report}"),
            (Err(error), None) => {
                assert!(error.is_refused() && error.to_string().contains("Earliest moment: 20"), "{error}");
            }
            (got, _) => panic!("{until}: {got:?}"),
        }
    }
}

/// PFCOUNT caches its result, and is logged for that, by every version.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_are_handed_on_though_they_read() {
    for version in ["3.2", "5.0", "6.2", "7.0", "8.6", "valkey-9"] {
        let (Some(binaries), Some(target)) = (require_redis(version), plain(version)) else { continue };
        let settings = vec![("appendfsync".to_owned(), "always".to_owned())];
        let mut source =
            start(&binaries, RedisOptions { appendonly: true, settings, ..RedisOptions::default() });
        let mut client = Client::new(&source);
        for line in ["PFADD h a b c", "PFCOUNT h", "PFADD h d", "PFCOUNT h", "SET x 1", "PUBLISH c m"] {
            client.ask(line);
        }
        source.restart().unwrap();
        let report = applied(source.dir(), &target, None).await.unwrap();
        assert!(report.commands >= 5 && report.keys == 2, "{version}: {report}");
        let found =
            compare(&options(&source), &options(&target), &CompareOptions::default(), &|_| ()).await.unwrap();
        assert!(found.equal(), "{version}: {found}");
    }
}
