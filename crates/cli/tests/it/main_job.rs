//! The main job from end to end, without a configuration file: backup, restore, compare, migrate, against real servers.
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common;
use crate::common::{Run, dbhaul, folder, postgres, redis};
use sandbox::testing::{require_postgres, require_redis};
use sandbox::{Postgres, PostgresOptions, Redis};

/// A source with the sample application in it, and an empty target, for each kind.
struct Stage {
    pg_source: Postgres,
    pg_target: Postgres,
    redis_source: Redis,
    redis_target: Redis,
}

impl Stage {
    async fn start(major: u32, redis_version: &str) -> Option<Stage> {
        let pg = require_postgres(major)?;
        let rd = require_redis(redis_version)?;
        let stage = Stage {
            pg_source: Postgres::start(&pg, PostgresOptions::default()).unwrap(),
            pg_target: Postgres::start(&pg, PostgresOptions::default()).unwrap(),
            redis_source: Redis::start(&rd, common::quick_redis()).unwrap(),
            redis_target: Redis::start(&rd, common::quick_redis()).unwrap(),
        };
        common::load_sample(&stage.pg_source.url("postgres"), &stage.redis_source.url()).await;
        Some(stage)
    }

    fn urls(&self) -> [String; 4] {
        [
            self.pg_source.url("postgres"),
            self.redis_source.url(),
            self.pg_target.url("postgres"),
            self.redis_target.url(),
        ]
    }
}

async fn whole_story(major: u32, redis_version: &str) {
    let Some(stage) = Stage::start(major, redis_version).await else { return };
    let [pg, rd, pg_to, rd_to] = stage.urls();
    let here = folder();
    let run = |args: &[&str]| -> Run { dbhaul(here.path(), args) };

    run(&["init", "--repository", "store"]).exits(0);
    std::fs::remove_file(here.path().join("dbhaul.toml")).unwrap();
    let store = ["--repository", "store"];
    let with = |args: &[&'static str], more: &[&str]| -> Run {
        let all: Vec<&str> = args.iter().copied().chain(store).chain(more.iter().copied()).collect();
        dbhaul(here.path(), &all)
    };

    // Backup; a second one of unchanged data stores almost nothing.
    let first = with(&["backup", "--json"], &["--postgres", &pg, "--redis", &rd]).exits(0).json();
    assert_eq!(first["complete"], true);
    let second = with(&["backup", "--json"], &["--postgres", &pg]).exits(0).json();
    let (plain, new) = (second["stats"]["plain-bytes"].as_u64(), second["stats"]["new-plain-bytes"].as_u64());
    assert!(new.unwrap() * 20 < plain.unwrap(), "unchanged data was stored again: {new:?} of {plain:?}");
    let listed = with(&["snapshots", "--json"], &[]).exits(0).json();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 2);
    with(&["check", "--read-data"], &[]).exits(0);

    // The sources, their positions, and the times of reading are recorded.
    let manifest = here.path().join(format!("store/snapshots/{}.json", first["snapshot"].as_str().unwrap()));
    let manifest = std::fs::read_to_string(manifest).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(manifest.lines().next().unwrap()).unwrap();
    for source in manifest["sources"].as_array().unwrap() {
        let at = |name: &str| source["details"][name].as_str().unwrap().to_owned();
        assert!(at("started-at") <= at("finished-at"), "{source}");
    }
    let state = &manifest["sources"][0]["details"]["state"];
    assert!(state["wal-position"].as_str().unwrap().contains('/'), "{state}");
    assert!(state["settings"]["server_encoding"].is_string(), "{state}");

    // Restore the first into empty servers: proven equal, and the same again by an independent comparison.
    let id = first["snapshot"].as_str().unwrap();
    let restored =
        with(&["restore", "--json"], &[id, "--postgres", &pg_to, "--redis", &rd_to]).exits(0).json();
    let tables = restored["targets"][0]["tables"].as_array().unwrap();
    assert!(tables.len() >= 10 && tables.iter().all(|table| table["equal"] == true), "{tables:?}");
    run(&["compare", &pg, &pg_to]).exits(0);
    run(&["compare", &rd, &rd_to]).exits(0);

    // A target that is not empty is refused, and is left as it was.
    with(&["restore"], &[id, "--postgres", &pg_to]).exits(5);
    with(&["restore"], &[id, "--redis", &rd_to]).exits(5);
    run(&["compare", &pg, &pg_to]).exits(0);

    // One changed row, one changed time to live: each is found and named.
    let client = postgres(&pg_to).await;
    let changed = client
        .execute(
            "UPDATE market_data SET volume = volume + 1 WHERE ctid = (SELECT min(ctid) FROM market_data)",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(changed, 1);
    run(&["compare", &pg, &pg_to]).exits(3).shows("market_data");
    let mut keys = redis(&rd_to).await;
    let _: () = ::redis::cmd("PEXPIRE")
        .arg("market:regime:KRW-BTC")
        .arg(5_000_000)
        .query_async(&mut keys)
        .await
        .unwrap();
    run(&["compare", &rd, &rd_to]).exits(3).shows("market:regime:KRW-BTC");

    // A migration into a fresh database and a fresh server.
    client.batch_execute("CREATE DATABASE moved").await.unwrap();
    let moved = stage.pg_target.url("moved");
    run(&["migrate", "--from", &pg, "--to", &moved]).exits(0).shows("equal");
    run(&["compare", &pg, &moved]).exits(0);
    let _: () = ::redis::cmd("FLUSHALL").query_async(&mut keys).await.unwrap();
    let _: () = ::redis::cmd("FUNCTION").arg("FLUSH").query_async(&mut keys).await.unwrap_or(());
    run(&["migrate", "--from", &rd, "--to", &rd_to]).exits(0);
    run(&["compare", &rd, &rd_to]).exits(0);
    // Onto itself: refused.
    run(&["migrate", "--from", &pg, "--to", &pg]).exits(5);
    run(&["migrate", "--from", &rd, "--to", &rd]).exits(5);
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_15_and_redis_7_0() {
    whole_story(15, "7.0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_18_and_redis_8_2() {
    whole_story(18, "8.2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_18_and_valkey_9() {
    whole_story(18, "valkey-9").await;
}
