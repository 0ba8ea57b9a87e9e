//! Every server to every other: captured, restored, compared key by key in both directions.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, reason = "test code")]

use crate::support::{Corners, at_least, captured, field_expiry, fill, options, start, stream};
use redisdump::{CompareOptions, RestoreOptions, compare, prove, restore, unsupported};
use sandbox::testing::require_redis;
use sandbox::{Redis, RedisBinaries, RedisOptions};

const SERVERS: [&str; 9] = ["3.0", "3.2", "5.0", "6.2", "7.0", "8.2", "8.6", "valkey-8.1", "valkey-9"];

/// All that both know.
fn corners(source: &Redis, target: &Redis) -> (Corners, &'static str) {
    if field_expiry(source) && field_expiry(target) {
        (Corners::All, "all")
    } else if at_least(source, 7, 0) && at_least(target, 7, 0) {
        (Corners::Functions, "functions")
    } else if at_least(source, 5, 0) && at_least(target, 5, 0) {
        (Corners::Streams, "streams")
    } else {
        (Corners::Oldest, "oldest")
    }
}

async fn pair(from: &RedisBinaries, to: &RedisBinaries) -> String {
    let (source, target) = (start(from, RedisOptions::default()), start(to, RedisOptions::default()));
    let (corners, said) = corners(&source, &target);
    fill(&source, corners);
    let (rdb, _) = captured(&source).await;
    let (_, unsupported) =
        unsupported(stream(&rdb), &options(&target), &RestoreOptions::default()).await.unwrap();
    assert!(!unsupported.is_serious(), "{unsupported}");
    let report = restore(stream(&rdb), &options(&target), &RestoreOptions::default(), &|_| ()).await.unwrap();
    let proof = prove(stream(&rdb), &options(&target), &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(proof.equal(), "{} -> {}: {proof}", source.version(), target.version());
    let found =
        compare(&options(&source), &options(&target), &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(found.equal(), "{} -> {}: {found}", source.version(), target.version());
    for one in [&proof, &found] {
        assert!(one.expiry_exact, "{} -> {}: {one}", source.version(), target.version());
        if corners >= Corners::Functions {
            assert!(one.functions_equal == Some(true) && report.functions == 1 && one.counters_compared);
        }
    }
    assert!(report.keys > 20, "{report}");
    said.to_owned()
}

/// The table of docs/compatibility.md is what this run gives: `all`, `functions`, `streams` or `oldest` says how much of
/// the data set both servers know, and arrived equal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run by scripts/test --all"]
async fn every_pair_of_servers() {
    let mut servers = Vec::new();
    for name in SERVERS {
        servers.extend(require_redis(name).map(|binaries| (name, binaries)));
    }
    let mut table = format!("| from \\ to | {} |\n|---|", SERVERS.join(" | "));
    table.push_str(&"---|".repeat(SERVERS.len()));
    for (from_name, from) in &servers {
        table.push_str(&format!("\n| {from_name} |"));
        for (_, to) in &servers {
            table.push_str(&format!(" {} |", pair(from, to).await));
        }
    }
    eprintln!("{table}");
    if servers.len() == SERVERS.len() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/compatibility.md");
        let page = std::fs::read_to_string(page).unwrap();
        assert!(page.contains(&table), "docs/compatibility.md has another table than this run gave");
    }
}
