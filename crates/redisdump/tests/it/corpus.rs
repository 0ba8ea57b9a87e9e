//! Public RDB and AOF files: each is read as a real server reads it, or is an error with its place.
//!
//! The files are not ours to hand on: `DBHAUL_REDIS_CORPUS` names a folder of them (any tree of `.rdb` and `.aof` files).
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    missing_docs,
    reason = "test code; a skipped test must be seen"
)]

use std::path::{Path, PathBuf};

use crate::support::{options, start, stream};
use redisdump::inspect::{InspectOptions, inspect_path};
use redisdump::verify::{VerifyOptions, verify_file};
use redisdump::{CompareOptions, RestoreOptions, apply_aof, compare, prove};
use sandbox::testing::require_redis;
use sandbox::{Redis, RedisOptions};

fn corpus() -> Option<Vec<PathBuf>> {
    let Some(folder) = std::env::var_os("DBHAUL_REDIS_CORPUS") else {
        eprintln!("SKIPPED: DBHAUL_REDIS_CORPUS names no folder of public RDB and AOF files");
        return None;
    };
    let mut files = Vec::new();
    walk(Path::new(&folder), &mut files);
    files.sort();
    assert!(!files.is_empty(), "DBHAUL_REDIS_CORPUS holds no .rdb or .aof file");
    Some(files)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|e| e == "rdb" || e == "aof") {
            files.push(path);
        }
    }
}

#[test]
fn every_file_is_read_or_refused_with_its_place() {
    let Some(files) = corpus() else { return };
    let (mut good, mut bad) = (0, Vec::new());
    for path in &files {
        let verified = verify_file(path, VerifyOptions::default(), &mut |_| ());
        let inspected = inspect_path(path, InspectOptions::default(), &mut |_| (), &mut |_| ());
        match (verified, inspected) {
            (Ok(verified), Ok(inspected)) => {
                assert_eq!(verified.keys, inspected.sizes.keys, "{path:?}");
                assert_eq!(verified.bytes, std::fs::metadata(path).unwrap().len());
                good += 1;
            }
            (Err(fault), Err(error)) => {
                assert!(fault.offset().is_some() && fault.offset() == error.offset(), "{fault}");
                bad.push(format!("{fault}"));
            }
            (verified, _) => panic!("{path:?}: verification and inspection disagree: {verified:?}"),
        }
    }
    eprintln!("count: corpus: {good} files read, {} refused: {bad:#?}", bad.len());
    assert!(good > 0);
}

#[tokio::test]
async fn what_a_server_loads_is_what_we_read() {
    let Some(files) = corpus() else { return };
    let (mut equal, mut refused) = (0, Vec::new());
    for version in ["7.0", "8.2", "valkey-9"] {
        let Some(binaries) = require_redis(version) else { continue };
        for path in files.iter().filter(|path| path.extension().is_some_and(|e| e == "rdb")) {
            let start = RedisOptions { rdb: Some(path.clone()), ..RedisOptions::default() };
            let Ok(server) = Redis::start(&binaries, start) else {
                refused.push(format!("{version} {}", path.display()));
                continue;
            };
            let Ok(verified) = verify_file(path, VerifyOptions::default(), &mut |_| ()) else {
                panic!("{version} loads {path:?}, and we do not read it");
            };
            let bytes = std::fs::read(path).unwrap();
            let settings = CompareOptions::default();
            let proof = prove(stream(&bytes), &options(&server), &settings, &|_| ()).await.unwrap();
            assert!(proof.equal(), "{version} {path:?}: {proof}");
            // Only expired keys may be missing.
            let expires: u64 = verified.databases.values().map(|database| database.expires).sum();
            assert!(
                proof.keys <= verified.keys && proof.keys + expires >= verified.keys,
                "{version} {path:?}"
            );
            assert_eq!(verified.refusals().count(), 0, "{version} loads {path:?}");
            equal += 1;
        }
    }
    eprintln!("count: corpus: {equal} files equal to what servers hold; refused by servers: {refused:#?}");
    assert!(equal > 0);
}

/// An append-only file run into an empty server, against a server that begins with it.
#[tokio::test]
async fn an_append_only_file_yields_what_its_server_loads() {
    let Some(files) = corpus() else { return };
    let (mut equal, mut refused) = (0, Vec::new());
    for version in ["7.0", "8.2", "valkey-9"] {
        let Some(binaries) = require_redis(version) else { continue };
        for path in files.iter().filter(|path| path.extension().is_some_and(|e| e == "aof")) {
            let folder = tempfile::tempdir().unwrap();
            std::fs::copy(path, folder.path().join("appendonly.aof")).unwrap();
            let data = Some(folder.path().to_owned());
            let beginning = RedisOptions { appendonly: true, data, ..RedisOptions::default() };
            // It may hold commands of a later version, or of the other fork.
            let Ok(begun) = Redis::start(&binaries, beginning) else {
                refused.push(format!("{version} {}", path.display()));
                continue;
            };
            let target = start(&binaries, RedisOptions::default());
            let to = options(&target);
            apply_aof(path, &to, &RestoreOptions::default(), None, &|_| ()).await.unwrap();
            let settings = CompareOptions::default();
            let found = compare(&options(&begun), &to, &settings, &|_| ()).await.unwrap();
            assert!(found.equal() && found.keys > 0, "{version} {path:?}: {found}");
            equal += 1;
        }
    }
    eprintln!(
        "count: corpus: {equal} append-only files equal to what servers make of them; refused by servers: {refused:#?}"
    );
}
