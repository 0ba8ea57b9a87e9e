//! Long strings, compressed or not, are processed in parts: the same string, in little memory.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use crate::support::{Client, captured, start, stream};
use futures::TryStreamExt as _;
use redisdump::compare::digest::Digester;
use redisdump::convert::export::{Export, ExportOptions, Format};
use redisdump::rdb::{Elements, Key, Kind, Reader, Visitor};
use sandbox::RedisOptions;
use sandbox::testing::require_redis;

/// The strings, and the longest part reported.
#[derive(Default)]
struct Strings {
    all: Vec<(Vec<u8>, u128)>,
    digester: Digester,
    bytes: u64,
    longest_part: usize,
}

impl Elements for Strings {
    fn string(&mut self, bytes: &[u8]) {
        self.digester.string(bytes);
        self.bytes += bytes.len() as u64;
    }
    fn long_string(&mut self, length: u64) {
        self.digester.long_string(length);
    }
    fn long_part(&mut self, bytes: &[u8]) {
        self.digester.long_part(bytes);
        self.bytes += bytes.len() as u64;
        self.longest_part = self.longest_part.max(bytes.len());
    }
}

impl Visitor for Strings {
    fn key(&mut self, key: &Key<'_>) {
        self.all.push((key.name.to_vec(), 0));
        self.digester.begin(Kind::String);
    }
    fn key_end(&mut self) {
        self.all.last_mut().unwrap().1 = self.digester.digest().value;
    }
}

fn read(rdb: &[u8], step: usize) -> Strings {
    let (mut reader, mut strings) = (Reader::new(), Strings::default());
    for piece in rdb.chunks(step) {
        reader.feed(piece, &mut strings).unwrap();
    }
    reader.finish().unwrap();
    strings
}

/// Text that compresses, though not all too well.
fn text(length: usize) -> Vec<u8> {
    let words = ["status", "KRW-BTC", "price", "{\"at\":", "열쇠", "position"];
    let mut text = Vec::new();
    for n in 0_u64.. {
        text.extend_from_slice(words[(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61) as usize % 6].as_bytes());
        text.extend_from_slice((n * n).to_string().as_bytes());
        if text.len() >= length {
            break;
        }
    }
    text.truncate(length);
    text
}

#[tokio::test]
async fn a_compressed_string_is_read_the_same_however_it_is_cut() {
    let Some(binaries) = require_redis("7.0") else { return };
    let server = start(&binaries, RedisOptions::default());
    let mut client = Client::new(&server);
    let values = [text(1 << 20), text((64 << 10) + 1), text(64 << 10), b"a".repeat((5 << 20) + 2), text(300)];
    for (n, value) in values.iter().enumerate() {
        client.send(&[b"SET".to_vec(), format!("k{n}").into_bytes(), value.clone()]).unwrap();
    }
    let (rdb, report) = captured(&server).await;
    let plain: usize = values.iter().map(Vec::len).sum();
    assert!(rdb.len() < plain * 2 / 3, "the server did not compress");
    let whole = |bytes: &[u8]| {
        let mut digester = Digester::default();
        digester.begin(Kind::String);
        digester.string(bytes);
        digester.digest().value
    };
    for step in [1, 3, 7, 61, 509, 4_099, 65_537, 1 << 20, rdb.len()] {
        let mut strings = read(&rdb, step);
        strings.all.sort();
        for (n, ((name, value), bytes)) in strings.all.iter().zip(&values).enumerate() {
            assert_eq!((name.as_slice(), *value), (format!("k{n}").as_bytes(), whole(bytes)), "{step}");
        }
        assert_eq!((strings.all.len() as u64, strings.bytes), (report.keys(), plain as u64));
        assert!((1..=66_000).contains(&strings.longest_part), "{}", strings.longest_part);
    }
    // Commands and JSON created from it contain the unchanged strings.
    for format in [Format::Resp, Format::Json] {
        let export = Export::new(stream(&rdb), ExportOptions::new(format, "7.0".parse().unwrap()));
        let pieces: Vec<bytes::Bytes> = export.try_collect().await.unwrap();
        let out = pieces.concat();
        if format == Format::Resp {
            for value in &values {
                assert!(out.windows(value.len()).any(|part| part == value.as_slice()));
            }
            continue;
        }
        for line in std::str::from_utf8(&out).unwrap().lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let n: usize = line["key"].as_str().unwrap()[1..].parse().unwrap();
            // The longest one is not buffered to find out whether it is text.
            let Some(text) = line["value"].as_str() else {
                let digits = line["value"]["base64"].as_str().unwrap();
                assert!(values[n].len() > 4 << 20 && digits.len() == values[n].len().div_ceil(3) * 4);
                assert!(
                    digits.strip_suffix("YQ==").unwrap().as_bytes().chunks(4).all(|four| four == b"YWFh")
                );
                continue;
            };
            assert_eq!(text.as_bytes(), values[n]);
        }
    }
}
