//! Proofs and comparisons over time: expiring fields and keys, idle times, clocks of old servers; and additional
//! keys, or omitted ones.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use crate::support;
use std::time::Duration;

use crate::support::{Client, Corners, at_least, captured, fill, options, start, stream};
use redisdump::{
    CompareOptions, Comparison, DifferenceKind, RestoreOptions, compare, prove, restore, unsupported,
};
use sandbox::testing::require_redis;
use sandbox::{Redis, RedisOptions};

fn server(version: &str) -> Option<Redis> {
    Some(start(&require_redis(version)?, RedisOptions::default()))
}

async fn restored(rdb: &[u8], target: &Redis) -> redisdump::RestoreReport {
    restore(stream(rdb), &options(target), &RestoreOptions::default(), &|_| ()).await.unwrap()
}

async fn proof(rdb: &[u8], target: &Redis) -> Comparison {
    prove(stream(rdb), &options(target), &CompareOptions::default(), &|_| ()).await.unwrap()
}

async fn compared(left: &Redis, right: &Redis) -> Comparison {
    compare(&options(left), &options(right), &CompareOptions::default(), &|_| ()).await.unwrap()
}

fn kinds(found: &Comparison) -> Vec<(&str, DifferenceKind)> {
    let mut kinds: Vec<_> = found.differences.iter().map(|d| (d.key.as_str(), d.kind)).collect();
    kinds.sort_by_key(|(key, _)| *key);
    kinds
}

/// A snapshot is proven and rehearsed after some fields in it have expired.
async fn fields_expire_meanwhile(version: &str) {
    let (Some(source), Some(target)) = (server(version), server(version)) else { return };
    let mut client = Client::new(&source);
    for (field, stays) in [("a", true), ("b", false), ("c", false)] {
        client.ask(&format!("HSET some {field} 1"));
        client.ask(&format!("HSET large {field} 1"));
        if !stays {
            client.ask(&format!("HSET all {field} 1"));
        }
    }
    for n in 0..1000 {
        client.ask(&format!("HSET large field:{n} {n}"));
    }
    // One later than the others, so that the order in which they go matters.
    client.ask("HPEXPIRE some 2500 FIELDS 2 b c");
    client.ask("HPEXPIRE large 300000 FIELDS 2 a b");
    client.ask("HPEXPIRE large 2500 FIELDS 2 c field:7");
    client.ask("HPEXPIRE all 2500 FIELDS 2 b c");
    let (rdb, _) = captured(&source).await;
    restored(&rdb, &target).await;
    let early = proof(&rdb, &target).await;
    assert!(early.equal(), "{version}: {early}");

    tokio::time::sleep(Duration::from_millis(2700)).await;
    let late = proof(&rdb, &target).await;
    assert!(late.equal(), "{version}: {late}");
    assert_eq!((late.expired_meanwhile, late.expired_fields), (1, 4), "{version}: {late}");
    let both = compared(&source, &target).await;
    assert!(both.equal(), "{version}: {both}");

    // One of the sides has let a field go that the other still keeps.
    client.ask("HPEXPIRE some 900 FIELDS 1 a");
    client.ask("HSET some z 1");
    Client::new(&target).ask("HSET some z 1");
    Client::new(&target).ask("HDEL some a");
    let both = compared(&source, &target).await;
    assert!(both.equal() && both.expired_fields <= 1, "{version}: {both}");

    // Persistent fields are compared as usual, and those that are not due yet as well.
    Client::new(&target).ask("HSET some z 2");
    Client::new(&target).ask("HDEL large b");
    let found = proof(&rdb, &target).await;
    let both = [("large", DifferenceKind::Value), ("some", DifferenceKind::Value)];
    assert_eq!(kinds(&found), both, "{version}: {found}");
}

#[tokio::test]
async fn fields_that_expired_since_are_no_difference() {
    for version in ["8.2", "valkey-9"] {
        fields_expire_meanwhile(version).await;
    }
}

#[tokio::test]
async fn a_snapshot_is_rehearsed_after_its_fields_have_expired() {
    for version in ["8.2", "valkey-9"] {
        let (Some(source), Some(target)) = (server(version), server(version)) else { return };
        let mut client = Client::new(&source);
        client.ask("HSET some a 1 b 2 c 3");
        client.ask("HPEXPIRE some 100 FIELDS 1 a");
        client.ask("HSET all a 1 b 2");
        client.ask("HPEXPIRE all 100 FIELDS 2 a b");
        let (rdb, _) = captured(&source).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        restored(&rdb, &target).await;
        let late = proof(&rdb, &target).await;
        assert!(late.equal(), "{version}: {late}");
    }
}

/// Restored idle times are still there after the proof.
#[tokio::test]
async fn a_proof_does_not_make_keys_look_used() {
    let (Some(source), Some(target)) = (server("8.2"), server("8.2")) else { return };
    let mut client = Client::new(&source);
    client.ask("CONFIG SET maxmemory-policy allkeys-lru");
    client.ask("SET k v");
    let payload = client.bytes(&support::words("DUMP k")).unwrap();
    let mut restore = support::words("RESTORE idle 0 PAYLOAD IDLETIME 5000");
    restore[3] = payload;
    client.send(&restore).unwrap();
    Client::new(&target).ask("CONFIG SET maxmemory-policy allkeys-lru");
    let (rdb, _) = captured(&source).await;
    restored(&rdb, &target).await;
    assert!(proof(&rdb, &target).await.equal() && compared(&source, &target).await.equal());
    let idle: u64 = Client::new(&target).ask("OBJECT IDLETIME idle").parse().unwrap();
    assert!(idle >= 5000, "{idle}");
}

/// Before 7.0 a server tells only the time left; it is exact where its clock stood still meanwhile.
async fn expiries_are_exact(version: &str) {
    let (Some(source), Some(target)) = (server(version), server(version)) else { return };
    let mut client = Client::new(&source);
    for n in 0..3000_u64 {
        client.ask(&format!("SET key:{n} x"));
        client.ask(&format!("PEXPIREAT key:{n} {}", 4_102_444_800_000 + n * 7));
    }
    let (rdb, _) = captured(&source).await;
    restored(&rdb, &target).await;
    for _ in 0..3 {
        let found = proof(&rdb, &target).await;
        assert!(found.equal() && found.expiry_exact && found.keys == 3000, "{version}: {found}");
        let found = compared(&source, &target).await;
        assert!(found.equal() && found.expiry_exact && found.keys == 3000, "{version}: {found}");
    }
    Client::new(&target).ask(&format!("PEXPIREAT key:5 {}", 4_102_444_800_000_u64 + 5 * 7 + 1));
    Client::new(&target).ask("PERSIST key:9");
    let expected = [("key:5", DifferenceKind::Expiry), ("key:9", DifferenceKind::Expiry)];
    for found in [proof(&rdb, &target).await, compared(&source, &target).await] {
        assert_eq!(kinds(&found), expected, "{version}: {found}");
    }
}

#[tokio::test]
async fn old_servers_expiries_are_compared_to_the_millisecond() {
    for version in ["3.0", "3.2", "5.0", "6.2"] {
        expiries_are_exact(version).await;
    }
}

#[tokio::test]
async fn a_server_without_functions_lacks_those_of_the_snapshot() {
    let (Some(source), Some(target)) = (server("7.0"), server("6.2")) else { return };
    let mut client = Client::new(&source);
    client.ask("SET a b");
    let code = b"#!lua name=mine\nredis.register_function('one', function() return 1 end)".to_vec();
    client.send(&[b"FUNCTION".to_vec(), b"LOAD".to_vec(), code]).unwrap();
    Client::new(&target).ask("SET a b");
    let (rdb, _) = captured(&source).await;
    let found = proof(&rdb, &target).await;
    assert!(!found.equal() && found.functions_equal == Some(false), "{found}");
    let others = CompareOptions { others_allowed: true, ..CompareOptions::default() };
    let found = prove(stream(&rdb), &options(&target), &others, &|_| ()).await.unwrap();
    assert_eq!(found.functions_equal, Some(false), "{found}");
    client.ask("FUNCTION FLUSH");
    let (rdb, _) = captured(&source).await;
    assert_eq!(proof(&rdb, &target).await.functions_equal, None);
}

/// Keys beside the snapshot's are named, though as many of its own have expired, which a count would not tell.
#[tokio::test]
async fn keys_that_the_snapshot_lacks_are_named() {
    let (Some(source), Some(target)) = (server("7.0"), server("7.0")) else { return };
    let mut client = Client::new(&source);
    fill(&source, Corners::All);
    client.ask("SET brief x PX 1500");
    let (rdb, _) = captured(&source).await;
    restored(&rdb, &target).await;
    let mut other = Client::new(&target);
    other.ask("SET beside x");
    other.ask("SELECT 3");
    other.ask("SET int 12345");
    tokio::time::sleep(Duration::from_millis(1600)).await;
    let found = proof(&rdb, &target).await;
    let expected = [("beside", DifferenceKind::MissingLeft), ("int", DifferenceKind::MissingLeft)];
    assert_eq!(kinds(&found), expected, "{found}");
    assert_eq!((found.expired_meanwhile, found.unnamed_extra), (1, 0), "{found}");
    let others = CompareOptions { others_allowed: true, ..CompareOptions::default() };
    assert!(prove(stream(&rdb), &options(&target), &others, &|_| ()).await.unwrap().equal());
}

/// A key that should have no expiry is not asked for one while the server's count says that no other key has one; the
/// count must not hide it behind a key that has lost its own, that expires meanwhile, or that should not be there.
async fn an_unexpected_expiry_is_found(version: &str) {
    let (Some(source), Some(target)) = (server(version), server(version)) else { return };
    let mut client = Client::new(&source);
    for key in ["a", "b", "c"] {
        client.ask(&format!("SET {key} x"));
        client.ask(&format!("SET {key}:expires x EX 9000"));
    }
    client.ask("RPUSH list x");
    client.ask("SELECT 5");
    client.ask("SADD set x");
    client.ask("SET later x PX 3000");
    let (rdb, _) = captured(&source).await;
    restored(&rdb, &target).await;
    assert!(proof(&rdb, &target).await.equal());
    let expiry = DifferenceKind::Expiry;
    let mut other = Client::new(&target);
    other.ask("EXPIRE b 5000");
    let found = proof(&rdb, &target).await;
    assert_eq!(
        (kinds(&found), found.keys, found.equal_keys),
        (vec![("b", expiry)], 9, 8),
        "{version}: {found}"
    );
    // As many as before.
    other.ask("PERSIST c:expires");
    other.ask("EXPIRE list 5000");
    other.ask("PERSIST b");
    let found = proof(&rdb, &target).await;
    assert_eq!(kinds(&found), [("c:expires", expiry), ("list", expiry)], "{version}: {found}");
    other.ask("EXPIRE c:expires 9000");
    other.ask("PERSIST list");
    // In another database, behind one that expires.
    other.ask("SELECT 5");
    other.ask("EXPIRE set 5000");
    tokio::time::sleep(Duration::from_millis(3100)).await;
    let found = proof(&rdb, &target).await;
    let kinds = kinds(&found);
    assert!(kinds.contains(&("set", expiry)) && kinds.len() == 2, "{version}: {found}");
}

#[tokio::test]
async fn an_expiry_that_only_the_target_has_is_a_difference() {
    for version in ["6.2", "7.0", "8.2"] {
        an_unexpected_expiry_is_found(version).await;
    }
}

/// Omitted unsupported keys are distinguished from missing ones.
async fn left_out(from: &str, to: &str, keys: u64) {
    let (Some(source), Some(target)) = (server(from), server(to)) else { return };
    fill(&source, Corners::All);
    let (rdb, report) = captured(&source).await;
    let (_, unsupported) =
        unsupported(stream(&rdb), &options(&target), &RestoreOptions::default()).await.unwrap();
    assert!(unsupported.is_serious());
    let skip = RestoreOptions { skip_unsupported: true, ..RestoreOptions::default() };
    let restored = restore(stream(&rdb), &options(&target), &skip, &|_| ()).await.unwrap();
    let settings = CompareOptions { left_out: restored.left_out, ..CompareOptions::default() };
    let proven = prove(stream(&rdb), &options(&target), &settings, &|_| ()).await.unwrap();
    let both = compare(&options(&source), &options(&target), &settings, &|_| ()).await.unwrap();
    for found in [proven, both] {
        assert!(found.equal(), "{from} -> {to}: {found}");
        assert_eq!((found.left_out, found.keys), (keys, report.keys() - keys), "{from} -> {to}: {found}");
        assert_eq!(found.functions_equal.is_some(), at_least(&target, 7, 0), "{found}");
        assert!(found.to_string().contains(&format!("{keys} keys were left out")), "{found}");
    }
    // Anything else that is missing is a difference still.
    Client::new(&target).ask("DEL hash");
    let found = prove(stream(&rdb), &options(&target), &settings, &|_| ()).await.unwrap();
    assert_eq!(kinds(&found), [("hash", DifferenceKind::MissingRight)], "{found}");
}

#[tokio::test]
async fn omissions_are_reported_and_not_a_difference() {
    left_out("8.2", "7.0", 2).await;
    left_out("valkey-9", "3.2", 7).await;
}

/// Makes a hash of so many fields that expire in minutes.
fn mortal(client: &mut Client, key: &str, fields: usize) {
    let script = format!(
        "for from = 1, {fields}, 2500 do local set, names = {{}}, {{}} \
         for n = from, from + 2499 do set[#set + 1] = n set[#set + 1] = 'v' names[#names + 1] = n end \
         redis.call('HSET', KEYS[1], unpack(set)) \
         redis.call('HPEXPIRE', KEYS[1], 600000, 'FIELDS', #names, unpack(names)) end"
    );
    client.send(&[b"EVAL".to_vec(), script.into(), b"1".to_vec(), key.into()]).unwrap();
}

/// Fields that are about to expire are listed in bounded memory: shared by keys that are queried together, and
/// reported if it is not sufficient for one.
#[tokio::test]
async fn many_fields_about_to_expire_take_bounded_room() {
    let (Some(source), Some(target)) = (server("8.2"), server("8.2")) else { return };
    let mut client = Client::new(&source);
    for key in ["one", "two", "three"] {
        mortal(&mut client, key, 60_000);
    }
    for key in ["one", "two", "three"] {
        client.ask(&format!("HSET {key} brief x"));
        client.ask(&format!("HPEXPIRE {key} 3000 FIELDS 1 brief"));
    }
    let (rdb, _) = captured(&source).await;
    restored(&rdb, &target).await;
    tokio::time::sleep(Duration::from_millis(3100)).await;
    let found = proof(&rdb, &target).await;
    assert!(found.equal() && found.expired_fields == 3, "{found}");
    assert!(compared(&source, &target).await.equal());

    mortal(&mut client, "giant", 150_000);
    let (rdb, _) = captured(&source).await;
    Client::new(&target).ask("FLUSHALL");
    restored(&rdb, &target).await;
    assert!(proof(&rdb, &target).await.equal());
    Client::new(&target).ask("HDEL giant 7");
    let found = proof(&rdb, &target).await;
    assert_eq!(kinds(&found), [("giant", DifferenceKind::Value)], "{found}");
    assert!(found.to_string().contains("more than 100000 of its fields expire"), "{found}");
}
