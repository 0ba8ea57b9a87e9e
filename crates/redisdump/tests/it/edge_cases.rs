//! Files that can be read, but that servers refuse, or load and fail on later.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use crate::support::{Client, options, start, stream};
use redisdump::inspect::{InspectOptions, inspect_path};
use redisdump::rdb::Lint;
use redisdump::verify::{VerifyOptions, verify_file};
use redisdump::{RestoreOptions, restore, unsupported};
use sandbox::testing::require_redis;
use sandbox::{Redis, RedisOptions};

/// A ziplist of short strings.
fn ziplist(entries: &[&str]) -> Vec<u8> {
    let (mut list, mut before, mut tail) = (Vec::new(), 0, 10);
    for entry in entries {
        tail = 10 + list.len();
        let begin = list.len();
        list.extend([before, entry.len() as u8]);
        list.extend(entry.bytes());
        before = (list.len() - begin) as u8;
    }
    let mut out = (11 + list.len() as u32).to_le_bytes().to_vec();
    out.extend((tail as u32).to_le_bytes());
    out.extend((entries.len() as u16).to_le_bytes());
    out.extend(list);
    out.push(0xff);
    out
}

/// A file of one key `k` with a value that is one string.
fn file(value_type: u8, value: &[u8]) -> Vec<u8> {
    let head = [b"REDIS0009".as_slice(), &[value_type, 1, b'k', value.len() as u8], value].concat();
    [head.as_slice(), b"\xff\0\0\0\0\0\0\0\0"].concat()
}

fn with(mut bytes: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    bytes[at] = byte;
    bytes
}

fn cases() -> Vec<(Vec<u8>, Vec<Lint>, u64)> {
    let pairs = ziplist(&["f", "v", "g", "w"]);
    let zipmap = b"\x02\x01f\x01\x00v\x01g\x01\x00w\xff".to_vec();
    let quicklist = |list: Vec<u8>| [&[1, list.len() as u8][..], &list].concat();
    let quick = |list: Vec<u8>| {
        let head = [b"REDIS0009".as_slice(), &[14, 1, b'k'], &quicklist(list)].concat();
        [head.as_slice(), b"\xff\0\0\0\0\0\0\0\0"].concat()
    };
    vec![
        (file(13, &pairs), vec![], 1),
        (file(9, &zipmap), vec![], 1),
        (quick(ziplist(&["a", "b"])), vec![], 1),
        // The second entry's length of the one before; the tail; both in a list.
        (file(13, &with(pairs.clone(), 13, 9)), vec![Lint::ZiplistLinks], 1),
        (file(13, &with(pairs, 4, 13)), vec![Lint::ZiplistLinks], 1),
        (quick(with(ziplist(&["a", "b"]), 13, 9)), vec![Lint::ZiplistLinks], 1),
        (file(13, &ziplist(&["f", "v", "f", "w"])), vec![Lint::Twice], 1),
        (file(12, &ziplist(&["m", "1", "m", "2"])), vec![Lint::Twice], 1),
        (file(9, &with(zipmap.clone(), 0, 3)), vec![Lint::ZipmapCount], 1),
        (file(9, &with(zipmap, 7, b'f')), vec![Lint::Twice], 1),
        (file(11, b"\x02\0\0\0\x02\0\0\0\x05\0\x04\0"), vec![Lint::IntsetOrder], 1),
        (file(13, &ziplist(&[])), vec![], 0),
    ]
}

#[test]
fn rejections_of_servers_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump.rdb");
    for (bytes, odd, keys) in cases() {
        std::fs::write(&path, &bytes).unwrap();
        let verified = verify_file(&path, VerifyOptions::default(), &mut |_| ()).unwrap();
        let found: Vec<Lint> = verified.anomalies.iter().map(|anomaly| anomaly.what).collect();
        assert_eq!((found, verified.keys, verified.empty_keys), (odd, keys, 1 - keys), "{bytes:x?}");
        assert!(verified.anomalies.iter().all(|odd| (odd.keys, odd.db, odd.key.as_str()) == (1, 0, "k")));
        let inspected = inspect_path(&path, InspectOptions::default(), &mut |_| (), &mut |_| ()).unwrap();
        assert_eq!((inspected.sizes.keys, inspected.empty_keys), (keys, 1 - keys));
        for version in ["7.0", "8.2", "valkey-9"] {
            let Some(binaries) = require_redis(version) else { continue };
            let loading = RedisOptions { rdb: Some(path.clone()), ..RedisOptions::default() };
            match Redis::start(&binaries, loading) {
                Ok(server) => {
                    assert_eq!(Client::new(&server).ask("DBSIZE"), keys.to_string(), "{version} {bytes:x?}");
                    assert_eq!(verified.refusals().count(), 0, "{version} loads {bytes:x?}");
                }
                // This one looks at everything.
                Err(_) if version == "valkey-9" => assert!(!verified.anomalies.is_empty(), "{bytes:x?}"),
                Err(_) => assert!(verified.refusals().count() > 0, "{version} refuses {bytes:x?}"),
            }
        }
    }
}

/// Values that can be read and that a server refuses which looks closely: named before anything is written. Of a public
/// report: a stream that states another length than it has entries.
#[tokio::test]
async fn what_a_target_refuses_is_found_before_anything_is_written() {
    let body = b"REDIS0011\xfe\x00\x13\x01x\x01\x10\0\0\0\0\0\0\0\x64\0\0\0\0\0\0\0\x32\
        \x23\x23\0\0\0\x0c\0\x01\x01\0\x01\x02\x01\x81f\x02\x81g\x02\0\x01\x02\x01\0\x01\0\x01\x81\x31\x02\x81\x32\
        \x02\x05\x01\xff\x07\x40\x64\x32\x40\x64\x32\0\0\x07\0\0\x05after\x01v\xff\0\0\0\0\0\0\0\0";
    let unordered = file(11, b"\x02\0\0\0\x02\0\0\0\x05\0\x04\0");
    let plain = file(11, b"\x02\0\0\0\x02\0\0\0\x04\0\x05\0");
    for (version, settings) in [
        ("5.0", &[][..]),
        ("6.2", &[]),
        ("7.0", &[]),
        ("7.0", &[("sanitize-dump-payload", "yes")]),
        ("8.6", &[]),
        ("valkey-9", &[]),
    ] {
        let Some(binaries) = require_redis(version) else { continue };
        let settings: Vec<_> =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        // Redis checks the order of integers only if configured to, and never a stream's length.
        let refuses = |bytes: &[u8]| {
            (version == "valkey-9" && bytes != plain) || (!settings.is_empty() && bytes == unordered)
        };
        let refused: Vec<bool> = [&plain[..], &unordered, body].iter().map(|bytes| refuses(bytes)).collect();
        let server = start(&binaries, RedisOptions { settings, ..RedisOptions::default() });
        let all = RestoreOptions::default();
        for (bytes, refused) in [&plain[..], &unordered, body].into_iter().zip(refused) {
            let mut client = Client::new(&server);
            let found = unsupported(stream(bytes), &options(&server), &all).await;
            assert_eq!(client.ask("DBSIZE"), "0", "{version}");
            match found {
                // What was not refused then is accepted.
                Ok((_, unsupported)) => {
                    assert!(!refused, "{version}: {bytes:x?} {unsupported}");
                    restore(stream(bytes), &options(&server), &all, &|_| ()).await.unwrap();
                    client.ask("FLUSHALL");
                }
                Err(error) => {
                    assert!(refused && error.is_refused(), "{version}: {error}");
                    assert!(error.to_string().contains("Bad data format"), "{error}");
                }
            }
        }
    }
}
