//! A view that replaces a table or a sequence never runs code with the privileges of the reader (CVE-2024-7348 in
//! pg_dump).

use crate::common;
use common::{database, run, server, session, value};
use pgmove::{Error, Filter, Source, SourceOptions, TableName, catalog};
use sandbox::Postgres;
use std::time::Duration;

/// Raises an error if it runs.
const EVIL: &str = "CREATE FUNCTION evil() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil ran'; END $$; \
    CREATE SEQUENCE s START 42; CREATE SEQUENCE t_id; CREATE TABLE t (a int); INSERT INTO t VALUES (1);";

/// Waits until a session waits for a lock.
async fn until_locked_out(server: &Postgres) {
    let watcher = session(server, "postgres").await;
    for _ in 0..400 {
        if value(&watcher, "SELECT count(*) FROM pg_locks WHERE NOT granted").await != "0" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("nobody waits for the lock");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_in_the_place_of_a_sequence_is_not_run() {
    let Some(server) = server(15) else { return };
    let from = database(&server, "a", EVIL).await;
    let swap = "BEGIN; ALTER SEQUENCE public.s RENAME TO old; \
                CREATE VIEW public.s AS SELECT 1::int8 AS last_value, public.evil() AS is_called";
    // A server with the restricting setting, and one without: there the lock reveals it.
    for restricted in [true, false] {
        let attacker = session(&server, "a").await;
        run(&attacker, swap).await;
        let reader = session(&server, "a").await;
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1";
        run(&reader, begin).await;
        let from = from.clone();
        let task = tokio::spawn(async move {
            match restricted {
                true => Source::open(&from, &SourceOptions::default()).await.map(|_| ()),
                false => {
                    let version = reader.server().version_num;
                    catalog::read(reader.client(), version, &Filter::default()).await.map(|_| ())
                }
            }
        });
        until_locked_out(&server).await;
        run(&attacker, "COMMIT").await;
        let error = task.await.unwrap().unwrap_err();
        assert!(!error.to_string().contains("evil ran"), "{error}");
        if restricted {
            assert!(error.to_string().contains("restricted"), "{error}");
        } else {
            assert!(
                matches!(&error, Error::Refused { what, .. } if what.contains("sequence public.s was replaced")),
                "{error}"
            );
        }
        run(&attacker, "DROP VIEW public.s; ALTER SEQUENCE public.old RENAME TO s").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_server_gives_the_value_of_the_sequence_itself() {
    let Some(server) = server(18) else { return };
    let from = database(&server, "a", EVIL).await;
    let attacker = session(&server, "a").await;
    run(&attacker, "BEGIN; ALTER SEQUENCE public.s RENAME TO old; CREATE VIEW public.s AS SELECT 1::int8 AS last_value, public.evil() AS is_called").await;
    let task = tokio::spawn(async move { Source::open(&from, &SourceOptions::default()).await });
    until_locked_out(&server).await;
    run(&attacker, "COMMIT").await;
    let source = task.await.unwrap().unwrap();
    let last: Vec<i64> =
        source.catalog().sequences.iter().filter_map(|s| s.value.map(|value| value.last)).collect();
    assert!(last.contains(&42), "{last:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_in_the_place_of_a_table_is_not_run() {
    for major in common::MAJORS {
        let Some(server) = server(major) else { continue };
        let from = database(&server, "a", EVIL).await;
        let attacker = session(&server, "a").await;
        run(&attacker, "BEGIN; ALTER TABLE public.t RENAME TO old; CREATE VIEW public.t AS SELECT 1 AS a WHERE public.evil()").await;
        let task = tokio::spawn(async move { Source::open(&from, &SourceOptions::default()).await });
        until_locked_out(&server).await;
        run(&attacker, "COMMIT").await;
        let source = task.await.unwrap().unwrap();
        let tables: Vec<TableName> = source.slices().into_iter().map(|slice| slice.table).collect();
        assert_eq!(tables, [TableName::new("public", "old")]);
        for slice in source.slices() {
            let mut rows = source.copy_out(&slice).await.unwrap();
            while let Some(piece) = futures::StreamExt::next(&mut rows).await {
                piece.unwrap();
            }
            assert_eq!(rows.proof().unwrap().rows, 1);
        }
        // It stays locked: nobody can do the same later.
        let late = attacker
            .client()
            .batch_execute("SET lock_timeout = '200ms'; ALTER TABLE public.old RENAME TO u")
            .await;
        assert!(late.is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_that_the_search_path_puts_first_are_not_run() {
    let Some(server) = server(15) else { return };
    let from = database(
        &server,
        "a",
        "CREATE SCHEMA evil; CREATE FUNCTION evil.current_setting(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'evil ran'; END $$; \
         CREATE FUNCTION evil.pg_is_in_recovery() RETURNS bool LANGUAGE sql AS 'SELECT true'; \
         ALTER DATABASE a SET search_path = evil, pg_catalog",
    )
    .await;
    let source = Source::open(&from, &SourceOptions::default()).await.unwrap();
    assert!(!source.server().in_recovery);
}
