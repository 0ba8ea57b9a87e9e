//! A database left in the mode of an abandoned `timescaledb_pre_restore()`: rows were written and verified as equal,
//! and none was visible afterwards.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "test code")]

use crate::common::{dbhaul, folder, postgres};
use sandbox::testing::{Pglite, require_postgres};
use sandbox::{Postgres, PostgresOptions};

const TABLE: &str = "CREATE TABLE h (ts timestamptz NOT NULL, v int)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_in_restoring_mode_is_neither_filled_nor_read() {
    let (Some(binaries), Some(timescale)) = (require_postgres(15), Pglite::require()) else { return };
    let plain = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    let (from, to, here) = (plain.url("postgres"), timescale.url(), folder());
    let rows = "INSERT INTO h SELECT '2026-01-01'::timestamptz + i * interval '1 hour', i FROM generate_series(0, 500) i";
    postgres(&from).await.batch_execute(&format!("{TABLE}; {rows}")).await.unwrap();
    let client = postgres(&to).await;
    let made = format!(
        "CREATE EXTENSION timescaledb; SET search_path = public; {TABLE}; SELECT create_hypertable('h', 'ts')"
    );
    client.batch_execute(&made).await.unwrap();

    // For sessions to come, as the function leaves it.
    let database: String = client.query_one("SELECT current_database()::text", &[]).await.unwrap().get(0);
    let alter = |how: &str| format!("ALTER DATABASE {database} {how}");
    client.batch_execute(&alter("SET timescaledb.restoring = 'on'")).await.unwrap();
    let migrate = ["migrate", "--from", &from, "--to", &to, "--jobs", "1", "--into-existing"];
    dbhaul(here.path(), &migrate)
        .exits(5)
        .says("timescaledb.restoring is on in database")
        .says("timescaledb_post_restore()")
        .says("nothing was written");
    let held = client.query_one("SELECT count(*) FROM public.h", &[]).await.unwrap();
    assert_eq!(held.get::<_, i64>(0), 0);
    client.batch_execute(&alter("RESET timescaledb.restoring")).await.unwrap();
    dbhaul(here.path(), &migrate).exits(0).shows("1 of 1 tables equal, 501 rows");

    // In that mode a hypertable looks empty, and a backup of it would be one of nothing.
    client.batch_execute("SET timescaledb.restoring = on").await.unwrap();
    dbhaul(here.path(), &["init", "--repository", "r"]).exits(0);
    let backup = ["backup", "--repository", "r", "--postgres", &to, "--jobs", "1"];
    dbhaul(here.path(), &backup).exits(5).says("cannot be read").says("timescaledb.restoring is on");
    // All connections share one session here: what a connection leaves behind when it ends is still there.
    client.batch_execute("ROLLBACK; RESET timescaledb.restoring").await.unwrap();
    dbhaul(here.path(), &backup).exits(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_restoring_mode_is_not_copied_to_a_created_database() {
    let Some(binaries) = require_postgres(15) else { return };
    let server = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    let here = folder();
    let client = postgres(&server.url("postgres")).await;
    for sql in [
        "CREATE DATABASE app",
        "ALTER DATABASE app SET timescaledb.restoring = 'on'",
        "ALTER DATABASE app SET work_mem = '7MB'",
    ] {
        client.batch_execute(sql).await.unwrap();
    }
    let (from, to) = (server.url("app"), server.url("copy"));
    dbhaul(here.path(), &["migrate", "--from", &from, "--to", &to, "--create"]).exits(0);
    let settings = "SELECT array_to_string(setconfig, ',') FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase \
                    WHERE d.datname = 'copy'";
    assert_eq!(client.query_one(settings, &[]).await.unwrap().get::<_, String>(0), "work_mem=7MB");
}
