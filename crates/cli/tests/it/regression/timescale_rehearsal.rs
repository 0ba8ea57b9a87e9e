//! Rehearsals of databases with an extension that the host lacks, and with one that must be preloaded.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "test code")]

use crate::common::{Run, command, dbhaul, folder, postgres, quick_redis};
use sandbox::testing::{Pglite, require_redis, require_timescale};
use sandbox::{Postgres, PostgresOptions, Redis};

const TABLE: &str = "CREATE TABLE h (ts timestamptz NOT NULL, v int);
    SELECT create_hypertable('h', 'ts');
    INSERT INTO h SELECT '2026-01-01'::timestamptz + i * interval '1 hour', i FROM generate_series(0, 500) i;";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_without_the_extension_leaves_a_rehearsal_incomplete() {
    let (Some(timescale), Some(binaries)) = (Pglite::require(), require_redis("7.0")) else { return };
    let keys = Redis::start(&binaries, quick_redis()).unwrap();
    let here = folder();
    let client = postgres(&timescale.url()).await;
    client
        .batch_execute(&format!("CREATE EXTENSION timescaledb; SET search_path = public; {TABLE}"))
        .await
        .unwrap();
    dbhaul(here.path(), &["init", "--repository", "r"]).exits(0);
    let (url, redis) = (timescale.url(), keys.url());
    let both = ["backup", "--repository", "r", "--postgres", &url, "--redis", &redis, "--jobs", "1"];
    dbhaul(here.path(), &both).exits(0);
    // The other source is still rehearsed.
    dbhaul(here.path(), &["rehearse", "latest", "--repository", "r"])
        .exits(4)
        .shows("postgres: not rehearsed: this host has no PostgreSQL 17 or newer with every extension")
        .shows("lacks extension timescaledb")
        .shows("redis -> ")
        .shows("rehearsal INCOMPLETE: 1 of 2 sources");
    let listed = dbhaul(here.path(), &["snapshots", "--repository", "r"]).exits(0);
    let listed = listed.shows("rehearsal incomplete");
    assert!(!listed.stdout.contains("FAILED"), "{}", listed.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run by scripts/test --all, where two native builds of TimescaleDB are named"]
async fn a_rehearsal_passes_on_a_host_that_has_the_extension() {
    for binaries in require_timescale() {
        let settings = [("shared_preload_libraries", "timescaledb"), ("timescaledb.telemetry_level", "off")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let options = PostgresOptions { settings: settings.to_vec(), ..PostgresOptions::default() };
        let server = Postgres::start(&binaries, options).unwrap();
        let (url, here) = (server.url("postgres"), folder());
        let client = postgres(&url).await;
        for sql in
            ["CREATE EXTENSION timescaledb", TABLE, "SELECT add_retention_policy('h', interval '20 years')"]
        {
            client.batch_execute(sql).await.unwrap();
        }
        dbhaul(here.path(), &["init", "--repository", "r"]).exits(0);
        let taken =
            dbhaul(here.path(), &["backup", "--repository", "r", "--postgres", &url, "--json"]).exits(0);
        let id = taken.json()["snapshot"].as_str().unwrap().to_owned();
        let path = format!("{}:{}", binaries.bin().display(), std::env::var("PATH").unwrap());
        let mut rehearse = command(here.path(), &["rehearse", &id, "--repository", "r"]);
        let output = rehearse.env("PATH", path).output().unwrap();
        Run::of(output).exits(0).shows("1 of 1 tables equal, 501 rows").shows("schema equal");
        dbhaul(here.path(), &["snapshots", "--repository", "r"]).exits(0).shows("rehearsal passed");
    }
}
