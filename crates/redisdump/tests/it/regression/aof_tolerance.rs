//! Append-only files as tolerantly as servers load them: commands that fail on every server, relative expiries, commands
//! that block, databases that the target has not, broken tails. Reported as "a 5.0 AOF with an empty stream cannot be
//! restored", "SET EX of 3.2 is dropped", "restore hangs on BRPOPLPUSH", "SELECT 20 fails half-way".
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::support::{Client, options, resp_of, start};
use redisdump::verify::{VerifyOptions, repair, verify_file};
use redisdump::{
    AofReport, CompareOptions, Error, ExpiryBase, KeyChoice, Remedy, ReplayOptions, RestoreOptions,
    apply_aof, compare,
};
use sandbox::testing::require_redis;
use sandbox::{Redis, RedisOptions};

fn plain(version: &str) -> Option<Redis> {
    Some(start(&require_redis(version)?, RedisOptions::default()))
}

fn file_of(lines: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("appendonly.aof");
    std::fs::write(&path, lines.iter().flat_map(|line| resp_of(line)).collect::<Vec<u8>>()).unwrap();
    (folder, path)
}

async fn applied(path: &Path, to: &Redis, replay: ReplayOptions) -> Result<AofReport, Error> {
    let flush = Some(options(to).address());
    let settings = RestoreOptions { flush, replay, ..RestoreOptions::default() };
    apply_aof(path, &options(to), &settings, None, &|_| ()).await
}

/// 5.0 rewrites a stream created by `XGROUP CREATE … MKSTREAM` as an XADD with the id 0-0. It answers that with an
/// error, but creates the stream; later servers do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_stream_of_an_old_file_is_there() {
    let (Some(binaries), Some(target)) = (require_redis("5.0"), plain("7.0")) else { return };
    let settings = vec![("aof-use-rdb-preamble".to_owned(), "no".to_owned())];
    let mut source = start(&binaries, RedisOptions { appendonly: true, settings, ..RedisOptions::default() });
    let mut client = Client::new(&source);
    for line in ["SET a 1", "XGROUP CREATE s g $ MKSTREAM", "XADD t 5-5 f v", "BGREWRITEAOF"] {
        client.ask(line);
    }
    let done =
        |info: String| info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0");
    while !done(client.ask("INFO persistence")) {
        std::thread::sleep(Duration::from_millis(20));
    }
    client.ask("SET b 2");
    source.restart().unwrap();
    let report = applied(source.dir(), &target, ReplayOptions::default()).await.unwrap();
    assert_eq!((report.errors, report.refusals, report.empty_streams), (0, 0, 1), "{report}");
    // The server's own result of loading its file.
    let found =
        compare(&options(&source), &options(&target), &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(found.equal() && found.equal_keys == 4, "{found}\n{report}");

    let strict = ReplayOptions { strict: true, ..ReplayOptions::default() };
    let failed = applied(source.dir(), &target, strict).await.unwrap_err().to_string();
    assert!(failed.contains("XADD s"), "{failed}");
}

/// In a transaction the other commands are run; an error specific to the target ends the replay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_the_data_and_errors_of_the_target() {
    let Some(target) = plain("7.0") else { return };
    let mut to = Client::new(&target);
    let lines =
        ["SET a x", "INCR a", "MULTI", "SET b 1", "INCR a", "SET c 1", "EXEC", "RPUSH a 1", "SET d 1"];
    let (_folder, path) = file_of(&lines);
    let report = applied(&path, &target, ReplayOptions::default()).await.unwrap();
    assert_eq!((report.commands, report.errors, report.keys), (6, 3, 4), "{report}");
    assert_eq!(report.error_replies.len(), 3, "{report}");
    assert!(report.error_replies[1].contains("INCR a (in a transaction)"), "{report}");
    // A server never wrote a command that it did not support.
    let (_folder, path) = file_of(&["SET a 1", "SET b 2 NONSENSE", "SET c 1"]);
    let failed = applied(&path, &target, ReplayOptions::default()).await.unwrap_err().to_string();
    assert!(failed.contains("SET b") && failed.contains("syntax error"), "{failed}");
    to.ask("FLUSHALL");
    to.ask("CONFIG SET maxmemory 1");
    let (_folder, path) = file_of(&["SET a 1"]);
    let failed = applied(&path, &target, ReplayOptions::default()).await.unwrap_err().to_string();
    assert!(failed.contains("OOM"), "{failed}");
}

/// Stream counters of a newer server, sent to an older one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_of_streams_do_not_end_a_replay() {
    let lines = [
        "SET a 1",
        "XADD s MAXLEN 0 1-5 x y",
        "XSETID s 1-5 ENTRIESADDED 9 MAXDELETEDID 1-4",
        "XGROUP CREATE s g 1-5 ENTRIESREAD 9",
    ];
    let (_folder, path) = file_of(&lines);
    for version in ["6.2", "7.0", "8.6", "valkey-9"] {
        let Some(target) = plain(version) else { continue };
        let report = applied(&path, &target, ReplayOptions::default()).await.unwrap();
        let left_out = if version == "6.2" { 2 } else { 0 };
        assert_eq!(
            (report.errors, report.keys, report.stream_counters_left_out),
            (0, 2, left_out),
            "{report}"
        );
        assert!(Client::new(&target).ask("XINFO GROUPS s").contains("1-5"));
    }
}

/// `SET … EX` as 3.0 and 3.2 write it: counted from the file's time, or from now; the key is there in any case.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relative_expiries_are_counted_from_the_files_time() {
    let Some(target) = plain("3.0") else { return };
    let (binaries, mut to) = (require_redis("3.0").unwrap(), Client::new(&target));
    let mut source = start(&binaries, RedisOptions { appendonly: true, ..RedisOptions::default() });
    let mut client = Client::new(&source);
    for line in ["SET hour v EX 3600", "SET soon v PX 100000", "SETEX day 86400 v", "SET lasting v EX 5"] {
        client.ask(line);
    }
    client.ask("PERSIST lasting");
    source.stop();
    let path = source.dir().join("appendonly.aof");
    let half_an_hour_ago = SystemTime::now() - Duration::from_secs(1800);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(half_an_hour_ago).unwrap();
    let report = applied(&path, &target, ReplayOptions::default()).await.unwrap();
    let undated = report.undated_expiries.unwrap();
    assert!(undated.count >= 3, "{report}");
    assert_eq!((report.expired, report.keys, to.ask("TTL lasting")), (1, 3, "-1".to_owned()), "{report}");
    let left: i64 = to.ask("TTL hour").parse().unwrap();
    assert!((1790..=1800).contains(&left), "{left}");
    let from_now = ReplayOptions { expiry_base: ExpiryBase::Now, ..ReplayOptions::default() };
    let report = applied(&path, &target, from_now).await.unwrap();
    let left: i64 = to.ask("TTL hour").parse().unwrap();
    assert!((3590..=3600).contains(&left) && report.keys == 4, "{left}: {report}");
}

/// A server that loads its file does not wait for elements.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_block_do_not() {
    let lines = [
        "SET a 1",
        "BRPOPLPUSH nosrc dst 0",
        "RPUSH src x y",
        "BRPOPLPUSH src dst 0",
        "BLPOP none other 0",
        "MULTI",
        "BRPOPLPUSH nosrc dst 0",
        "EXEC",
        "SET after 1",
    ];
    let (_folder, path) = file_of(&lines);
    for version in ["3.0", "6.2", "8.6"] {
        let Some(target) = plain(version) else { continue };
        let began = Instant::now();
        let report = applied(&path, &target, ReplayOptions::default()).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(20), "{version}");
        assert_eq!((report.commands, report.errors, report.keys), (9, 0, 4), "{version}: {report}");
        assert_eq!(Client::new(&target).ask("LRANGE dst 0 -1"), "y", "{version}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_the_target_lacks_is_found_before_anything_is_written() {
    let Some(target) = plain("7.0") else { return };
    let mut to = Client::new(&target);
    to.ask("SET kept 1");
    let (_folder, path) = file_of(&["SELECT 0", "SET a 1", "SELECT 20", "SET z 1"]);
    let refused = applied(&path, &target, ReplayOptions::default()).await.unwrap_err();
    let text = refused.to_string();
    assert!(refused.is_refused() && text.contains("database 20"), "{text}");
    assert_eq!(refused.remedies(), [&Remedy::ChangeDatabase { from: 20 }]);
    assert_eq!(to.ask("GET kept"), "1");
    let elsewhere = RestoreOptions {
        flush: Some(options(&target).address()),
        choice: KeyChoice { databases: [(20, 2)].into(), ..KeyChoice::default() },
        ..RestoreOptions::default()
    };
    let report = apply_aof(&path, &options(&target), &elsewhere, None, &|_| ()).await.unwrap();
    assert_eq!((report.keys, to.ask("SELECT 2"), to.ask("GET z")), (2, "OK".into(), "1".into()), "{report}");
}

/// A copy without the broken tail, which a server loads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_tail_is_repaired_into_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    let whole: Vec<u8> = ["SET a 1", "SET b 2"].iter().flat_map(|line| resp_of(line)).collect();
    let transaction: Vec<u8> = ["MULTI", "SET c 3"].iter().flat_map(|line| resp_of(line)).collect();
    let tails: [(&str, Vec<u8>); 5] = [
        ("cut", resp_of("SET c 3")[..17].to_vec()),
        ("transaction", transaction.clone()),
        ("zeros", vec![0; 300]),
        ("length", b"*3\r\n$3\r\nSET\r\n$x\r\n".to_vec()),
        ("garbage in a transaction", [transaction, b"garbage\r\n".to_vec(), resp_of("SET d 4")].concat()),
    ];
    for (name, tail) in tails {
        let path = folder.path().join(format!("{name}.aof"));
        let to = folder.path().join(format!("{name} repaired.aof"));
        std::fs::write(&path, [whole.clone(), tail.clone()].concat()).unwrap();
        let repaired = repair(&path, &to).unwrap().unwrap();
        assert_eq!(
            (repaired.offset, repaired.bytes_dropped, repaired.commands),
            (whole.len() as u64, tail.len() as u64, 2),
            "{name}"
        );
        assert_eq!(std::fs::read(&to).unwrap(), whole, "{name}");
        assert_eq!(std::fs::read(&path).unwrap().len(), whole.len() + tail.len());
        // Nothing is written over, and nothing where nothing is broken.
        assert!(repair(&path, &to).is_err());
        let none = folder.path().join("none");
        assert!(repair(&to, &none).unwrap().is_none() && !none.exists());
    }
    // Not a tail: an RDB at the front.
    let path = folder.path().join("front.aof");
    std::fs::write(&path, b"REDIS0009\xfe\0\0\x01k\xff").unwrap();
    assert!(repair(&path, &folder.path().join("no")).is_err());

    // In many parts, with a base that is an RDB.
    let Some(binaries) = require_redis("8.2") else { return };
    let mut source = start(&binaries, RedisOptions { appendonly: true, ..RedisOptions::default() });
    let mut client = Client::new(&source);
    client.ask("SET base 1");
    client.ask("BGREWRITEAOF");
    while client.ask("INFO persistence").contains("aof_rewrite_in_progress:1") {
        std::thread::sleep(Duration::from_millis(20));
    }
    client.ask("SET later 1");
    source.stop();
    let parts = source.dir().join("appendonlydir");
    let last = std::fs::read_dir(&parts).unwrap().map(|entry| entry.unwrap().path());
    let last = last.filter(|path| path.to_string_lossy().contains("incr")).max().unwrap();
    let mut bytes = std::fs::read(&last).unwrap();
    bytes.extend(b"\0\0\0\0");
    std::fs::write(&last, bytes).unwrap();
    let to = folder.path().join("appendonlydir");
    let repaired = repair(&parts, &to).unwrap().unwrap();
    assert_eq!((repaired.bytes_dropped, &repaired.file), (4, &last));
    let verified = verify_file(&to, VerifyOptions::default(), &mut |_| ()).unwrap();
    assert!(verified.is_whole() && verified.aof.unwrap().cut.is_none());
    let Some(target) = plain("8.2") else { return };
    let report = applied(&to, &target, ReplayOptions::default()).await.unwrap();
    assert_eq!(report.keys, 2, "{report}");
}
