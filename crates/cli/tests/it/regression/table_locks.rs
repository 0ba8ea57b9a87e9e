//! Tables locked by other sessions: the holder is reported in time, and no session queues behind a waiting command.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "test code")]

use std::time::{Duration, Instant};

use crate::common::{command, dbhaul, folder, postgres};
use sandbox::testing::require_postgres;
use sandbox::{Postgres, PostgresOptions};

async fn server() -> Option<Postgres> {
    let binaries = require_postgres(15)?;
    let settings = vec![("max_prepared_transactions".to_owned(), "5".to_owned())];
    let server =
        Postgres::start(&binaries, PostgresOptions { settings, ..PostgresOptions::default() }).unwrap();
    let tables = "CREATE TABLE first (id int); CREATE TABLE held (id int); CREATE TABLE last (id int)";
    postgres(&server.url("postgres")).await.batch_execute(tables).await.unwrap();
    Some(server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepared_transaction_that_holds_a_table_is_named_in_time() {
    let Some(server) = server().await else { return };
    let (url, here) = (server.url("postgres"), folder());
    let client = postgres(&url).await;
    for sql in ["BEGIN; ALTER TABLE held ADD COLUMN t text", "PREPARE TRANSACTION 'forgotten'"] {
        client.batch_execute(sql).await.unwrap();
    }
    dbhaul(here.path(), &["init", "--repository", "r"]).exits(0);
    let begun = Instant::now();
    dbhaul(here.path(), &["backup", "--repository", "r", "--postgres", &url, "--lock-wait", "2"])
        .exits(1)
        .says("lock on table public.held was not available within 2 s")
        .says("held by prepared transaction 'forgotten'")
        .says("role postgres");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    client.batch_execute("ROLLBACK PREPARED 'forgotten'").await.unwrap();
    dbhaul(here.path(), &["backup", "--repository", "r", "--postgres", &url]).exits(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_waits_for_one_table_holds_no_other() {
    let Some(server) = server().await else { return };
    let (url, here) = (server.url("postgres"), folder());
    let holder = postgres(&url).await;
    holder.batch_execute("BEGIN; LOCK TABLE held IN ACCESS EXCLUSIVE MODE").await.unwrap();
    dbhaul(here.path(), &["init", "--repository", "r"]).exits(0);
    let backup = ["backup", "--repository", "r", "--postgres", &url, "--lock-wait", "60"];
    let mut waiting = command(here.path(), &backup).spawn().unwrap();
    let other = postgres(&url).await;
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'held'::regclass";
    let begun = Instant::now();
    // Long enough that the first, short attempt at all tables is over.
    tokio::time::sleep(Duration::from_secs(2)).await;
    while other.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "the backup does not wait for the table");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // A session that alters another table does not wait, so no session waits behind it.
    other
        .batch_execute(
            "SET lock_timeout = '1s'; ALTER TABLE first ADD COLUMN a int; ALTER TABLE last ADD COLUMN a int",
        )
        .await
        .unwrap();
    holder.batch_execute("COMMIT").await.unwrap();
    assert!(waiting.wait().unwrap().success());
}
