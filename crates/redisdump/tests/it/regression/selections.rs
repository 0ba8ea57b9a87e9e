//! Keys selected, renamed and with changed expiries, verified and compared in the same way. Reported as "compare
//! cannot be narrowed to what was migrated", "a pattern with a misspelling migrates nothing, and that is a success",
//! "no way down for a hash with field TTLs".
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use crate::support::{Client, Corners, captured, field_expiry, fill, options, resp_of, start, stream};
use redisdump::{
    Capture, CaptureMethod, CaptureOptions, CompareOptions, Comparison, ConnectOptions, DigestLog,
    Environment, Expiries, KeyChoice, RestoreOptions, RestoreReport, apply_aof, compare, prove,
    prove_digests, restore, unsupported,
};
use sandbox::testing::require_redis;
use sandbox::{ClusterOptions, Redis, RedisCluster, RedisOptions};

fn plain(version: &str) -> Option<Redis> {
    Some(start(&require_redis(version)?, RedisOptions::default()))
}

fn with(version: &str, settings: &[(&str, &str)]) -> Option<Redis> {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Some(start(&require_redis(version)?, RedisOptions { settings, ..RedisOptions::default() }))
}

fn cluster(version: &str) -> Option<RedisCluster> {
    let settings = vec![("repl-diskless-sync-delay".to_owned(), "0".to_owned())];
    let options = ClusterOptions { settings, ..ClusterOptions::default() };
    Some(RedisCluster::start(&require_redis(version)?, &options).unwrap())
}

fn whole(cluster: &RedisCluster) -> ConnectOptions {
    ConnectOptions::parse(&cluster.url(), &Environment::default()).unwrap()
}

/// Copies one side into the other and compares the result with the capture, then with the RDB, then server to server.
async fn copied(
    from: &ConnectOptions,
    to: &ConnectOptions,
    choice: &KeyChoice,
    method: CaptureMethod,
) -> (RestoreReport, Comparison) {
    let log = DigestLog::against(to).await.unwrap().without_field_expiries(choice.drop_field_expiries);
    let how = CaptureOptions::by(method);
    let mut capture = Capture::start_with_digests(from, &how, log).await.unwrap();
    let settings = RestoreOptions { choice: choice.clone(), ..RestoreOptions::default() };
    let report = restore(&mut capture, to, &settings, &|_| ()).await.unwrap();
    let settings = CompareOptions { choice: choice.clone(), ..CompareOptions::default() };
    let log = capture.digests().unwrap();
    let found = prove_digests(log, "what was captured", to, &settings, &|_| ()).await.unwrap();
    assert!(found.equal() && found.keys == report.keys, "{found}\n{report}");
    let again = Capture::start(from, &how).await.unwrap();
    let of_rdb = prove(again, to, &settings, &|_| ()).await.unwrap();
    assert!(of_rdb.equal() && of_rdb.equal_keys == report.keys, "{of_rdb}\n{report}");
    let live = compare(from, to, &settings, &|_| ()).await.unwrap();
    assert!(live.equal() && live.equal_keys == report.keys, "{live}\n{report}");
    (report, found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renamed_keys_with_other_expiries_are_proven() {
    let rename = vec![("b".to_owned(), "new:b".to_owned()), ("past".to_owned(), String::new())];
    for (from, to, method, expiries) in [
        ("7.0", "7.0", CaptureMethod::Psync, Expiries::Later(3_600_000)),
        ("8.2", "8.6", CaptureMethod::Scan, Expiries::Drop),
        ("3.2", "3.0", CaptureMethod::Psync, Expiries::Later(1)),
        ("6.2", "valkey-9", CaptureMethod::Psync, Expiries::Drop),
    ] {
        let (Some(source), Some(target)) = (plain(from), plain(to)) else { continue };
        fill(&source, if from == "3.2" { Corners::Oldest } else { Corners::All });
        let choice = KeyChoice { rename: rename.clone(), expiries, ..KeyChoice::default() };
        copied(&options(&source), &options(&target), &choice, method).await;
        let mut client = Client::new(&target);
        assert_eq!(
            (client.ask("EXISTS bits"), client.ask("EXISTS new:bits")),
            ("0".to_owned(), "1".to_owned())
        );
        let left = client.ask("PTTL soon").parse::<i64>().unwrap();
        assert!(if expiries == Expiries::Drop { left == -1 } else { left > 0 }, "{left}");
        // Without the names and expiries it is another key space; with a key more and a value changed, that is found.
        let bare = CompareOptions::default();
        assert!(!compare(&options(&source), &options(&target), &bare, &|_| ()).await.unwrap().equal());
        client.ask("SET new:bits other");
        client.ask("SET new:beside 1");
        client.ask("PERSIST soon");
        client.ask("SET bits 1");
        let settings = CompareOptions { choice, ..CompareOptions::default() };
        let found = compare(&options(&source), &options(&target), &settings, &|_| ()).await.unwrap();
        let mut keys: Vec<&str> = found.differences.iter().map(|one| one.key.as_str()).collect();
        keys.sort_unstable();
        let soon = if expiries == Expiries::Drop { &[][..] } else { &["soon"] };
        assert_eq!(keys, [&["bits", "new:beside", "new:bits"], soon].concat(), "{found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_had_expired_in_the_source_do_not_come_back() {
    // Nothing is deleted by itself, so that the RDB has them still.
    let settings = [("enable-debug-command", "yes"), ("repl-diskless-sync-delay", "0")];
    for (version, target) in [("7.0", "7.0"), ("8.2", "6.2")] {
        let (Some(source), Some(target)) = (with(version, &settings), plain(target)) else { continue };
        let mut client = Client::new(&source);
        client.ask("DEBUG SET-ACTIVE-EXPIRE 0");
        for line in [
            "PSETEX gone 1 x",
            "SETEX later 1000 x",
            "HSET hash a 1 b 2",
            "HSET none a 1",
            "HSET long a 1 b 2",
        ] {
            client.ask(line);
        }
        if field_expiry(&source) {
            for line in [
                "HPEXPIRE hash 1 FIELDS 1 a",
                "HPEXPIRE none 1 FIELDS 1 a",
                "HPEXPIRE long 900000 FIELDS 1 a",
            ] {
                client.ask(line);
            }
        }
        // Past the second in which the RDB says that it was written.
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        let choice =
            KeyChoice { expiries: Expiries::Drop, drop_field_expiries: true, ..KeyChoice::default() };
        let (report, _) = copied(&options(&source), &options(&target), &choice, CaptureMethod::Psync).await;
        let mut client = Client::new(&target);
        let there = |client: &mut Client, key: &str| client.ask(&format!("EXISTS {key}"));
        assert_eq!(
            (there(&mut client, "gone"), there(&mut client, "later")),
            ("0".into(), "1".into()),
            "{report}"
        );
        if field_expiry(&source) {
            assert_eq!((there(&mut client, "none"), client.ask("HGETALL hash")), ("0".into(), "b 2".into()));
            assert_eq!((client.ask("HLEN long"), report.keys), ("2".to_owned(), 3), "{report}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hash_is_downgraded_without_field_expiries_on_request() {
    for (from, to, method) in [
        ("8.2", "6.2", CaptureMethod::Psync),
        ("valkey-9", "7.0", CaptureMethod::Scan),
        ("8.6", "8.2", CaptureMethod::Psync),
    ] {
        let (Some(source), Some(target)) = (plain(from), plain(to)) else { continue };
        fill(&source, Corners::Streams);
        let mut client = Client::new(&source);
        client.ask("HSET mortal f v g w h x");
        client.ask("HPEXPIREAT mortal 9999999999999 FIELDS 2 f g");
        client.ask("HSET other f v");
        client.ask("HPEXPIREAT other 9999999999999 FIELDS 1 f");
        let (rdb, _) = captured(&source).await;
        if !field_expiry(&target) {
            let (_, unsupported) =
                unsupported(stream(&rdb), &options(&target), &RestoreOptions::default()).await.unwrap();
            assert!(unsupported.is_serious(), "{unsupported}");
        }
        let choice = KeyChoice { drop_field_expiries: true, ..KeyChoice::default() };
        let (report, _) = copied(&options(&source), &options(&target), &choice, method).await;
        let text = report.to_string();
        assert!(
            !report.left_out.is_serious()
                && text
                    .contains("2 × a hash whose fields expire: written without their expiries, as requested"),
            "{text}"
        );
        assert!(text.contains("mortal (database 0)"), "{text}");
        let mut client = Client::new(&target);
        assert_eq!((client.ask("HLEN mortal"), client.ask("HGET other f")), ("3".to_owned(), "v".to_owned()));
        if field_expiry(&target) {
            assert_eq!(client.ask("HPTTL other FIELDS 1 f"), "-1");
        }
        // A field that is lost or changed is found still.
        client.ask("HDEL mortal g");
        client.ask("HSET other f w");
        let settings = CompareOptions { choice, ..CompareOptions::default() };
        let found = prove(stream(&rdb), &options(&target), &settings, &|_| ()).await.unwrap();
        assert_eq!(found.different_keys, 2, "{found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_a_slot_follows_the_new_name() {
    for version in ["7.0", "valkey-9"] {
        let (Some(source), Some(cluster), Some(back)) = (plain(version), cluster(version), plain(version))
        else {
            continue;
        };
        let mut client = Client::new(&source);
        for n in 0..300 {
            client.ask(&format!("SET {{old}}:{n} {n} PX 90000000"));
        }
        let choice = |from: &str, to: &str, expiries| KeyChoice {
            rename: vec![(from.to_owned(), to.to_owned())],
            expiries,
            ..KeyChoice::default()
        };
        let spread = choice("{old}:", "new:", Expiries::Drop);
        copied(&options(&source), &whole(&cluster), &spread, CaptureMethod::Psync).await;
        // All were in one slot, and are spread now.
        for node in cluster.nodes() {
            assert!(Client::new(node).ask("DBSIZE").parse::<u64>().unwrap() > 50);
        }
        let gathered = choice("new:", "{old}:", Expiries::Later(1000));
        let (report, _) = copied(&whole(&cluster), &options(&back), &gathered, CaptureMethod::Psync).await;
        assert_eq!(report.keys, 300);
        // One node alone answers for its own slots: the others are named and not compared.
        let node = options(&cluster.nodes()[0]);
        let settings = CompareOptions { choice: spread, ..CompareOptions::default() };
        let found = compare(&options(&source), &node, &settings, &|_| ()).await.unwrap();
        assert!(!found.equal() && found.different_keys == 0 && found.keys > 50, "{found}");
        assert!(found.to_string().contains("(MOVED)"), "{found}");
        let found = compare(&node, &node, &CompareOptions::default(), &|_| ()).await.unwrap();
        assert!(found.equal() && found.unreachable.is_empty(), "{found}");
        let other = options(&cluster.nodes()[1]);
        let found = compare(&node, &other, &CompareOptions::default(), &|_| ()).await.unwrap();
        assert!(!found.equal() && found.keys == 0 && found.unreachable.len() == 2, "{found}");
        let (rdb, _) = captured(&source).await;
        let found = prove(stream(&rdb), &node, &settings, &|_| ()).await.unwrap();
        assert!(!found.equal() && found.different_keys == 0 && found.unreachable.len() == 1, "{found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_keys_with_one_new_name_are_refused_before_anything_is_written() {
    let (Some(source), Some(target)) = (plain("7.0"), plain("7.0")) else { return };
    let mut client = Client::new(&source);
    for line in ["SET old:a 1", "SET new:a 2", "SET old:b 3", "SELECT 1", "SET new:b 4"] {
        client.ask(line);
    }
    let (rdb, _) = captured(&source).await;
    let rename = vec![("old:".to_owned(), "new:".to_owned())];
    let choice = KeyChoice { rename, ..KeyChoice::default() };
    let settings =
        |choice: &KeyChoice| RestoreOptions { choice: choice.clone(), ..RestoreOptions::default() };
    let refused = unsupported(stream(&rdb), &options(&target), &settings(&choice)).await.unwrap_err();
    let text = refused.to_string();
    assert!(
        refused.is_refused() && text.contains("two keys would get the name `new:a` in database 0"),
        "{text}"
    );
    assert!(!text.contains("new:b"), "{text}");
    // Without one of them there is no collision.
    let choice = KeyChoice { exclude: vec!["new:a".into()], ..choice };
    unsupported(stream(&rdb), &options(&target), &settings(&choice)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_selection_that_matches_nothing_is_an_error_everywhere() {
    let (Some(source), Some(target)) = (plain("7.0"), plain("7.0")) else { return };
    let mut client = Client::new(&source);
    for line in ["SET a 1", "SELECT 2", "SET b 1"] {
        client.ask(line);
    }
    let (rdb, _) = captured(&source).await;
    let (from, to) = (options(&source), options(&target));
    let mistakes = [
        (KeyChoice { include: vec!["a*".into(), "A*".into()], ..KeyChoice::default() }, "`A*`"),
        (KeyChoice { databases: [(3, 4)].into(), ..KeyChoice::default() }, "database 3"),
        (KeyChoice { only: [7].into(), ..KeyChoice::default() }, "database 7"),
        (KeyChoice { only: [0].into(), include: vec!["b".into()], ..KeyChoice::default() }, "`b`"),
    ];
    for (choice, named) in mistakes {
        let settings = RestoreOptions { choice: choice.clone(), ..RestoreOptions::default() };
        let told =
            CompareOptions { choice: choice.clone(), only_selected: true, ..CompareOptions::default() };
        let mut errors = vec![
            unsupported(stream(&rdb), &to, &settings).await.unwrap_err(),
            prove(stream(&rdb), &to, &told, &|_| ()).await.unwrap_err(),
            compare(&from, &to, &told, &|_| ()).await.unwrap_err(),
        ];
        if choice.include.is_empty() {
            errors.push(redisdump::refuse_missing_databases(&from, &choice).await.unwrap_err());
        }
        for error in errors {
            assert!(error.is_usage() && error.to_string().contains(named), "{error}");
        }
    }
    // An append-only file.
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("appendonly.aof");
    let aof: Vec<u8> = ["SELECT 0", "SET a 1"].iter().flat_map(|line| resp_of(line)).collect();
    std::fs::write(&path, aof).unwrap();
    for (choice, expected) in [
        (KeyChoice { include: vec!["A*".into()], ..KeyChoice::default() }, "`A*`"),
        (KeyChoice { databases: [(3, 4)].into(), ..KeyChoice::default() }, "database 3"),
        (KeyChoice { rename: vec![("a".into(), "b".into())], ..KeyChoice::default() }, "with other names"),
        (KeyChoice { only: [0].into(), ..KeyChoice::default() }, "some of its databases"),
    ] {
        let settings = RestoreOptions { choice, ..RestoreOptions::default() };
        let error = apply_aof(&path, &to, &settings, None, &|_| ()).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(Client::new(&target).ask("DBSIZE"), "0");
}
