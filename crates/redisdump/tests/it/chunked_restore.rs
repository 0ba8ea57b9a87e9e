//! Values that are restored by commands: because they are long, or large, or because the server accepts no payloads;
//! with existing keys, and with unsupported values.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, reason = "test code")]

use std::time::{Duration, Instant};

use crate::support::{Client, Corners, captured, fill, options, start, stream, words};
use redisdump::{
    CompareOptions, Error, KeyChoice, OnExisting, RestoreOptions, compare, restore, takes_all_of, unsupported,
};
use sandbox::testing::require_redis;
use sandbox::{Redis, RedisOptions};

fn server(version: &str, settings: &[(&str, &str)]) -> Option<Redis> {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Some(start(&require_redis(version)?, RedisOptions { settings, ..RedisOptions::default() }))
}

async fn assert_equal(left: &Redis, right: &Redis) {
    let found = compare(&options(left), &options(right), &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(found.equal(), "{found}");
}

/// Lists, hashes and strings that no argument of a target with `proto-max-bulk-len 1mb` can hold.
fn fill_long(server: &Redis) {
    let mut client = Client::new(server);
    let item = "x".repeat(100_000);
    for n in 0..30 {
        client.send(&words(&format!("RPUSH list {n}{item}"))).unwrap();
        client.send(&words(&format!("HSET hash f{n} {item}"))).unwrap();
        client.send(&words(&format!("RPUSH other {n}{item}"))).unwrap();
    }
    client.ask("PEXPIREAT hash 4102444800123");
    client.ask("SET short x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn existing_values_are_not_mixed_with_chunked_ones() {
    let long = [("proto-max-bulk-len", "1mb")];
    let (Some(source), Some(target)) = (server("7.0", &[]), server("7.0", &long)) else { return };
    fill_long(&source);
    let (rdb, _) = captured(&source).await;
    let mut client = Client::new(&target);
    client.ask("RPUSH list mine");
    client.ask("SET other mine");
    let run = async |on_existing| {
        let settings = RestoreOptions { on_existing, ..RestoreOptions::default() };
        restore(stream(&rdb), &options(&target), &settings, &|_| ()).await
    };
    let report = run(OnExisting::Skip).await.unwrap();
    assert_eq!((report.keys, report.skipped), (2, 2), "{report}");
    let seen =
        ["LRANGE list 0 -1", "GET other", "HLEN hash", "PEXPIRETIME hash", "DBSIZE"].map(|q| client.ask(q));
    assert_eq!(seen, ["mine", "mine", "30", "4102444800123", "4"]);
    // And once more, when all of it is there.
    let report = run(OnExisting::Skip).await.unwrap();
    assert_eq!((report.keys, report.skipped), (0, 4), "{report}");
    assert_eq!(client.ask("DBSIZE"), "4", "nothing is left under another name");

    assert!(run(OnExisting::Refuse).await.unwrap_err().is_refused());
    let report = run(OnExisting::Replace).await.unwrap();
    assert_eq!((report.keys, report.skipped), (4, 0), "{report}");
    assert_equal(&source, &target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_an_old_target_holds_keep_their_expiry() {
    let (Some(source), Some(target)) = (server("7.0", &[]), server("3.2", &[])) else { return };
    let mut from = Client::new(&source);
    for line in ["SET a new", "SET b new", "PEXPIREAT a 4102444800123", "PEXPIREAT b 4102444800123"] {
        from.ask(line);
    }
    Client::new(&target).ask("SET a old");
    let (rdb, _) = captured(&source).await;
    let skip = RestoreOptions { on_existing: OnExisting::Skip, ..RestoreOptions::default() };
    let report = restore(stream(&rdb), &options(&target), &skip, &|_| ()).await.unwrap();
    assert_eq!((report.keys, report.skipped), (1, 1), "{report}");
    let mut to = Client::new(&target);
    assert_eq!(
        [to.ask("GET a"), to.ask("TTL a"), to.ask("GET b"), to.ask("DBSIZE")],
        ["old", "-1", "new", "2"]
    );
    let script = "EVAL return(redis.call('TIME')[1]*1000+redis.call('PTTL','b')-4102444800123) 0";
    let off: i64 = to.ask(script).parse().unwrap();
    assert!((-1000..=0).contains(&off), "TIME was cut to a second: {off}");
}

/// Larger than the memory limit, with the same values.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn giants_pass_in_pieces_and_stay_what_they_are() {
    let plain = [("rdbcompression", "no")];
    let (Some(source), Some(target)) = (server("7.0", &plain), server("7.0", &[])) else { return };
    let mut from = Client::new(&source);
    from.ask("SETRANGE text 20000000 end");
    let value = "v".repeat(200);
    for n in 0..200 {
        let members: String = (0..250).map(|m| format!(" {n}:{m}:{value}")).collect();
        from.send(&words(&format!("SADD set{members}"))).unwrap();
        from.send(&words(&format!("RPUSH list{members}"))).unwrap();
        let fields: String = (0..250).map(|m| format!(" {n}:{m} {value}")).collect();
        from.send(&words(&format!("HSET hash{fields}"))).unwrap();
        let scores: String = (0..250).map(|m| format!(" {n}.{m} {n}:{m}:{value}")).collect();
        from.send(&words(&format!("ZADD zset{scores}"))).unwrap();
        for m in 0..50 {
            from.send(&words(&format!("XADD stream {}-{m} field {}", n + 1, value.repeat(5)))).unwrap();
        }
    }
    from.ask("XGROUP CREATE stream group 100-3");
    from.ask("XREADGROUP GROUP group consumer COUNT 3 STREAMS stream >");
    from.ask("PEXPIREAT set 4102444800123");
    from.ask("SELECT 3");
    from.ask("SET small x");
    let (rdb, _) = captured(&source).await;
    let report = restore(stream(&rdb), &options(&target), &RestoreOptions::default(), &|_| ()).await.unwrap();
    assert_eq!(report.keys, 7, "{report}");
    assert_equal(&source, &target).await;
    let mut to = Client::new(&target);
    assert_eq!(to.ask("PEXPIRETIME set"), "4102444800123");
    // They came in pieces, and not as payloads.
    let calls = to.ask("INFO commandstats");
    let of = |name: &str| calls.lines().any(|line| line.starts_with(&format!("cmdstat_{name}:")));
    assert!(of("rpush") && of("hset") && of("xadd") && of("set"), "{calls}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_accepts_no_payload_gets_commands() {
    let Some(source) = server("7.0", &[]) else { return };
    fill(&source, Corners::All);
    let (rdb, _) = captured(&source).await;
    for settings in
        [[("rename-command", "RESTORE \"\"")], [("user", "default on nopass ~* &* +@all -restore")]]
    {
        let Some(target) = server("7.0", &settings) else { return };
        let (_, unsupported) =
            unsupported(stream(&rdb), &options(&target), &RestoreOptions::default()).await.unwrap();
        assert!(!unsupported.is_serious(), "{unsupported}");
        let report =
            restore(stream(&rdb), &options(&target), &RestoreOptions::default(), &|_| ()).await.unwrap();
        assert!(
            report.by_commands.is_some() && report.to_string().contains("does not accept RESTORE"),
            "{report}"
        );
        assert_equal(&source, &target).await;
        assert!(!takes_all_of(&options(&target), &options(&source)).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_are_probed_for_supported_payloads() {
    for (from, to, all) in
        [("7.0", "8.2", true), ("8.2", "7.0", false), ("7.0", "valkey-9", true), ("valkey-9", "8.2", false)]
    {
        let (Some(source), Some(target)) = (server(from, &[]), server(to, &[])) else { continue };
        let takes = takes_all_of(&options(&target), &options(&source)).await.unwrap();
        assert_eq!(takes, all, "{from} -> {to}");
        assert_eq!(Client::new(&target).ask("DBSIZE"), "0", "asking writes nothing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_must_be_there_and_are_not_mixed() {
    let (Some(source), Some(target)) = (server("7.0", &[]), server("7.0", &[("databases", "4")])) else {
        return;
    };
    let mut from = Client::new(&source);
    for line in ["SET a 0", "SELECT 9", "SET a 9"] {
        from.ask(line);
    }
    let (rdb, _) = captured(&source).await;
    let into = |to: Option<u64>| RestoreOptions {
        choice: KeyChoice { databases: to.map(|to| (9, to)).into_iter().collect(), ..KeyChoice::default() },
        ..RestoreOptions::default()
    };
    for (to, words) in [(None, "the server has 4"), (Some(0), "would both go to database 0")] {
        let error = unsupported(stream(&rdb), &options(&target), &into(to)).await.unwrap_err();
        assert!(error.is_refused() && error.to_string().contains(words), "{error}");
        let error = restore(stream(&rdb), &options(&target), &into(to), &|_| ()).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        Client::new(&target).ask("FLUSHALL");
    }
    let report = restore(stream(&rdb), &options(&target), &into(Some(3)), &|_| ()).await.unwrap();
    assert_eq!(report.keys, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_selected_keys_count_toward_the_limit() {
    let (Some(source), Some(target)) = (server("8.2", &[]), server("7.0", &[])) else { return };
    let mut from = Client::new(&source);
    for line in ["HSET mortal f v", "HPEXPIREAT mortal 9999999999999 FIELDS 1 f", "SET bot:1 x"] {
        from.ask(line);
    }
    let (rdb, _) = captured(&source).await;
    let all = unsupported(stream(&rdb), &options(&target), &RestoreOptions::default()).await.unwrap().1;
    assert!(all.is_serious(), "{all}");
    let choice = KeyChoice { include: vec!["bot:*".to_owned()], ..KeyChoice::default() };
    let some = RestoreOptions { choice, ..RestoreOptions::default() };
    assert!(unsupported(stream(&rdb), &options(&target), &some).await.unwrap().1.is_empty());
    assert_eq!(restore(stream(&rdb), &options(&target), &some, &|_| ()).await.unwrap().keys, 1);
}

/// Vector sets are values of a module that 8.x brings and older servers lack.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_modules_need_the_module_and_can_be_left_out() {
    let (Some(source), Some(old)) = (server("8.2", &[]), server("7.0", &[])) else { return };
    let mut from = Client::new(&source);
    if from.send(&words("VADD vectors VALUES 2 1 2 a")).is_err() {
        eprintln!("SKIPPED: this build of 8.2 has no vector sets");
        return;
    }
    from.ask("SET plain x");
    let (rdb, _) = captured(&source).await;
    let found = unsupported(stream(&rdb), &options(&old), &RestoreOptions::default()).await.unwrap().1;
    assert!(found.is_serious() && found.to_string().contains("vectorset"), "{found}");
    assert!(!takes_all_of(&options(&old), &options(&source)).await.unwrap());
    let skip = RestoreOptions { skip_unsupported: true, ..RestoreOptions::default() };
    let report = restore(stream(&rdb), &options(&old), &skip, &|_| ()).await.unwrap();
    assert_eq!((report.keys, report.left_out.kinds.len()), (1, 1), "{report}");

    let Some(same) = server("8.2", &[]) else { return };
    assert!(takes_all_of(&options(&same), &options(&source)).await.unwrap());
    assert!(
        unsupported(stream(&rdb), &options(&same), &RestoreOptions::default()).await.unwrap().1.is_empty()
    );
    restore(stream(&rdb), &options(&same), &RestoreOptions::default(), &|_| ()).await.unwrap();
    assert_equal(&source, &same).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_is_held_from_the_first_key_on() {
    let (Some(source), Some(target)) = (server("7.0", &[]), server("7.0", &[])) else { return };
    let mut from = Client::new(&source);
    for n in 0..300 {
        from.ask(&format!("SET key:{n} {n}"));
    }
    let (rdb, _) = captured(&source).await;
    let slow = RestoreOptions { rate: Some(150), ..RestoreOptions::default() };
    let began = Instant::now();
    restore(stream(&rdb), &options(&target), &slow, &|_| ()).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(1800), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exceeding_a_limit_midway_reports_what_was_sent() {
    let (Some(source), Some(target)) = (server("8.2", &[]), server("7.0", &[])) else { return };
    let mut from = Client::new(&source);
    from.ask("HSET mortal f v");
    from.ask("HPEXPIREAT mortal 9999999999999 FIELDS 1 f");
    let (rdb, _) = captured(&source).await;
    let refused = restore(stream(&rdb), &options(&target), &RestoreOptions::default(), &|_| ()).await;
    assert!(matches!(refused, Err(Error::Unsupported { .. })), "{refused:?}");
    for n in 0..20 {
        from.ask(&format!("SET key:{n} {n}"));
    }
    let (rdb, _) = captured(&source).await;
    let refused = restore(stream(&rdb), &options(&target), &RestoreOptions::default(), &|_| ()).await;
    let words = refused.unwrap_err().to_string();
    assert!(words.contains("mortal"), "{words}");
}
