//! Empty files, truncated ones, and foreign ones: refused everywhere, by name. Reported as "a zero-byte `dump.rdb` is
//! restored, and with `--flush` empties the target".
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use crate::support::{Client, options, start};
use redisdump::aof::{FileError, Files};
use redisdump::inspect::{InspectOptions, inspect_path};
use redisdump::verify::{VerifyOptions, verify_file};
use redisdump::{FolderCapture, RestoreOptions, apply_aof};
use sandbox::RedisOptions;
use sandbox::testing::require_redis;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_no_server_loads_are_identified() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump.rdb");
    let mut tar = vec![b'x'; 300];
    tar[257..262].copy_from_slice(b"ustar");
    for (bytes, words) in [
        (&b""[..], "the file is empty (0 bytes)"),
        (b"RED", "has only 3 bytes"),
        (b"REDIS001", "has only 8 bytes"),
        (b"\x1f\x8b\x08\0\0\0", "gzip"),
        (b"PGDMP\x01", "pg_dump"),
        (b"\0\0\0\0\0\0\0\0\0\0", "zeros"),
        (b"SET a b\r\n", "it begins with \"SET a b\\r\\n\""),
        (&tar, "tar archive"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        for place in [path.as_path(), folder.path()] {
            let fault = verify_file(place, VerifyOptions::default(), &mut |_| ()).unwrap_err();
            assert!(!fault.is_io() && fault.offset().is_some(), "{fault}");
            assert!(fault.to_string().contains(words), "{fault}");
            let error = Files::locate(place).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            let error = inspect_path(place, InspectOptions::default(), &mut |_| (), &mut |_| ()).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            let error = FolderCapture::open(place, None).await.err().unwrap().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}

/// An AOF may be empty, but for its RDB; no target is emptied for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_append_only_file_empties_nothing() {
    let Some(binaries) = require_redis("7.0") else { return };
    let target = start(&binaries, RedisOptions::default());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("appendonly.aof");
    std::fs::write(&path, b"").unwrap();
    assert_eq!(verify_file(&path, VerifyOptions::default(), &mut |_| ()).unwrap().commands, 0);
    let plain = RestoreOptions::default();
    assert_eq!(apply_aof(&path, &options(&target), &plain, None, &|_| ()).await.unwrap().keys, 0);
    let mut client = Client::new(&target);
    client.ask("SET kept 1");
    let flush = RestoreOptions { flush: Some(options(&target).address()), ..RestoreOptions::default() };
    let error = apply_aof(&path, &options(&target), &flush, None, &|_| ()).await.unwrap_err();
    assert!(error.is_refused() && client.ask("GET kept") == "1", "{error}");

    let manifest = "file a.1.base.rdb seq 1 type b\nfile a.1.incr.aof seq 1 type i\n";
    let parts = tempfile::tempdir().unwrap();
    for (name, text) in [("a.manifest", manifest), ("a.1.base.rdb", ""), ("a.1.incr.aof", "")] {
        std::fs::write(parts.path().join(name), text).unwrap();
    }
    let fault = verify_file(parts.path(), VerifyOptions::default(), &mut |_| ()).unwrap_err();
    assert!(matches!(fault.source, FileError::Empty { .. }), "{fault}");
    let error = apply_aof(parts.path(), &options(&target), &flush, None, &|_| ()).await.unwrap_err();
    assert!(error.to_string().contains("a.1.base.rdb: the file is empty"), "{error}");
    assert!(FolderCapture::open(parts.path(), None).await.is_err());
    assert_eq!(client.ask("GET kept"), "1");
}
