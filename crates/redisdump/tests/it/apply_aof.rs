//! Append-only files of real servers into others.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::{Client, Corners, fill, options, resp_of, start};
use redisdump::{AofReport, CompareOptions, Error, KeyChoice, RestoreOptions, apply_aof, compare};
use sandbox::testing::require_redis;
use sandbox::{Redis, RedisOptions};

fn plain(version: &str) -> Option<Redis> {
    Some(start(&require_redis(version)?, RedisOptions::default()))
}

/// A server that keeps an AOF.
fn keeping(version: &str, more: &[(&str, &str)]) -> Option<Redis> {
    let settings = [("appendonly", "yes"), ("appendfsync", "always")];
    let debug = [("enable-debug-command", "yes")];
    let new = !matches!(version, "3.0" | "5.0" | "6.2");
    let settings = settings
        .iter()
        .chain(debug.iter().filter(|_| new))
        .chain(more)
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    Some(start(&require_redis(version)?, RedisOptions { settings, ..RedisOptions::default() }))
}

/// Writes its data into a new base, and waits until that is done.
fn rewrite(client: &mut Client) {
    client.ask("BGREWRITEAOF");
    for _ in 0..200 {
        std::thread::sleep(Duration::from_millis(50));
        let info = client.ask("INFO persistence");
        if info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0") {
            return;
        }
    }
    panic!("the rewrite does not end");
}

/// A copy of what the server has written so far: a running server continues writing.
fn copied(client: &mut Client, to: &Path) -> PathBuf {
    let folder = client.ask("CONFIG GET dir");
    let folder = Path::new(folder.strip_prefix("dir ").unwrap());
    let parts = folder.join("appendonlydir");
    if !parts.exists() {
        let file = to.join("appendonly.aof");
        std::fs::copy(folder.join("appendonly.aof"), &file).unwrap();
        return file;
    }
    for entry in std::fs::read_dir(parts).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    to.to_owned()
}

async fn applied(path: &Path, to: &Redis) -> Result<AofReport, Error> {
    apply_aof(path, &options(to), &RestoreOptions::default(), None, &|_| ()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_restored_from_its_append_only_file() {
    for (from, to, rewritten) in [
        ("3.0", "3.0", true),
        ("6.2", "6.2", true),
        ("6.2", "8.6", false),
        ("8.6", "8.6", true),
        ("valkey-9", "valkey-9", true),
    ] {
        let (Some(source), Some(target)) = (keeping(from, &[]), plain(to)) else { continue };
        let mut client = Client::new(&source);
        if rewritten {
            client.ask("SET before rewriting");
            client.ask("RPUSH list first");
            rewrite(&mut client);
        }
        fill(&source, if from == "3.0" { Corners::Oldest } else { Corners::All });
        for line in ["MULTI", "INCR counter", "INCR counter", "RENAME text renamed", "EXEC", "DEL set"] {
            client.ask(line);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = copied(&mut client, folder.path());
        let report = applied(&path, &target).await.unwrap();
        // Before 7.0 a file does not record everything, such as each created consumer. Compare with what the server
        // itself loads from it.
        client.ask("DEBUG LOADAOF");
        let found =
            compare(&options(&source), &options(&target), &CompareOptions::default(), &|_| ()).await.unwrap();
        assert!(found.equal(), "{from} -> {to}: {found}\n{report}");
        assert!(report.commands > 35 && report.cut.is_none() && report.keys == found.keys, "{report}");
        assert_eq!(report.base_keys, if rewritten && from != "3.0" { 2 } else { 0 }, "{report}");
    }
}

/// A file of commands; a line of the form `#…` is an annotation.
pub(crate) fn aof<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines {
        if line.starts_with('#') {
            out.extend(format!("{line}\r\n").into_bytes());
            continue;
        }
        out.extend(resp_of(line));
    }
    out
}

/// Such a file in a folder; its lines are separated by `|`.
fn file_of(lines: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("appendonly.aof");
    std::fs::write(&path, aof(lines.split('|').map(str::trim))).unwrap();
    (folder, path)
}

/// While a server loads its own file nothing expires: a key that was renewed or made lasting in time is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expiries_that_have_passed_pass_only_when_all_commands_have_run() {
    for version in ["5.0", "7.0", "8.6"] {
        let (Some(source), Some(target)) = (keeping(version, &[]), plain(version)) else { continue };
        let mut client = Client::new(&source);
        for line in
            ["SET renewed v PX 1500", "SET lasting v PX 1500", "SET moved v PX 1500", "SET gone v PX 1500"]
        {
            client.ask(line);
        }
        client.ask("SET soon v EX 7200");
        if version == "8.6" {
            client.ask("HSET base kept v gone v");
            client.ask("HPEXPIRE base 1500 FIELDS 2 kept gone");
        }
        if version != "5.0" {
            rewrite(&mut client);
        }
        for line in [
            "PEXPIRE renewed 9999999",
            "PERSIST lasting",
            "RENAME moved there",
            "PEXPIREAT there 9999999999999",
        ] {
            client.ask(line);
        }
        let fields = version == "8.6";
        if fields {
            client.ask("HPEXPIREAT base 9999999999999 FIELDS 1 kept");
            client.ask("HSET h kept v gone v");
            client.ask("HPEXPIRE h 1500 FIELDS 2 kept gone");
            client.ask("HPEXPIREAT h 9999999999999 FIELDS 1 kept");
            client.ask("HPEXPIRE h 5000000 NX FIELDS 1 kept");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = copied(&mut client, folder.path());
        std::thread::sleep(Duration::from_millis(1700));
        let report = applied(&path, &target).await.unwrap();
        assert_eq!(
            (report.expired, report.expired_fields),
            (1, 2 * u64::from(fields)),
            "{version}: {report}"
        );
        assert!(report.expiry_exact);
        let found =
            compare(&options(&source), &options(&target), &CompareOptions::default(), &|_| ()).await.unwrap();
        assert!(found.equal() && found.equal_keys == 4 + 2 * u64::from(fields), "{version}: {found}");
        let mut to = Client::new(&target);
        assert_eq!(to.ask("PTTL lasting"), "-1");
        let left: i64 = to.ask("PTTL soon").parse().unwrap();
        assert!((7_190_000..=7_200_000).contains(&left), "{left}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unsupported_commands_are_named_before_anything_is_written() {
    let Some(target) = plain("7.0") else { return };
    let mut to = Client::new(&target);
    // Unknown; harmful; no writing.
    let lines =
        "SELECT 0|SET a 1|SETEX b 100 x|JSON.SET c . 1|MIGRATE h 1 a 0 1|SHUTDOWN|GET a|SET d 1|EXPIRE d 50";
    let (_folder, path) = file_of(lines);
    let refused = applied(&path, &target).await.unwrap_err();
    let text = refused.to_string();
    assert!(refused.is_refused(), "{text}");
    for named in ["byte 88: JSON.SET c", "MIGRATE h", "SHUTDOWN", "GET a"] {
        assert!(text.contains(named), "{named} in {text}");
    }
    assert_eq!(to.ask("DBSIZE"), "0");
    let skip = RestoreOptions { skip_unsupported: true, ..RestoreOptions::default() };
    let report = apply_aof(&path, &options(&target), &skip, None, &|_| ()).await.unwrap();
    assert_eq!(
        (report.commands, report.refusals, report.refused.len(), report.keys),
        (5, 4, 4, 3),
        "{report}"
    );

    // An occupied server, unless it is emptied by its name.
    let refused = applied(&path, &target).await.unwrap_err();
    assert!(refused.is_refused() && refused.to_string().contains("is not empty"), "{refused}");
    let flush = RestoreOptions { flush: Some(options(&target).address()), ..RestoreOptions::default() };
    let (_folder, path) = file_of("#TS:4102444800|SETEX b 100 x|#TS:4102444801|HSET h f v|EXPIRE h 7");
    assert_eq!(apply_aof(&path, &options(&target), &flush, None, &|_| ()).await.unwrap().keys, 2);
    assert_eq!(to.ask("PEXPIRETIME b"), "4102444900000");
    assert_eq!(to.ask("PEXPIRETIME h"), "4102444808000");
    // A point in time.
    let report = apply_aof(&path, &options(&target), &flush, Some(4_102_444_800), &|_| ()).await.unwrap();
    assert_eq!((report.commands, report.keys), (1, 1), "{report}");

    // Commands that the server rejects are reported with their offset, even within a transaction, and end a strict
    // replay.
    let replay = redisdump::ReplayOptions { strict: true, ..redisdump::ReplayOptions::default() };
    let flush = RestoreOptions { replay, ..flush };
    let (_folder, path) = file_of("SET a x|MULTI|SET b 1|INCR a|EXEC|SET c 1");
    let failed = apply_aof(&path, &options(&target), &flush, None, &|_| ()).await.unwrap_err().to_string();
    assert!(
        failed.contains("byte 69: INCR a (in a transaction)") && failed.contains("not an integer"),
        "{failed}"
    );
    let both = RestoreOptions { skip_unsupported: true, ..flush };
    let report = apply_aof(&path, &options(&target), &both, None, &|_| ()).await.unwrap();
    assert_eq!((report.refusals, report.keys), (1, 3), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn some_keys_other_databases_and_a_tail_that_does_not_count() {
    let Some(target) = plain("7.0") else { return };
    let mut to = Client::new(&target);
    let lines = "SET bot:a 1|SET x 1|MSET bot:b 2 y 2|DEL x bot:a|SELECT 3|SET bot:c 3|MULTI|SET bot:d 1|EXEC|MULTI|SET bot:e 1";
    let (_folder, path) = file_of(lines);
    let choice =
        KeyChoice { include: vec!["bot:*".into()], databases: [(3, 5)].into(), ..KeyChoice::default() };
    let some = RestoreOptions { choice, rate: Some(1000), ..RestoreOptions::default() };
    let report = apply_aof(&path, &options(&target), &some, None, &|_| ()).await.unwrap();
    assert_eq!((report.keys, report.unwanted), (3, 1), "{report}");
    let cut = report.cut.unwrap();
    assert_eq!(cut.tail.reason, redisdump::aof::CutReason::UnfinishedTransaction);
    assert_eq!(
        (to.ask("KEYS *"), to.ask("SELECT 5"), to.ask("DBSIZE")),
        ("bot:b".into(), "OK".into(), "2".into())
    );

    // Keys of which only some are wanted, and databases that would become one.
    let (_folder, path) = file_of("SET bot:a 1|RENAME bot:a c|SELECT 5|SET bot:x 1|SELECT 3|SET bot:x 2");
    let flush = RestoreOptions { flush: Some(options(&target).address()), ..some };
    let text = apply_aof(&path, &options(&target), &flush, None, &|_| ()).await.unwrap_err().to_string();
    assert!(text.contains("RENAME bot:a") && text.contains("both go into database 5"), "{text}");
    assert_eq!(to.ask("DBSIZE"), "2");
}
