//! A table that several connections load, of which one fails when the other has committed its rows (issue 16, bad
//! input).
#![allow(clippy::unwrap_used, reason = "test code")]

use sandbox::testing::require_postgres;
use sandbox::{Postgres, PostgresOptions};

use crate::common::{dbhaul, folder, postgres, target_name};

/// The last row waits until the other connection has committed, and is refused then, while the target says so. The function
/// is seen to read no table, so that the check is there before the rows.
const TABLE: &str = "
    CREATE FUNCTION accepted(n int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS $$
    BEGIN
        IF n = 60000 AND current_setting('app.refuses', true) = 'yes' THEN
            RETURN pg_catalog.pg_sleep(3)::text IS NULL;
        END IF;
        RETURN true;
    END $$;
    CREATE TABLE big (n int PRIMARY KEY, body text, CHECK (accepted(n)));
    CREATE TABLE small (n int REFERENCES big);
    INSERT INTO big SELECT n, repeat(md5(n::text), 12) FROM generate_series(1, 60000) n;
    INSERT INTO small SELECT n FROM generate_series(1, 100) n;
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_fails_late_leaves_rows_that_are_loaded_again() {
    let Some(binaries) = require_postgres(15) else { return };
    let server = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    let admin = postgres(&server.url("postgres")).await;
    for sql in
        ["CREATE DATABASE source", "CREATE DATABASE target", "ALTER DATABASE target SET app.refuses = 'yes'"]
    {
        admin.batch_execute(sql).await.unwrap();
    }
    let (from, to, here) = (server.url("source"), server.url("target"), folder());
    postgres(&from).await.batch_execute(TABLE).await.unwrap();
    let job = ["migrate", "--from", &from, "--to", &to, "--jobs", "2"];
    let said = dbhaul(here.path(), &job).exits(1);
    for words in
        ["table public.big", "violates check constraint", "SQLSTATE 23514", "is incomplete", "--resume"]
    {
        assert!(said.stderr.contains(words), "{words}: {}", said.stderr);
    }
    let rows = "SELECT count(*) FROM big";
    let count = async || postgres(&to).await.query_one(rows, &[]).await.unwrap().get::<_, i64>(0);
    let left = count().await;
    assert!(0 < left && left < 60_000, "{left} rows of one connection are there");

    admin.batch_execute("ALTER DATABASE target RESET app.refuses").await.unwrap();
    let name = target_name(&to);
    let resume = [&job[..], &["--resume", "--replace", &name]].concat();
    dbhaul(here.path(), &resume).exits(0).shows("emptied and loaded again: public.big");
    assert_eq!(count().await, 60_000);
    dbhaul(here.path(), &["compare", &from, &to]).exits(0);
}
