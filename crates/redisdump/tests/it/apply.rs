//! Filling servers that are older, of the other fork, or not empty.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use crate::support::{Client, Corners, captured, fill, options, start, stream, words};
use futures::TryStreamExt as _;
use redisdump::convert::export::{Export, ExportOptions, Format};
use redisdump::{
    CompareOptions, Error, KeyChoice, OnExisting, Remedy, RestoreOptions, compare, prove, restore,
    unsupported,
};
use sandbox::testing::require_redis;
use sandbox::{Redis, RedisOptions};

fn server(version: &str) -> Option<Redis> {
    Some(start(&require_redis(version)?, RedisOptions::default()))
}

fn settings() -> RestoreOptions {
    RestoreOptions::default()
}

/// Moves everything, and compares both ways.
async fn moved(from: &Redis, to: &Redis, settings: &RestoreOptions) -> redisdump::RestoreReport {
    let (rdb, _) = captured(from).await;
    let report = restore(stream(&rdb), &options(to), settings, &|_| ()).await.unwrap();
    let proof = prove(stream(&rdb), &options(to), &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(proof.equal(), "{proof}");
    let found = compare(&options(from), &options(to), &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(found.equal(), "{found}");
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_are_converted_for_older_and_other_targets() {
    for (from, to) in [("8.2", "7.0"), ("7.0", "valkey-9"), ("valkey-9", "8.2")] {
        let (Some(source), Some(target)) = (server(from), server(to)) else { continue };
        fill(&source, Corners::Streams);
        let report = moved(&source, &target, &settings()).await;
        assert!(report.keys > 20 && report.left_out.is_empty(), "{from} -> {to}: {report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_older_server_cannot_hold_is_named_before_anything_is_written() {
    let (Some(source), Some(target)) = (server("8.2"), server("7.0")) else { return };
    let mut client = Client::new(&source);
    for line in ["HSET mortal f v g w", "HPEXPIREAT mortal 9999999999999 FIELDS 1 f", "SET plain x"] {
        client.send(&words(line)).unwrap();
    }
    let (rdb, _) = captured(&source).await;
    let (_, unsupported) =
        unsupported(stream(&rdb), &options(&target), &RestoreOptions::default()).await.unwrap();
    assert!(unsupported.is_serious() && unsupported.to_string().contains("mortal"), "{unsupported}");
    let refused = restore(stream(&rdb), &options(&target), &settings(), &|_| ()).await.unwrap_err();
    assert!(matches!(refused, Error::Unsupported { .. }), "{refused}");
    Client::new(&target).send(&words("FLUSHALL")).unwrap();

    let skip = RestoreOptions { skip_unsupported: true, ..settings() };
    let report = restore(stream(&rdb), &options(&target), &skip, &|_| ()).await.unwrap();
    assert_eq!((report.keys, report.left_out.kinds.len()), (1, 1), "{report}");
    assert_eq!(Client::new(&target).ask("DBSIZE"), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn existing_objects_are_kept_dropped_or_emptied_as_requested() {
    let (Some(source), Some(target)) = (server("7.0"), server("7.0")) else { return };
    let mut from = Client::new(&source);
    for line in ["SET a new", "SET b new", "SET bot:1 x", "SET bot:tmp x", "SELECT 2", "SET second x"] {
        from.send(&words(line)).unwrap();
    }
    let (rdb, _) = captured(&source).await;
    let mut to = Client::new(&target);
    let fill = |to: &mut Client| {
        for line in ["FLUSHALL", "SET a old", "SET mine x"] {
            to.send(&words(line)).unwrap();
        }
    };
    let run =
        async |settings: &RestoreOptions| restore(stream(&rdb), &options(&target), settings, &|_| ()).await;

    fill(&mut to);
    let refused = run(&settings()).await.unwrap_err();
    assert!(
        refused.is_refused() && matches!(refused.remedies()[..], [Remedy::HandleExisting { .. }, ..]),
        "{refused}"
    );

    let skip = RestoreOptions { on_existing: OnExisting::Skip, ..settings() };
    let report = run(&skip).await.unwrap();
    assert_eq!((report.keys, report.skipped), (4, 1), "{report}");
    assert_eq!(
        (to.ask("GET a"), to.ask("GET b"), to.ask("DBSIZE")),
        ("old".into(), "new".into(), "5".into())
    );

    fill(&mut to);
    let replace = RestoreOptions { on_existing: OnExisting::Replace, ..settings() };
    assert_eq!(run(&replace).await.unwrap().keys, 5);
    assert_eq!((to.ask("GET a"), to.ask("GET mine")), ("new".into(), "x".into()));
    let others = CompareOptions { others_allowed: true, ..CompareOptions::default() };
    assert!(prove(stream(&rdb), &options(&target), &others, &|_| ()).await.unwrap().equal());
    assert!(
        !prove(stream(&rdb), &options(&target), &CompareOptions::default(), &|_| ()).await.unwrap().equal()
    );

    // Emptied only by its own name.
    let elsewhere = RestoreOptions { flush: Some("127.0.0.1:1".into()), ..settings() };
    let refused = run(&elsewhere).await.unwrap_err();
    assert!(refused.is_refused() && refused.to_string().contains("name the intended server"), "{refused}");
    assert_eq!(to.ask("GET mine"), "x");
    let named = RestoreOptions { flush: Some(options(&target).address()), ..settings() };
    assert_eq!(run(&named).await.unwrap().keys, 5);
    assert_eq!(to.ask("EXISTS mine"), "0");

    // Some keys, into another database.
    to.send(&words("FLUSHALL")).unwrap();
    let choice = KeyChoice {
        include: vec!["bot:*".into(), "sec*".into()],
        exclude: vec!["*:tmp".into()],
        databases: [(2, 5)].into(),
        ..KeyChoice::default()
    };
    let some = RestoreOptions { choice: choice.clone(), rate: Some(1000), ..settings() };
    let report = run(&some).await.unwrap();
    assert_eq!((report.keys, report.unwanted), (2, 3), "{report}");
    to.send(&words("SELECT 5")).unwrap();
    assert_eq!(to.ask("GET second"), "x");
    let compare = CompareOptions { choice, ..CompareOptions::default() };
    let proof = prove(stream(&rdb), &options(&target), &compare, &|_| ()).await.unwrap();
    assert!(proof.equal(), "{proof}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_longer_than_any_argument_is_sent_in_pieces() {
    let (Some(source), Some(target)) = (server("7.0"), server("7.0")) else { return };
    let mut from = Client::new(&source);
    let item = "x".repeat(100_000);
    for n in 0..60 {
        from.send(&words(&format!("RPUSH long {n}{item}"))).unwrap();
        from.send(&words(&format!("HSET wide f{n} {item}"))).unwrap();
    }
    from.send(&words("PEXPIREAT wide 4102444800123")).unwrap();
    from.send(&words("SETRANGE text 3000000 x")).unwrap();
    Client::new(&target).send(&words("CONFIG SET proto-max-bulk-len 1048576")).unwrap();
    let report = moved(&source, &target, &settings()).await;
    assert_eq!(report.keys, 3);
}

/// Damage that public files have: collections of nothing, in plain tables, ziplists and intsets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collections_without_elements_are_left_out_as_servers_leave_them_out() {
    let Some(target) = server("7.0") else { return };
    let mut rdb = b"REDIS0009".to_vec();
    for (code, name, value) in [
        (2, "set", b"\0".as_slice()),
        (1, "list", b"\0"),
        (11, "intset", b"\x08\x02\0\0\0\0\0\0\0"),
        (13, "hash", b"\x0b\x0b\0\0\0\x0a\0\0\0\0\0\xff"),
        (14, "quicklist", b"\x01\x0b\x0b\0\0\0\x0a\0\0\0\0\0\xff"),
        (5, "zset", b"\0"),
        (0, "text", b"\x01v"),
    ] {
        rdb.extend([252, 0, 0, 0, 0, 0, 0, 0, 0x10, code, u8::try_from(name.len()).unwrap()]);
        rdb.extend(name.bytes());
        rdb.extend(value);
    }
    rdb.push(255);
    rdb.extend([0; 8]);
    let report = restore(stream(&rdb), &options(&target), &settings(), &|_| ()).await.unwrap();
    assert_eq!((report.keys, report.empty), (1, 6), "{report}");
    let proof = prove(stream(&rdb), &options(&target), &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(proof.equal() && proof.keys == 1, "{proof}");
    for version in ["3.2", "7.0"] {
        let target = version.parse().unwrap();
        let export = ExportOptions::new(Format::Rdb, target);
        let pieces: Vec<bytes::Bytes> = Export::new(stream(&rdb), export).try_collect().await.unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), pieces.concat()).unwrap();
        let Some(binaries) = require_redis(version) else { continue };
        let server =
            start(&binaries, RedisOptions { rdb: Some(file.path().to_owned()), ..RedisOptions::default() });
        assert_eq!(Client::new(&server).ask("DBSIZE"), "1", "{version}");
    }
}
