//! `migrate` with excluded tables, or with a table that the target rejects: the rest is copied and verified, as in
//! `restore`.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "test code")]

use crate::common::{dbhaul, folder, postgres};
use sandbox::testing::{Pglite, require_postgres};
use sandbox::{Postgres, PostgresOptions};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_continues_after_a_rejected_table_and_verifies_the_rest() {
    let Some(binaries) = require_postgres(15) else { return };
    let server = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    let (from, to, here) = (server.url("source"), server.url("target"), folder());
    let client = postgres(&server.url("postgres")).await;
    for sql in ["CREATE DATABASE source", "CREATE DATABASE target"] {
        client.batch_execute(sql).await.unwrap();
    }
    // One is refused when all its rows were sent, one in the middle of them.
    let tables = "CREATE TABLE good (id int PRIMARY KEY, t text); CREATE TABLE bad (id int PRIMARY KEY, v int); \
                  CREATE TABLE cut (id int, t text);";
    let rows = "INSERT INTO good SELECT i, 't' || i FROM generate_series(1, 300) i; \
                INSERT INTO bad SELECT i, i FROM generate_series(1, 200) i; \
                INSERT INTO cut SELECT i, repeat('x', 500) FROM generate_series(1, 100000) i;";
    postgres(&from).await.batch_execute(&format!("{tables}{rows}")).await.unwrap();
    let target = postgres(&to).await;
    let checks = "ALTER TABLE bad ADD CHECK (v < 100); ALTER TABLE cut ADD CHECK (id <> 1);";
    target.batch_execute(&format!("{tables}{checks}")).await.unwrap();
    let migrate = ["migrate", "--from", &from, "--to", &to, "--into-existing", "--on-error", "continue"];
    dbhaul(here.path(), &migrate)
        .exits(4)
        .shows("REFUSED: table public.bad")
        .shows("bad_v_check")
        .shows("REFUSED: table public.cut")
        .shows("cut_id_check")
        .shows("300 rows");
    let held =
        "SELECT (SELECT count(*) FROM good) * 10 + (SELECT count(*) FROM bad) + (SELECT count(*) FROM cut)";
    assert_eq!(target.query_one(held, &[]).await.unwrap().get::<_, i64>(0), 3000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aggregate_that_the_target_lacks_is_named_and_the_tables_are_proven() {
    let (Some(binaries), Some(timescale)) = (require_postgres(15), Pglite::require()) else { return };
    let plain = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    let (from, to, here) = (timescale.url(), plain.url("postgres"), folder());
    let client = postgres(&from).await;
    let table = "CREATE TABLE h (ts timestamptz NOT NULL, v int)";
    for sql in [
        "CREATE EXTENSION timescaledb",
        "SET search_path = public",
        table,
        "SELECT create_hypertable('h', 'ts')",
        "INSERT INTO h SELECT '2026-01-01'::timestamptz + i * interval '1 hour', i FROM generate_series(0, 500) i",
        "CREATE MATERIALIZED VIEW c WITH (timescaledb.continuous) AS SELECT time_bucket('1 day', ts) b, sum(v) s FROM h GROUP BY 1 WITH NO DATA",
        "CALL refresh_continuous_aggregate('c', NULL, '2026-01-10')",
    ] {
        client.batch_execute(sql).await.unwrap();
    }
    postgres(&to).await.batch_execute(table).await.unwrap();
    dbhaul(here.path(), &["migrate", "--from", &from, "--to", &to, "--jobs", "1", "--into-existing"])
        .exits(0)
        .says("continuous aggregate public.c does not exist at the target")
        .shows("1 of 1 tables equal, 501 rows");
}
