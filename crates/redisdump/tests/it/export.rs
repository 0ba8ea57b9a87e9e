//! Exports, checked with real servers: the file is loaded, the commands are run, every key is compared.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use crate::support::{Client, Corners, captured, fill, options, start, stream};
use futures::TryStreamExt as _;
use redisdump::convert::commands::{Target, UnsupportedValues};
use redisdump::convert::export::{
    Export, ExportOptions, ExportReport, Format, OnUnsupported, convert, preflight,
};
use redisdump::rdb::{Dialect, Elements, Key, Reader, ValueType, Visitor, dump};
use redisdump::verify::{VerifyOptions, verify_file};
use redisdump::{CompareOptions, Error, prove};
use sandbox::testing::require_redis;
use sandbox::{Redis, RedisOptions};
use serde_json::Value;

async fn exported(rdb: &[u8], settings: ExportOptions) -> Result<(Vec<u8>, ExportReport), Error> {
    let mut export = Export::new(stream(rdb), settings);
    let pieces: Vec<bytes::Bytes> = (&mut export).try_collect().await?;
    let (bytes, report) = (pieces.concat(), export.report().unwrap());
    assert_eq!(bytes.len() as u64, report.bytes_written);
    Ok((bytes, report))
}

/// Every key of the RDB is on the server as it should be, save for counters that the target does not keep.
async fn equal(rdb: &[u8], server: &Redis, unsupported: &UnsupportedValues, what: &str) {
    let proof = prove(stream(rdb), &options(server), &CompareOptions::default(), &|_| ()).await.unwrap();
    if unsupported.is_empty() {
        assert!(proof.equal(), "{what}: {proof}");
        return;
    }
    assert!(!unsupported.is_serious(), "{what}: {unsupported}");
    let streams = ["s", "empty", "gone", "many", "made"];
    assert!(
        proof.differences.iter().all(|difference| streams.contains(&difference.key.as_str())),
        "{what}: {proof}"
    );
}

fn corners(from: &str, to: &str) -> Corners {
    let features = |text: &str| text.parse::<Target>().unwrap().features();
    let (a, b) = (features(from), features(to));
    match (a.streams && b.streams, b.functions && (b.field_expiry || !a.field_expiry)) {
        (true, true) => Corners::All,
        (true, false) => Corners::Streams,
        _ => Corners::Oldest,
    }
}

/// Properties of a stream that the digest of an older server does not cover.
fn same_streams(source: &Redis, target: &Redis) {
    let (mut ours, mut theirs) = (Client::new(target), Client::new(source));
    for question in [
        "XPENDING s g",
        "XPENDING s g - + 100",
        "XPENDING gone g - + 100",
        "XPENDING many readers",
        "XRANGE many - +",
        "XRANGE s - +",
        "XLEN empty",
        "EXISTS made",
    ] {
        let plain = |reply: String| if question.ends_with("100") { String::new() } else { reply };
        assert_eq!(plain(ours.ask(question)), plain(theirs.ask(question)), "{question}");
    }
    ours.ask("XADD gone 4-5 after last");
    ours.ask("XREADGROUP GROUP g new COUNT 1 STREAMS gone >");
}

async fn moved(from: &str, to: &str, format: Format) {
    let (Some(source), Some(target)) = (require_redis(from), require_redis(to)) else { return };
    let what = format!("{from} to {to} as {format:?}");
    let source = start(&source, RedisOptions::default());
    let corners = corners(from, to);
    fill(&source, corners);
    let (rdb, report) = captured(&source).await;
    let version: Target = to.parse().unwrap();
    let (bytes, exported) = exported(&rdb, ExportOptions::new(format, version)).await.unwrap();
    assert_eq!((exported.keys, exported.bytes_read), (report.keys(), rdb.len() as u64), "{what}");
    let preflighted = preflight(stream(&rdb), ExportOptions::new(format, version)).await.unwrap();
    assert_eq!(preflighted, exported.left_out);

    let server = if format == Format::Rdb {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("export.rdb");
        std::fs::write(&path, &bytes).unwrap();
        let verified = verify_file(&path, VerifyOptions::default(), &mut |_| ()).unwrap();
        assert_eq!(verified.keys, report.keys());
        assert_eq!((verified.dialect.unwrap(), verified.rdb_version.unwrap()), version.rdb());
        start(&target, RedisOptions { rdb: Some(path), ..RedisOptions::default() })
    } else {
        let server = start(&target, RedisOptions::default());
        let commands = bytes.windows(3).filter(|w| w == b"\r\n*").count() as u64 + 1;
        let mut client = Client::new(&server);
        // Binary values may hold what looks like a command; only replies that come are counted.
        client.run(&bytes, commands).unwrap();
        server
    };
    equal(&rdb, &server, &exported.left_out, &what).await;
    if corners >= Corners::Streams {
        same_streams(&source, &server);
    }
}

#[tokio::test]
async fn to_older_servers_and_other_forks() {
    for format in [Format::Rdb, Format::Restore, Format::Resp] {
        moved("8.2", "6.2", format).await;
        moved("8.2", "valkey-9", format).await;
        moved("valkey-9", "7.0", format).await;
    }
}

#[tokio::test]
#[ignore = "long: run by scripts/test --all"]
async fn between_all_versions() {
    let versions = ["3.0", "3.2", "5.0", "6.2", "7.0", "8.2", "8.6", "valkey-8.1", "valkey-9"];
    for from in versions {
        for to in versions {
            for format in [Format::Rdb, Format::Restore] {
                moved(from, to, format).await;
            }
        }
    }
}

/// Versions that are not available: the files are loaded by the next newer server.
#[tokio::test]
async fn files_for_versions_between() {
    for (version, loaded_by) in [("4.0", "5.0"), ("7.2", "8.2"), ("7.4", "8.2")] {
        let (Some(source), Some(target)) = (require_redis("8.2"), require_redis(loaded_by)) else { return };
        let source = start(&source, RedisOptions::default());
        fill(&source, corners("8.2", version));
        let (rdb, _) = captured(&source).await;
        let settings = ExportOptions::new(Format::Rdb, version.parse().unwrap());
        let (bytes, report) = exported(&rdb, settings).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("export.rdb");
        std::fs::write(&path, &bytes).unwrap();
        let server = start(&target, RedisOptions { rdb: Some(path), ..RedisOptions::default() });
        equal(&rdb, &server, &report.left_out, version).await;
    }
}

#[tokio::test]
async fn what_a_target_cannot_hold_is_refused_or_named() {
    let Some(source) = require_redis("8.2") else { return };
    let source = start(&source, RedisOptions::default());
    fill(&source, Corners::All);
    let (rdb, report) = captured(&source).await;
    for format in [Format::Rdb, Format::Restore, Format::Resp] {
        let mut settings = ExportOptions::new(format, Target::redis(3, 0));
        let error = exported(&rdb, settings).await.unwrap_err();
        let Error::Unsupported { target, unsupported } = &error else { panic!("{error}") };
        assert_eq!((target.as_str(), unsupported.kinds.len()), ("Redis 3.0", 3), "{unsupported}");
        let text = error.to_string();
        assert!(text.contains("5 × a stream") && text.contains("2 × a hash with field TTLs"), "{text}");
        assert!(text.contains("1 × a function library") && text.contains("mortal (database 0)"), "{text}");
        settings.on_unsupported = OnUnsupported::Skip;
        let (bytes, skipped) = exported(&rdb, settings).await.unwrap();
        assert_eq!((skipped.keys, &skipped.left_out), (report.keys() - 7, unsupported));
        if format == Format::Rdb {
            let Some(old) = require_redis("3.0") else { continue };
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("export.rdb");
            std::fs::write(&path, &bytes).unwrap();
            let server = start(&old, RedisOptions { rdb: Some(path), ..RedisOptions::default() });
            let proof =
                prove(stream(&rdb), &options(&server), &CompareOptions::default(), &|_| ()).await.unwrap();
            assert_eq!(proof.different_keys, 7, "{proof}");
        }
    }
}

#[tokio::test]
async fn a_table_of_producers_is_left_out_and_named() {
    let (Some(from), Some(to)) = (require_redis("8.6"), require_redis("8.2")) else { return };
    let source = start(&from, RedisOptions::default());
    let mut client = Client::new(&source);
    let first = client.ask("XADD s IDMP producer message * a b");
    assert_eq!(client.ask("XADD s IDMP producer message * a b"), first);
    client.ask("XADD s IDMPAUTO other * a c");
    client.ask("XGROUP CREATE s g 0");
    client.ask("XREADGROUP GROUP g c COUNT 1 STREAMS s >");
    let (rdb, _) = captured(&source).await;
    for format in [Format::Rdb, Format::Restore, Format::Resp] {
        let (bytes, report) = exported(&rdb, ExportOptions::new(format, Target::redis(8, 2))).await.unwrap();
        assert!(
            !report.left_out.is_serious() && report.left_out.to_string().contains("idempotent"),
            "{report:?}"
        );
        let server = match format {
            Format::Rdb => {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("export.rdb");
                std::fs::write(&path, &bytes).unwrap();
                start(&to, RedisOptions { rdb: Some(path), ..RedisOptions::default() })
            }
            _ => {
                let server = start(&to, RedisOptions::default());
                Client::new(&server).run(&bytes, 100).unwrap();
                server
            }
        };
        let proof =
            prove(stream(&rdb), &options(&server), &CompareOptions::default(), &|_| ()).await.unwrap();
        assert!(proof.equal() && proof.keys == 1, "{format:?}: {proof}");
    }
    // A server that knows the table keeps it.
    let (_, report) = exported(&rdb, ExportOptions::new(Format::Rdb, Target::redis(8, 6))).await.unwrap();
    assert!(report.left_out.is_empty());
}

/// A value by itself, for RESTORE.
#[derive(Default)]
struct Payloads {
    values: Vec<(u64, Vec<u8>, ValueType, Vec<u8>)>,
}
impl Elements for Payloads {}
impl Visitor for Payloads {
    fn key(&mut self, key: &Key<'_>) {
        self.values.push((key.db, key.name.to_vec(), key.value_type, Vec::new()));
    }
    fn raw(&mut self, bytes: &[u8]) {
        self.values.last_mut().unwrap().3.extend(bytes);
    }
}

#[tokio::test]
async fn one_value_converted_for_restore() {
    let (Some(from), Some(to)) = (require_redis("8.2"), require_redis("7.0")) else { return };
    let (source, target) = (start(&from, RedisOptions::default()), start(&to, RedisOptions::default()));
    fill(&source, Corners::Streams);
    let (rdb, _) = captured(&source).await;
    let mut payloads = Payloads::default();
    let mut reader = Reader::new();
    reader.feed(&rdb, &mut payloads).unwrap();
    let mut client = Client::new(&target);
    for (db, name, value_type, raw) in payloads.values {
        let mut payload = Vec::new();
        let (version, harmless) = convert(value_type, &raw, Target::redis(7, 0), &mut payload).unwrap();
        assert!(harmless.is_empty() && version <= 10);
        dump::seal(&mut payload, 0, version);
        client.ask(&format!("SELECT {db}"));
        client.send(&[b"RESTORE".to_vec(), name, b"0".to_vec(), payload]).unwrap();
    }
    client.ask("SELECT 0");
    assert_eq!(client.ask("XINFO GROUPS gone"), Client::new(&source).ask("XINFO GROUPS gone"));
    // A table of pairs in the form of 7.4 with an expiry, for one that has none.
    let metadata = ValueType::new(24, Dialect::Redis).unwrap();
    let mut out = vec![7];
    let raw = [&1_000_i64.to_le_bytes()[..], &[1, 5, 1, b'f', 1, b'v']].concat();
    assert!(convert(metadata, &raw, Target::redis(7, 2), &mut out).is_err());
    assert!(convert(metadata, &raw[..12], Target::valkey(9, 0), &mut out).is_err());
    assert_eq!(out, [7]);
    convert(metadata, &raw, Target::valkey(9, 0), &mut out).unwrap();
    assert_eq!(out[1..], [&[22, 1, 1, b'f', 1, b'v'][..], &1_004_i64.to_le_bytes()].concat());
}

#[tokio::test]
async fn json_lines_hold_every_value() {
    let Some(source) = require_redis("8.2") else { return };
    let source = start(&source, RedisOptions::default());
    fill(&source, Corners::All);
    let (rdb, report) = captured(&source).await;
    let (bytes, exported) =
        exported(&rdb, ExportOptions::new(Format::Json, Target::redis(8, 2))).await.unwrap();
    assert!(exported.left_out.is_empty() && exported.keys == report.keys());
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (functions, keys): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line["type"] == "function");
    assert_eq!((functions.len(), keys.len() as u64), (1, report.keys()));
    let find = |name: &str| keys.iter().find(|line| line["key"] == name && line["db"] == 0).unwrap();
    assert_eq!(find("int")["value"], "12345");
    assert_eq!(find("past2038")["expiry-ms"], 4_102_444_800_123_i64);
    assert_eq!(find("list")["value"][7], "9223372036854775807");
    let scores = find("z")["value"].as_array().unwrap();
    let score = |member: &str| &scores.iter().find(|pair| pair[0] == member).unwrap()[1];
    assert_eq!((score("b"), score("c"), score("d")), (&"-inf".into(), &"inf".into(), &1e308.into()));
    assert_eq!(score("f").as_f64().unwrap().to_bits(), 0.300_000_000_000_000_04_f64.to_bits());
    let mortal = find("mortal")["value"].as_array().unwrap();
    assert!(mortal.iter().any(|field| field[0] == "f" && field[2] == 9_999_999_999_999_i64));
    assert!(mortal.iter().any(|field| field[0] == "h" && field.as_array().unwrap().len() == 2));
    let gone = &find("gone")["value"];
    assert_eq!((&gone["entries"], &gone["last-id"]), (&Value::Array(vec![]), &"4-4".into()));
    let group = &gone["groups"][0];
    assert_eq!((group["pending"].as_array().unwrap().len(), &group["pending"][0][0]), (2, &"3-3".into()));
    assert_eq!(group["consumers"].as_array().unwrap().len(), 2);
    assert_eq!(find("s")["value"]["entries"][0][1], serde_json::json!(["a", "1", "b", "2"]));
    let binary = keys.iter().find(|line| line["key"].is_object()).unwrap();
    assert_eq!(binary["value"]["base64"], "AP8NCg==");
}
