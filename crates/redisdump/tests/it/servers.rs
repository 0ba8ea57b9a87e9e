//! Capture, restore, proof and comparison between real servers, with every type and its edge cases.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use crate::support;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use redisdump::{
    Capture, CaptureOptions, CompareOptions, ConnectOptions, DifferenceKind, Environment, RestoreOptions,
    compare, prove, restore,
};
use sandbox::testing::require_redis;
use sandbox::{Listen, Redis, RedisOptions};

/// A server that does not wait for further replicas before it sends its snapshot.
fn quick() -> RedisOptions {
    RedisOptions {
        settings: vec![("repl-diskless-sync-delay".to_owned(), "0".to_owned())],
        ..RedisOptions::default()
    }
}

/// Sends commands, each as words or raw bytes, and fails on an error reply.
fn send(server: &Redis, commands: &[Vec<Vec<u8>>]) {
    let mut client = support::Client::new(server);
    for command in commands {
        let reply = client.send(command);
        assert!(reply.is_ok(), "{:?}: {reply:?}", command.first());
    }
}

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// Every type, small and large, with expiries, several databases, a stream with all it can have, and a function.
fn fill(server: &Redis) {
    let mut commands: Vec<Vec<Vec<u8>>> = [
        "SET int 12345",
        "SET negative -9223372036854775808",
        "SET text hello",
        "SET soon x PXAT 99999999999999",
        "RPUSH list a b c 1 -5 300 70000",
        "SADD set a b c",
        "SADD intset 1 2 3 -70000",
        "ZADD z 1 a -inf b +inf c 1e308 d 0.1 e",
        "HSET hash f v g 12 h 1.5",
        "EXPIREAT hash 99999999999",
        "XADD s 1-1 a 1 b 2",
        "XADD s 1-2 a 3",
        "XADD s 2-1 c 4",
        "XADD s 5-0 d 5",
        "XDEL s 1-2",
        "XGROUP CREATE s g 0",
        "XREADGROUP GROUP g alice COUNT 2 STREAMS s >",
        "XGROUP CREATE s idle $",
        "XADD empty 1-1 a b",
        "XDEL empty 1-1",
        "PFADD hll a b c",
        "SETRANGE bits 100 x",
        "SELECT 3",
        "SET other db",
        "SELECT 0",
    ]
    .iter()
    .map(|line| words(line))
    .collect();
    let binary: Vec<u8> = (0..=255).collect();
    commands.push(vec![b"SET".to_vec(), binary.clone(), vec![0, 255, 13, 10]]);
    commands.push(vec![b"SET".to_vec(), b"big".to_vec(), b"compressible ".repeat(100_000)]);
    commands.push(vec![b"SET".to_vec(), "열쇠🔑".into(), "값".into()]);
    let many = |name: &str, key: &str, each: &dyn Fn(usize) -> Vec<Vec<u8>>| {
        let mut command = vec![name.as_bytes().to_vec(), key.as_bytes().to_vec()];
        command.extend((0..2000).flat_map(each));
        command
    };
    commands
        .push(many("RPUSH", "biglist", &|n| vec![format!("item {n} {}", "x".repeat(n % 90)).into_bytes()]));
    commands.push(many("SADD", "bigset", &|n| vec![format!("member {n}").into_bytes()]));
    commands.push(many("ZADD", "bigz", &|n| {
        vec![format!("{}", n as f64 / 7.0).into_bytes(), format!("m{n}").into_bytes()]
    }));
    commands.push(many("HSET", "bighash", &|n| vec![format!("f{n}").into_bytes(), binary.clone()]));
    let redis = server.flavor() == sandbox::Flavor::Redis;
    if server.version().major() >= if redis { 8 } else { 9 } {
        commands.push(words("HSET mortal f v g w"));
        commands.push(words("HPEXPIREAT mortal 9999999999999 FIELDS 1 f"));
    }
    if server.version().major() >= 7 {
        let code = b"#!lua name=mine\nredis.register_function('one', function() return 1 end)".to_vec();
        commands.push(vec![b"FUNCTION".to_vec(), b"LOAD".to_vec(), code]);
    }
    send(server, &commands);
}

fn options(server: &Redis) -> ConnectOptions {
    ConnectOptions::parse(&server.url(), &Environment::default()).unwrap()
}

async fn captured(server: &Redis) -> (Vec<Bytes>, redisdump::CaptureReport) {
    let mut capture = Capture::start(&options(server), &CaptureOptions::default()).await.unwrap();
    let pieces: Vec<Bytes> = (&mut capture).try_collect().await.unwrap();
    let report = capture.report().unwrap();
    assert_eq!(pieces.iter().map(|piece| piece.len() as u64).sum::<u64>(), report.bytes);
    (pieces, report)
}

fn stream(pieces: &[Bytes]) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> + use<> {
    futures::stream::iter(pieces.to_vec()).map(Ok)
}

async fn there(from: &str, to: &str) {
    let (Some(from), Some(to)) = (require_redis(from), require_redis(to)) else { return };
    let source = Redis::start(&from, quick()).unwrap();
    let target = Redis::start(&to, quick()).unwrap();
    fill(&source);

    let (pieces, report) = captured(&source).await;
    assert_eq!(report.checksum, redisdump::rdb::Checksum::Verified);
    assert!(report.keys() >= 20 && report.functions == 1 && report.databases[&3].keys == 1, "{report:?}");

    let restored =
        restore(stream(&pieces), &options(&target), &RestoreOptions::default(), &|_| ()).await.unwrap();
    assert_eq!((restored.keys, restored.functions), (report.keys(), 1));
    let proof = prove(stream(&pieces), &options(&target), &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(proof.equal() && proof.keys == report.keys(), "{proof}");
    let both =
        compare(&options(&source), &options(&target), &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(both.equal() && both.keys == report.keys(), "{both}");
    // The target, captured again, has the same key space.
    let (_, again) = captured(&target).await;
    assert_eq!(again.digest, report.digest);

    // A target that is not empty is refused and not changed.
    let refused =
        restore(stream(&pieces), &options(&target), &RestoreOptions::default(), &|_| ()).await.unwrap_err();
    assert!(refused.is_refused(), "{refused}");

    // Each kind of difference is found and named.
    send(
        &target,
        &["PEXPIREAT hash 99999999999001", "SET text other", "SADD text2 x", "DEL int", "LSET list 0 z"]
            .map(words),
    );
    send(&target, &[words("DEL set"), words("SET set string")]);
    let both =
        compare(&options(&source), &options(&target), &CompareOptions::default(), &|_| ()).await.unwrap();
    let mut found: Vec<_> = both.differences.iter().map(|d| (d.key.as_str(), d.kind)).collect();
    found.sort_by_key(|(key, _)| key.to_owned());
    let expected = [
        ("hash", DifferenceKind::Expiry),
        ("int", DifferenceKind::MissingRight),
        ("list", DifferenceKind::Value),
        ("set", DifferenceKind::Type),
        ("text", DifferenceKind::Value),
        ("text2", DifferenceKind::MissingLeft),
    ];
    assert_eq!(found, expected, "{both}");
    let proof = prove(stream(&pieces), &options(&target), &CompareOptions::default(), &|_| ()).await.unwrap();
    assert_eq!((proof.different_keys, proof.unnamed_extra), (6, 0), "{proof}");
    assert!(proof.differences.iter().any(|d| d.key == "text2" && d.kind == DifferenceKind::MissingLeft));
    // Names beyond the limit are counted, and the report says so.
    let settings = CompareOptions { remembered_keys: 3, ..CompareOptions::default() };
    let proof = prove(stream(&pieces), &options(&target), &settings, &|_| ()).await.unwrap();
    assert_eq!((proof.different_keys, proof.unnamed_extra, proof.extra_is_counted), (5, 1, true), "{proof}");
}

#[tokio::test]
async fn redis_7_0_to_7_0() {
    there("7.0", "7.0").await;
}

#[tokio::test]
async fn redis_7_0_to_8_2() {
    there("7.0", "8.2").await;
}

#[tokio::test]
async fn redis_7_0_to_valkey_9() {
    there("7.0", "valkey-9").await;
}

#[tokio::test]
async fn redis_8_2_to_8_2() {
    there("8.2", "8.2").await;
}

#[tokio::test]
async fn valkey_9_to_valkey_9() {
    there("valkey-9", "valkey-9").await;
}

#[tokio::test]
async fn a_damaged_stream_is_an_error_with_its_place() {
    let Some(binaries) = require_redis("7.0") else { return };
    let source = Redis::start(&binaries, quick()).unwrap();
    let target = Redis::start(&binaries, quick()).unwrap();
    fill(&source);
    let (pieces, _) = captured(&source).await;
    let mut whole: Vec<u8> = pieces.concat();
    let cut = Bytes::from(whole[..whole.len() - 20].to_vec());
    let error =
        restore(stream(&[cut]), &options(&target), &RestoreOptions::default(), &|_| ()).await.unwrap_err();
    assert!(error.to_string().contains("ends within"), "{error}");
    send(&target, &["FLUSHALL", "FUNCTION FLUSH"].map(words));
    let at = whole.len() - 12;
    whole[at] ^= 0x40;
    let error =
        restore(stream(&[Bytes::from(whole)]), &options(&target), &RestoreOptions::default(), &|_| ())
            .await
            .unwrap_err();
    assert!(error.to_string().contains("byte "), "{error}");
}

#[tokio::test]
async fn a_wrong_password_and_a_lost_server_are_reported() {
    let Some(binaries) = require_redis("7.0") else { return };
    let with_password = RedisOptions { listen: Listen::Port, password: Some("right".into()), ..quick() };
    let mut server = Redis::start(&binaries, with_password).unwrap();
    let bare = format!("redis://{}", server.address());
    let start = |url: String| async move {
        let options = ConnectOptions::parse(&url, &Environment::default()).unwrap();
        Capture::start(&options, &CaptureOptions::default()).await.map(drop)
    };
    let error = start(bare.clone()).await.unwrap_err().to_string();
    assert!(error.contains("NOAUTH") && error.contains("REDISCLI_AUTH"), "{error}");
    let error = start(bare.replace("redis://", "redis://:wrongpw@")).await.unwrap_err().to_string();
    assert!(error.contains("WRONGPASS") && !error.contains("wrongpw"), "{error}");
    start(server.url()).await.unwrap();
    server.kill();
    let error = start(server.url()).await.unwrap_err().to_string();
    assert!(error.contains("cannot connect"), "{error}");
}
