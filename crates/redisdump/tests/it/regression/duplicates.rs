//! Duplicate keys and members in a file. Reported as "`verify-file` says whole, `backup` says saved, and `restore`
//! fails half-way".
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use std::path::Path;

use crate::support::{Client, options, start, stream};
use futures::TryStreamExt as _;
use redisdump::rdb::Lint;
use redisdump::verify::{VerifyOptions, verify_file};
use redisdump::{FolderCapture, RestoreOptions, unsupported};
use sandbox::testing::require_redis;
use sandbox::{Redis, RedisOptions};

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u8).to_be_bytes()[..], bytes].concat()
}

/// A file with these bytes between its header and its end.
fn file(body: &[Vec<u8>]) -> Vec<u8> {
    [b"REDIS0006\xfe\0".to_vec(), body.concat(), b"\xff".to_vec(), vec![0; 8]].concat()
}

fn key(value_type: u8, name: &str, value: &[&[u8]]) -> Vec<u8> {
    [vec![value_type], string(name.as_bytes()), value.concat()].concat()
}

fn text(name: &str) -> Vec<u8> {
    key(0, name, &[b"\x01v"])
}

/// A listpack of short strings.
fn listpack(entries: &[&str]) -> Vec<u8> {
    let entry =
        |text: &&str| [&[0x80 | text.len() as u8][..], text.as_bytes(), &[1 + text.len() as u8]].concat();
    let body: Vec<u8> = entries.iter().flat_map(entry).collect();
    let length = 7 + body.len() as u32;
    [&length.to_le_bytes()[..], &(entries.len() as u16).to_le_bytes(), &body, &[0xff]].concat()
}

fn found(path: &Path) -> Vec<(Lint, u64, String)> {
    let verified = verify_file(path, VerifyOptions::default(), &mut |_| ()).unwrap();
    verified.anomalies.iter().map(|odd| (odd.what, odd.keys, odd.key.clone())).collect()
}

async fn taken(path: &Path) -> Result<(), redisdump::Error> {
    let mut capture = FolderCapture::open(path, None).await?;
    capture.read_next().try_for_each(async |_| Ok(())).await?;
    capture.finish().map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_are_found_wherever_a_file_is_read() {
    let Some(binaries) = require_redis("7.0") else { return };
    let target = start(&binaries, RedisOptions::default());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump.rdb");
    let set = key(2, "s", &[b"\x02", &string(b"a"), &string(b"a")]);
    let zset = key(3, "z", &[b"\x02", &string(b"m"), b"\x011", &string(b"m"), b"\x012"]);
    let hash = key(4, "h", &[b"\x02", &string(b"f"), b"\x01v", &string(b"f"), b"\x01w"]);
    let packed = {
        let list = listpack(&["f", "v", "f", "w"]);
        let mut bytes = file(&[text("a"), key(16, "p", &[&string(&list)])]);
        bytes[5..9].copy_from_slice(b"0010");
        bytes
    };
    let large = {
        let fields: Vec<u8> = (0..599)
            .chain([7])
            .flat_map(|n| [string(format!("{n}").as_bytes()), string(b"v")].concat())
            .collect();
        key(4, "l", &[&[0x42, 0x58], &fields])
    };
    // The lint; whether a server loads it anyway; whether it is accepted from a folder.
    for (bytes, what, name, loaded, accepted) in [
        (file(&[text("a"), text("b"), text("a"), text("c"), text("c")]), Lint::KeyTwice, "a", false, false),
        (file(&[text("before"), set, text("after")]), Lint::TableTwice, "s", false, false),
        (file(&[zset, text("after")]), Lint::TableTwice, "z", false, false),
        (file(&[large, text("after")]), Lint::TableTwice, "l", false, false),
        (file(&[hash, text("after")]), Lint::PackedTwice, "h", true, false),
        (packed, Lint::PackedTwice, "p", true, true),
    ] {
        std::fs::write(&path, &bytes).unwrap();
        let keys = if what == Lint::KeyTwice { 2 } else { 1 };
        assert_eq!(found(&path), [(what, keys, name.to_owned())], "{bytes:x?}");
        let settings = RestoreOptions::default();
        let survey = unsupported(stream(&bytes), &options(&target), &settings).await;
        let loads =
            Redis::start(&binaries, RedisOptions { rdb: Some(path.clone()), ..RedisOptions::default() });
        assert!(!verify_file(&path, VerifyOptions::default(), &mut |_| ()).unwrap().is_whole());
        assert_eq!(loads.is_ok(), loaded, "{name}");
        if accepted {
            assert!(survey.is_ok() && taken(&path).await.is_ok());
            continue;
        }
        let error = taken(&path).await.unwrap_err().to_string();
        assert!(error.contains(&format!("key {name} of database 0")), "{error}");
        let error = survey.unwrap_err();
        assert!(error.is_refused(), "{error}");
        assert_eq!(Client::new(&target).ask("DBSIZE"), "0");
    }
    // The same name in two databases, and one that comes empty the first time, are none.
    let empty = key(2, "a", &[b"\0"]);
    std::fs::write(&path, file(&[empty, text("a"), b"\xfe\x01".to_vec(), text("a")])).unwrap();
    assert_eq!(found(&path), []);
    taken(&path).await.unwrap();
}

/// More members and keys than fit in memory at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run by scripts/test --all"]
async fn of_millions_the_one_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump.rdb");
    let count = 2_500_000_u32;
    for twice in [false, true] {
        let last = if twice { 17 } else { count };
        let names = (0..count).chain([last]).map(|n| n.to_string());
        let members: Vec<u8> = names.flat_map(|name| string(name.as_bytes())).collect();
        let length = [&[0x80][..], &(count + 1).to_be_bytes()].concat();
        let set = key(2, "set", &[&length, &members]);
        let keys: Vec<u8> = (0..count).chain([last]).flat_map(|n| text(&n.to_string())).collect();
        std::fs::write(&path, file(&[set, keys])).unwrap();
        let expected = match twice {
            true => vec![(Lint::TableTwice, 1, "set".to_owned()), (Lint::KeyTwice, 1, "17".to_owned())],
            false => Vec::new(),
        };
        assert_eq!(found(&path), expected);
        assert_eq!(taken(&path).await.is_err(), twice);
    }
}
