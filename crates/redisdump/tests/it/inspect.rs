//! Inspection and verification of files that real servers wrote.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use crate::support::{Client, Corners, captured, fill, start, stream};
use redisdump::inspect::{InspectOptions, KeyRecord, inspect_path, inspect_stream};
use redisdump::rdb::{Checksum, Kind};
use redisdump::verify::{FileKind, VerifyOptions, verify_file};
use sandbox::RedisOptions;
use sandbox::testing::require_redis;

async fn told_as_the_server_tells(version: &str) {
    let Some(binaries) = require_redis(version) else { return };
    let server = start(&binaries, RedisOptions::default());
    fill(&server, Corners::All);
    let (bytes, report) = captured(&server).await;
    let mut records: Vec<KeyRecord> = Vec::new();
    let found = inspect_stream(
        stream(&bytes),
        InspectOptions { now_ms: Some(4_102_444_800_123), top: 3, ..InspectOptions::default() },
        &mut |record| records.push(record.clone()),
        &|_| (),
    )
    .await
    .unwrap();
    assert_eq!((found.sizes.keys, records.len() as u64), (report.keys(), report.keys()));
    assert_eq!(found.checksum, Some(Checksum::Verified));
    assert_eq!(found.functions.libraries, report.functions);
    let names_its_version = found.aux.keys().any(|name| name == "redis-ver" || name == "valkey-ver");
    assert!(names_its_version || version == "3.0", "{:?}", found.aux);
    // Each key as the server itself counts it.
    let mut client = Client::new(&server);
    for record in &records {
        let ask = |client: &mut Client, command: &str| {
            client.send(&[command.as_bytes().to_vec(), record.name.clone()]).unwrap()
        };
        client.ask(&format!("SELECT {}", record.db));
        assert_eq!(ask(&mut client, "TYPE"), record.kind.as_str());
        let count = match record.kind {
            Kind::List => "LLEN",
            Kind::Set => "SCARD",
            Kind::Zset => "ZCARD",
            Kind::Hash => "HLEN",
            Kind::Stream => "XLEN",
            _ => "EXISTS",
        };
        assert_eq!(ask(&mut client, count), record.elements.to_string(), "{record:?}");
        assert_eq!(ask(&mut client, "PTTL") == "-1", record.expiry_ms.is_none());
    }
    let in_db_3 = &found.databases[&3];
    assert_eq!((in_db_3.sizes.keys, in_db_3.types[&Kind::List].elements), (2, 1));
    assert_eq!(found.expiries.keys, 3);
    assert_eq!(found.expiries.soonest_ms, Some(4_102_444_800_123));
    assert_eq!((found.expiries.latest_ms, found.expiries.expired), (Some(99_999_999_999_999), 1));
    assert!(found.longest.len() == 3 && found.longest.iter().all(|record| record.elements == 1500));
    assert!(found.biggest[0].bytes >= found.biggest[1].bytes && found.biggest.len() == 3);
    let sum: u64 = records.iter().map(|record| record.bytes).sum();
    assert!(sum == found.sizes.bytes && sum < bytes.len() as u64);
    let shown = serde_json::to_value(&found).unwrap();
    assert_eq!(shown["databases"]["3"]["keys"], 2);
    let binary = records.iter().find(|record| record.name.len() == 256).unwrap();
    assert!(serde_json::to_value(binary).unwrap()["key-base64"].is_string());
}

#[tokio::test]
async fn inspection_agrees_with_servers() {
    for version in ["7.0", "8.2", "valkey-9"] {
        told_as_the_server_tells(version).await;
    }
}

#[tokio::test]
#[ignore = "long: run by scripts/test --all"]
async fn inspection_agrees_with_every_server() {
    for version in ["3.0", "3.2", "5.0", "6.2", "8.6", "valkey-8.1"] {
        told_as_the_server_tells(version).await;
    }
}

#[tokio::test]
async fn an_incomplete_file_is_reported_with_its_position() {
    let Some(binaries) = require_redis("7.0") else { return };
    let server = start(&binaries, RedisOptions::default());
    fill(&server, Corners::All);
    let (bytes, report) = captured(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump.rdb");
    let verify = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        verify_file(&path, VerifyOptions::default(), &mut |_| ())
    };
    let whole = verify(&bytes).unwrap();
    assert_eq!(
        (whole.kind, whole.keys, whole.checksum),
        (FileKind::Rdb, report.keys(), Some(Checksum::Verified))
    );
    assert_eq!((&whole.types, &whole.databases), (&report.types, &report.databases));
    let of_folder = verify_file(folder.path(), VerifyOptions::default(), &mut |_| ()).unwrap();
    assert_eq!((of_folder.kind, of_folder.keys), (FileKind::Rdb, whole.keys));
    // Cut anywhere, it is at fault there.
    for cut in (0..bytes.len()).step_by(bytes.len() / 61) {
        let fault = verify(&bytes[..cut]).unwrap_err();
        assert_eq!(fault.offset(), Some(cut as u64), "{fault}");
    }
    // One bit anywhere is found by the checksum at the latest.
    for at in (9..bytes.len()).step_by(bytes.len() / 61) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        let fault = verify(&damaged).unwrap_err();
        assert!(fault.offset().is_some(), "{fault}");
    }
    let mut longer = bytes.clone();
    longer.extend(b"junk");
    let trailing = verify(&longer).unwrap();
    assert_eq!((trailing.kind, trailing.trailing_bytes), (FileKind::Rdb, 4));
    assert_eq!(verify(b"").unwrap_err().offset(), Some(0));
    // A later version is refused by name, and read on request.
    let mut later = bytes.clone();
    later[5..9].copy_from_slice(b"0099");
    let fault = verify(&later).unwrap_err().to_string();
    assert!(fault.contains("REDIS0099"), "{fault}");
    let tried = verify_file(&path, VerifyOptions { try_newer: true }, &mut |_| ()).unwrap_err().to_string();
    assert!(
        tried.contains("checksum mismatch") && tried.contains(&format!("{} keys", report.keys())),
        "{tried}"
    );
    assert!(
        verify_file(&folder.path().join("none"), VerifyOptions::default(), &mut |_| ()).unwrap_err().is_io()
    );
}

/// Servers of a cluster write how full their slots are, each fork in its own way.
#[tokio::test]
async fn files_of_clusters_are_read() {
    for version in ["7.0", "8.2", "8.6", "valkey-8.1", "valkey-9"] {
        let Some(binaries) = require_redis(version) else { continue };
        let settings = vec![("cluster-enabled".to_owned(), "yes".to_owned())];
        let server = start(&binaries, RedisOptions { settings, ..RedisOptions::default() });
        let mut client = Client::new(&server);
        client.ask("CLUSTER ADDSLOTSRANGE 0 16383");
        while !client.ask("CLUSTER INFO").contains("cluster_state:ok") {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        for n in 0..200 {
            client.ask(&format!("SET key:{n} {n}"));
        }
        let (bytes, report) = captured(&server).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nodes.rdb");
        std::fs::write(&path, &bytes).unwrap();
        let verified = verify_file(&path, VerifyOptions::default(), &mut |_| ()).unwrap();
        assert_eq!((verified.keys, report.keys()), (200, 200), "{version}");
    }
}

#[test]
fn an_aof_is_verified_and_inspected_whole() {
    for (version, kind) in [("7.0", FileKind::MultiPartAof), ("6.2", FileKind::Aof)] {
        let Some(binaries) = require_redis(version) else { continue };
        let mut server = start(&binaries, RedisOptions { appendonly: true, ..RedisOptions::default() });
        fill(&server, Corners::All);
        let mut client = Client::new(&server);
        client.ask("BGREWRITEAOF");
        while client.ask("INFO persistence").contains("aof_rewrite_in_progress:1") {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let keys: u64 = client.ask("DBSIZE").parse().unwrap();
        for line in ["SELECT 2", "SET a 1", "INCR a", "MULTI", "INCR a", "SET b 1", "EXEC"] {
            client.ask(line);
        }
        server.stop();
        let verified = verify_file(server.dir(), VerifyOptions::default(), &mut |_| ()).unwrap();
        assert_eq!((verified.kind, verified.keys), (kind, keys + 2));
        assert!(verified.aof.unwrap().cut.is_none() && verified.checksum == Some(Checksum::Verified));
        let found = inspect_path(server.dir(), InspectOptions::default(), &mut |_| (), &mut |_| ()).unwrap();
        let commands = found.commands.unwrap();
        assert_eq!((commands.commands, verified.commands), (verified.commands, commands.commands));
        assert_eq!((commands.by_name["incr"], commands.by_name["set"], commands.transactions), (2, 2, 1));
        assert!(commands.by_database[&2] >= 5);
        assert!(found.aof.is_some() && found.sizes.keys == keys + 2);
    }
}
