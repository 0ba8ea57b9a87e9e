//! Files with values and data of modules: exported without them, with a count, and the modules named that a server needs.
//! Reported as "export --format json refuses a dump with a bloom filter" and "AUX data of RediSearch stops an export".
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use crate::support::stream;
use futures::TryStreamExt as _;
use redisdump::Error;
use redisdump::convert::commands::Target;
use redisdump::convert::export::{Export, ExportOptions, ExportReport, Format};
use redisdump::rdb::crc64;
use redisdump::verify::{VerifyOptions, verify_file};

/// The id of a module type, by its name.
fn id(name: &str) -> u64 {
    const CHARSET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let place = |byte| CHARSET.iter().position(|one| *one == byte).unwrap() as u64;
    name.bytes().fold(0, |id, byte| id << 6 | place(byte)) << 10
}

fn module(code: u8, name: &str) -> Vec<u8> {
    [&[code][..], &[0x81], &id(name).to_be_bytes()].concat()
}

/// A string, a bloom filter, and data of a search module beside the keys.
fn rdb(values: bool) -> Vec<u8> {
    let mut out = b"REDIS0011".to_vec();
    // When it was written: before the keys; then one string, and its end.
    out.extend([&module(247, "ft_index0")[..], &[2, 1, 5, 2, b'h', b'i', 0]].concat());
    out.extend(b"\xfe\0\0\x01a\x011");
    if values {
        let [_, id @ ..] = module(7, "MBbloom--").try_into().unwrap_or([0; 10]);
        out.extend([&[7, 1, b'b'][..], &id, &[2, 9, 0]].concat());
    }
    out.push(0xff);
    let crc = crc64(&out);
    out.extend(crc.to_le_bytes());
    out
}

async fn exported(bytes: &[u8], format: Format) -> Result<(String, ExportReport), Error> {
    let mut export = Export::new(stream(bytes), ExportOptions::new(format, Target::redis(7, 2)));
    let pieces: Vec<bytes::Bytes> = (&mut export).try_collect().await?;
    Ok((String::from_utf8_lossy(&pieces.concat()).into_owned(), export.report().unwrap()))
}

#[tokio::test]
async fn values_of_modules_are_left_out_of_json_with_a_count() {
    let (json, report) = exported(&rdb(true), Format::Json).await.unwrap();
    assert!(json.contains("\"key\":\"a\"") && json.contains("\"module\":\"MBbloom--\""), "{json}");
    let unsupported = report.left_out.to_string();
    assert!(
        unsupported.contains("1 × a value of module type MBbloom--") && unsupported.contains("ft_index0"),
        "{unsupported}"
    );
    // Forms that a server loads are still refused: the key would be missing there.
    for format in [Format::Rdb, Format::Restore, Format::Resp] {
        let refused = exported(&rdb(true), format).await.unwrap_err();
        assert!(matches!(&refused, Error::Unsupported { .. }), "{refused}");
    }
}

#[tokio::test]
async fn data_outside_of_keys_does_not_prevent_an_export() {
    for format in [Format::Rdb, Format::Restore, Format::Resp, Format::Json] {
        let (_, report) = exported(&rdb(false), format).await.unwrap();
        assert!(report.left_out.to_string().contains("data of module ft_index0"), "{format:?}: {report:?}");
    }
}

#[tokio::test]
async fn a_file_says_which_modules_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump.rdb");
    std::fs::write(&path, rdb(true)).unwrap();
    let found = verify_file(&path, VerifyOptions::default(), &mut |_| ()).unwrap();
    let of = |name: &str| &found.modules[name];
    assert_eq!((of("MBbloom--").values, of("MBbloom--").data), (1, 0));
    assert_eq!((of("ft_index0").values, of("ft_index0").data), (0, 1));
    assert_eq!(of("MBbloom--").modules, ["bf"]);
}
