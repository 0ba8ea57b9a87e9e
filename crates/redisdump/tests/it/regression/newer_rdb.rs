//! RDB 14 and 15 (Redis 8.8 and 8.10): arrays, pending entries that were given back, hash templates; later versions are
//! called newer, and not damaged. Reported as "a dump of 8.8 is called damaged". Functions of the release candidates of
//! 7.0 load as they do there. No server of these versions was at hand: the files are made by the published format.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use std::path::PathBuf;

use crate::support::{Client, options, start, stream};
use futures::TryStreamExt as _;
use redisdump::convert::commands::Target;
use redisdump::convert::export::{Export, ExportOptions, Format, OnUnsupported};
use redisdump::inspect::{InspectOptions, inspect_path};
use redisdump::rdb::crc64;
use redisdump::verify::{Fault, Verified, VerifyOptions, verify_file};
use redisdump::{CompareOptions, Error, RestoreOptions, prove, restore};
use sandbox::RedisOptions;
use sandbox::testing::require_redis;

/// An RDB of this version with these items in database 0.
fn rdb(version: &str, items: &[&[u8]]) -> Vec<u8> {
    let mut out = [format!("REDIS{version}").as_bytes(), b"\xfe\0"].concat();
    out.extend(items.concat());
    out.push(0xff);
    let crc = crc64(&out);
    out.extend(crc.to_le_bytes());
    out
}

fn text(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

/// A listpack of short strings, behind its length; a number is one of less than 128.
fn listpack(entries: &[&str]) -> Vec<u8> {
    let mut body = Vec::new();
    for entry in entries {
        match entry.parse::<u8>() {
            Ok(number) => body.extend([number, 1]),
            Err(_) => {
                body.push(0x80 | entry.len() as u8);
                body.extend(entry.as_bytes());
                body.push(entry.len() as u8 + 1);
            }
        }
    }
    let size = u32::try_from(body.len() + 7).unwrap();
    let count = u16::try_from(entries.len()).unwrap();
    text(&[&size.to_le_bytes()[..], &count.to_le_bytes(), &body, &[0xff]].concat())
}

/// An array: a long string, a number, a decimal, a short string, with gaps; elements are inserted after 3.
fn array() -> Vec<u8> {
    let mut out = [&[28][..], &text(b"arr"), &[4, 1, 3]].concat();
    out.extend([&[0, 0][..], &text(b"hello there world")].concat());
    out.extend([&[1, 1][..], &(-42_i64).to_le_bytes()].concat());
    out.extend([&[2, 2][..], &1.0_f64.to_le_bytes()].concat());
    out.extend([&[0x81][..], &(1_u64 << 40).to_be_bytes(), &[3], &text(b"abc")].concat());
    out
}

/// A stream of one entry, pending in a group without a consumer.
fn nacked() -> Vec<u8> {
    let id = [&1_u64.to_be_bytes()[..], &1_u64.to_be_bytes()].concat();
    let node = listpack(&["1", "0", "1", "f", "0", "2", "0", "0", "v", "4"]);
    let mut out = [&[27][..], &text(b"log"), &[1], &text(&id), &node].concat();
    // Length, last id, first id, greatest deleted id, entries added.
    out.extend([1, 1, 1, 1, 1, 0, 0, 1]);
    // A group that has read it: one pending entry, a consumer without any, one entry without a consumer.
    out.extend([&[1][..], &text(b"g"), &[1, 1, 1, 1], &id, &5_i64.to_le_bytes(), &[2]].concat());
    out.extend([&[1][..], &text(b"c"), &5_i64.to_le_bytes(), &5_i64.to_le_bytes(), &[0]].concat());
    out.extend([&[1][..], &id].concat());
    // No producers.
    out.extend([10, 10, 0, 0, 0]);
    out
}

/// Hashes that share their field names: the values in a listpack, and one by one.
fn templated() -> Vec<Vec<u8>> {
    vec![
        [&[242, 7, 2][..], &text(b"age"), &text(b"name")].concat(),
        [&[30][..], &text(b"u1"), &listpack(&["7", "41", "alice"])].concat(),
        [&[32][..], &text(b"u2"), &[7], &text(b"42"), &text(&[b'b'; 60])].concat(),
        // As DUMP has them, with their names.
        [&[29][..], &text(b"u3"), &[0], &listpack(&["age", "name"]), &listpack(&["0", "43", "eve"])].concat(),
        [&[31][..], &text(b"u4"), &[1, 2], &text(b"age"), &text(b"name"), &text(b"44"), &text(b"mallory")]
            .concat(),
    ]
}

fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump.rdb");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn verified(bytes: &[u8], try_newer: bool) -> Result<Verified, Fault> {
    let (_folder, path) = file(bytes);
    verify_file(&path, VerifyOptions { try_newer }, &mut |_| ())
}

async fn exported(bytes: &[u8], settings: ExportOptions) -> Result<String, Error> {
    let export = Export::new(stream(bytes), settings);
    let pieces: Vec<bytes::Bytes> = export.try_collect().await?;
    Ok(String::from_utf8(pieces.concat()).unwrap())
}

#[tokio::test]
async fn what_8_8_and_8_10_write_is_read() {
    let templates = templated();
    let mut items: Vec<&[u8]> = templates.iter().map(Vec::as_slice).collect();
    let (array, nacked) = (array(), nacked());
    items.extend([array.as_slice(), nacked.as_slice()]);
    let bytes = rdb("0015", &items);
    let found = verified(&bytes, false).unwrap();
    assert!(
        found.is_whole() && found.is_untried() && found.keys == 6 && found.anomalies.is_empty(),
        "{found:?}"
    );
    let json = exported(&bytes, ExportOptions::new(Format::Json, Target::redis(8, 10))).await.unwrap();
    let lines: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let value = |name: &str| &lines.iter().find(|line| line["key"] == name).unwrap()["value"];
    let hash = |age: &str, name: &str| serde_json::json!([["age", age], ["name", name]]);
    assert_eq!(*value("u1"), hash("41", "alice"));
    assert_eq!(*value("u2"), hash("42", &"b".repeat(60)));
    assert_eq!(*value("u3"), hash("43", "eve"));
    assert_eq!(*value("u4"), hash("44", "mallory"));
    let elements =
        serde_json::json!([[0, "hello there world"], [1, "-42"], [2, "1.0"], [1_u64 << 40, "abc"]]);
    assert_eq!(*value("arr"), serde_json::json!({"insert-index": 3, "elements": elements}));
    assert_eq!(value("log")["groups"][0]["nacked"], serde_json::json!(["1-1"]));
    let (_folder, path) = file(&bytes);
    let inspection = inspect_path(&path, InspectOptions::default(), &mut |_| (), &mut |_| ()).unwrap();
    assert_eq!((inspection.sizes.keys, inspection.sizes.elements), (6, 8 + 4 + 1));
    // However it is cut.
    for step in [1, 7, 100] {
        let mut reader = redisdump::rdb::Reader::new();
        for piece in bytes.chunks(step) {
            reader.feed(piece, &mut ()).unwrap();
        }
        reader.finish().unwrap();
    }
    // Damage within them is found, and is damage.
    let unknown = rdb("0015", &[&[&[30][..], &text(b"u1"), &listpack(&["9", "41", "alice"])].concat()]);
    let fault = verified(&unknown, false).unwrap_err();
    assert!(fault.to_string().contains("template") && !fault.is_newer(), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_servers_take_what_they_can_hold() {
    let Some(binaries) = require_redis("7.0") else { return };
    let target = start(&binaries, RedisOptions::default());
    let templates = templated();
    let items: Vec<&[u8]> = templates.iter().map(Vec::as_slice).collect();
    let bytes = rdb("0015", &items);
    let report =
        restore(stream(&bytes), &options(&target), &RestoreOptions::default(), &|_| ()).await.unwrap();
    assert_eq!(report.keys, 4, "{report}");
    assert_eq!(Client::new(&target).ask("HMGET u2 age name"), format!("42 {}", "b".repeat(60)));
    let proof = prove(stream(&bytes), &options(&target), &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(proof.equal() && proof.keys == 4, "{proof}");
    // Unsupported values are refused by name.
    for (item, words) in [(array(), "an array"), (nacked(), "without a consumer (XNACK)")] {
        let settings = ExportOptions::new(Format::Rdb, Target::redis(8, 6));
        let refused = exported(&rdb("0014", &[&item]), settings).await.unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
        let mut skip = ExportOptions::new(Format::Resp, Target::redis(7, 0));
        skip.on_unsupported = OnUnsupported::Skip;
        assert!(!exported(&rdb("0014", &[&item]), skip).await.unwrap().contains("XADD"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_newer_is_called_so() {
    let plain = b"\0\x01a\x011".as_slice();
    let later = rdb("0016", &[plain]);
    let fault = verified(&later, false).unwrap_err();
    assert!(fault.is_newer() && fault.to_string().contains("newer"), "{fault}");
    assert!(verified(&later, true).unwrap().is_whole());
    // An unknown type is attributed to a later server; in an old file it is damage.
    let unknown = [&[77][..], &text(b"k"), &[1, 2, 3]].concat();
    assert!(verified(&rdb("0016", &[plain, &unknown]), true).unwrap_err().is_newer());
    assert!(!verified(&rdb("0011", &[plain, &unknown]), true).unwrap_err().is_newer());
    let Some(binaries) = require_redis("7.0") else { return };
    let target = start(&binaries, RedisOptions::default());
    let refused = restore(stream(&later), &options(&target), &RestoreOptions::default(), &|_| ()).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("newer") && !refused.contains("damaged"), "{refused}");
    let forced = RestoreOptions { try_newer: true, ..RestoreOptions::default() };
    assert_eq!(restore(stream(&later), &options(&target), &forced, &|_| ()).await.unwrap().keys, 1);
}

/// 7.0 loads libraries as its release candidates wrote them; 7.2 does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_of_release_candidates_load() {
    let Some(binaries) = require_redis("7.0") else { return };
    let code = b"redis.register_function('one', function() return 1 end)";
    let library = [&[246][..], &text(b"mine"), &text(b"LUA"), &[1], &text(b"about it"), &text(code)].concat();
    let bytes = rdb("0010", &[&library, b"\0\x01a\x011"]);
    let target = start(&binaries, RedisOptions::default());
    let report =
        restore(stream(&bytes), &options(&target), &RestoreOptions::default(), &|_| ()).await.unwrap();
    assert_eq!((report.functions, report.keys), (1, 1));
    let mut to = Client::new(&target);
    assert_eq!(to.ask("FCALL one 0"), "1");
    // The server itself makes the same of it.
    let (_folder, path) = file(&bytes);
    let itself = start(&binaries, RedisOptions { rdb: Some(path), ..RedisOptions::default() });
    let list = |client: &mut Client| client.ask("FUNCTION LIST WITHCODE");
    assert_eq!(list(&mut Client::new(&itself)), list(&mut to));
}

/// The digest of a data folder with only this RDB.
async fn digest_of(rdb: &[u8]) -> redisdump::compare::digest::KeyspaceDigest {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("dump.rdb"), rdb).unwrap();
    let mut capture = redisdump::FolderCapture::open(folder.path(), None).await.unwrap();
    capture.read_next().try_collect::<Vec<_>>().await.unwrap();
    capture.finish().unwrap().rdb.unwrap().digest
}

#[tokio::test]
async fn every_kind_of_element_counts_in_a_captures_digest() {
    let other = |item: Vec<u8>, from: &[u8], to: &[u8]| {
        let at = item.windows(from.len()).position(|part| part == from).unwrap();
        [&item[..at], to, &item[at + from.len()..]].concat()
    };
    let given_back = [&[1_u8][..], &1_u64.to_be_bytes(), &1_u64.to_be_bytes(), &[10]].concat();
    let pairs = [
        // An element of an array, and the index at which it continues.
        (array(), other(array(), b"hello there world", b"hello there World")),
        // A pending entry that was given back, and one without a consumer.
        (nacked(), other(nacked(), &given_back, &[0, 10])),
    ];
    for (one, another) in pairs {
        let (one, another) =
            (digest_of(&rdb("0014", &[&one])).await, digest_of(&rdb("0014", &[&another])).await);
        assert_ne!(one, another);
    }
}
