//! A proof reads a target that lives: what somebody changes there while it is loaded is found, whichever way its values
//! are read. From the report "live to live 10.9 s, but 27 s with proof".
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use futures::StreamExt as _;

use crate::support::{Client, options, start};
use redisdump::{
    Capture, CaptureOptions, CompareOptions, Comparison, ConnectOptions, DifferenceKind, DigestLog,
    Environment, RestoreOptions, compare, prove_digests, restore,
};
use sandbox::testing::require_redis;
use sandbox::{Redis, RedisOptions};

fn plain(version: &str) -> Option<Redis> {
    Some(start(&require_redis(version)?, RedisOptions::default()))
}

/// The target by a user who may read with MGET, or may not.
fn reader(target: &Redis, mget: bool) -> ConnectOptions {
    if mget {
        return options(target);
    }
    Client::new(target).ask("ACL SETUSER slow on >pw ~* &* +@all -mget");
    ConnectOptions::parse(&target.url_as("slow", "pw"), &Environment::default()).unwrap()
}

fn found(comparison: &Comparison) -> BTreeMap<String, DifferenceKind> {
    comparison.differences.iter().map(|difference| (difference.key.clone(), difference.kind)).collect()
}

/// Changes a key of the target that was restored already, in the way that is next, and notes it.
fn meddle(client: &mut Client, done: &mut BTreeMap<String, DifferenceKind>) {
    let ways = [
        DifferenceKind::Value,
        DifferenceKind::Expiry,
        DifferenceKind::MissingRight,
        DifferenceKind::Type,
        DifferenceKind::MissingLeft,
    ];
    let Some(kind) = ways.get(done.len()) else { return };
    if client.ask("DBSIZE").parse::<u64>().unwrap() < 100 {
        return;
    }
    let key = client.ask("RANDOMKEY");
    if done.contains_key(&key) {
        return;
    }
    match kind {
        DifferenceKind::Value => drop(client.ask(&format!("APPEND {key} x"))),
        DifferenceKind::Expiry => drop(client.ask(&format!("EXPIRE {key} 4000"))),
        DifferenceKind::MissingRight => drop(client.ask(&format!("DEL {key}"))),
        DifferenceKind::Type => {
            client.ask(&format!("DEL {key}"));
            client.ask(&format!("HSET {key} f v"));
        }
        _ => {
            client.ask("SET beside 1");
            done.insert("beside".to_owned(), *kind);
            return;
        }
    }
    done.insert(key, *kind);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_changed_while_the_target_is_loaded_is_found() {
    for (version, mget) in [("7.0", true), ("7.0", false), ("6.2", true), ("valkey-9", true)] {
        let (Some(source), Some(target)) = (plain(version), plain(version)) else { return };
        let script = "for n = 1, 40000 do redis.call('SET', 'key:' .. n, redis.sha1hex(n)) end";
        Client::new(&source).send(&[b"EVAL".to_vec(), script.into(), b"0".to_vec()]).unwrap();
        let to = reader(&target, mget);
        let log = DigestLog::against(&to).await.unwrap();
        let settings = CaptureOptions::default();
        let mut capture = Capture::start_with_digests(&options(&source), &settings, log).await.unwrap();
        let meddled = Mutex::new((Client::new(&target), BTreeMap::new()));
        let stream = (&mut capture).inspect(|_| {
            let (client, done) = &mut *meddled.lock().unwrap();
            meddle(client, done);
        });
        restore(stream, &to, &RestoreOptions::default(), &|_| ()).await.unwrap();
        let (_, expected) = meddled.into_inner().unwrap();
        assert_eq!(expected.len(), 5, "{version}: the load was over too early");
        let (log, settings) = (capture.digests().unwrap(), CompareOptions::default());
        let proven = prove_digests(log, "it", &to, &settings, &|_| ()).await.unwrap();
        assert_eq!(found(&proven), expected, "{version} {mget}: {proven}");
        assert_eq!((proven.equal_keys, proven.different_keys), (39_996, 5), "{version}: {proven}");
        let both = compare(&options(&source), &to, &settings, &|_| ()).await.unwrap();
        assert_eq!(found(&both), expected, "{version} {mget}: {both}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_expires_before_it_is_read_back_is_no_difference() {
    for (version, mget) in [("7.0", true), ("7.0", false), ("5.0", true)] {
        let (Some(source), Some(target)) = (plain(version), plain(version)) else { return };
        let mut client = Client::new(&source);
        for n in 0..300 {
            client.ask(&format!("SET stays:{n} {n}"));
            client.ask(&format!("SET goes:{n} {n} PX 1200"));
            client.ask(&format!("SET later:{n} {n} PX 900000"));
        }
        client.ask("HSET hash f v");
        client.ask("PEXPIRE hash 1200");
        let to = reader(&target, mget);
        let log = DigestLog::against(&to).await.unwrap();
        let settings = CaptureOptions::default();
        let mut capture = Capture::start_with_digests(&options(&source), &settings, log).await.unwrap();
        restore(&mut capture, &to, &RestoreOptions::default(), &|_| ()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let (log, settings) = (capture.digests().unwrap(), CompareOptions::default());
        let proven = prove_digests(log, "it", &to, &settings, &|_| ()).await.unwrap();
        assert!(proven.equal() && proven.expiry_exact, "{version} {mget}: {proven}");
        assert_eq!((proven.equal_keys, proven.expired_meanwhile), (600, 301), "{version} {mget}: {proven}");
    }
}

/// Strings that are read with others, in one piece, in parts, and none at all.
#[tokio::test]
async fn strings_of_every_length_are_compared_to_the_last_byte() {
    for version in ["7.0", "3.0", "8.6"] {
        let (Some(left), Some(right)) = (plain(version), plain(version)) else { return };
        let (mut one, mut other) = (Client::new(&left), Client::new(&right));
        let mut lengths = vec![0, 1, 20, 21, 44, 45, 1000, 262_143, 262_144, 262_145, 1_048_577, 3_000_000];
        lengths.extend(65_500..65_560);
        for length in &lengths {
            let value: Vec<u8> =
                (0..*length).map(|n: usize| (n.wrapping_mul(31) >> 3) as u8 & 0x7f).collect();
            for client in [&mut one, &mut other] {
                client.send(&[b"SET".to_vec(), format!("{length}").into(), value.clone()]).unwrap();
            }
        }
        for client in [&mut one, &mut other] {
            client.ask("SET number 9223372036854775807");
            client.ask("SET sign -7");
        }
        let compared = async || {
            let settings = CompareOptions { show: 1000, ..CompareOptions::default() };
            compare(&options(&left), &options(&right), &settings, &|_| ()).await.unwrap()
        };
        let equal = compared().await;
        assert!(equal.equal() && equal.keys == lengths.len() as u64 + 2, "{version}: {equal}");
        for length in &lengths {
            other
                .send(&[
                    b"SETRANGE".to_vec(),
                    format!("{length}").into(),
                    format!("{}", length.saturating_sub(1)).into(),
                    b"\xff".to_vec(),
                ])
                .unwrap();
        }
        other.ask("SET sign 7");
        let different = compared().await;
        assert_eq!(different.different_keys, lengths.len() as u64 + 1, "{version}: {different}");
        let kinds = found(&different);
        assert!(kinds.values().all(|kind| *kind == DifferenceKind::Value), "{version}: {different}");
    }
}
