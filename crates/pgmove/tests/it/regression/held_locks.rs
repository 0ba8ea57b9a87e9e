//! A table is locked only until its rows are read, and one that a session waits for is read first, because other
//! readers wait behind that session.

use std::time::{Duration, Instant};

use crate::common::{MAJORS, database, run, server, session, value};
use futures::TryStreamExt as _;
use pgmove::{Source, SourceOptions, TableProof, TableSlice};

const TABLES: &str = "
CREATE TABLE first (id int); INSERT INTO first SELECT generate_series(1, 1000);
CREATE TABLE second (id int); INSERT INTO second SELECT generate_series(1, 2000);
CREATE TABLE third (id int); INSERT INTO third SELECT generate_series(1, 3000);
CREATE TABLE parted (id int) PARTITION BY LIST (id); CREATE TABLE part PARTITION OF parted FOR VALUES IN (1);
";

fn slice(source: &Source, name: &str) -> TableSlice {
    source.slices().into_iter().find(|slice| slice.table.name == name).unwrap()
}

async fn read(source: &Source, slice: &TableSlice) -> TableProof {
    let mut rows = source.copy_out(slice).await.unwrap();
    while rows.try_next().await.unwrap().is_some() {}
    rows.proof().unwrap()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_whose_rows_are_read_can_be_altered() {
    for major in MAJORS {
        let Some(server) = server(major) else { continue };
        let from = database(&server, "a", TABLES).await;
        let other = session(&server, "a").await;
        let source = Source::open(&from, &SourceOptions::default()).await.unwrap();
        assert_eq!(read(&source, &slice(&source, "first")).await.rows, 1000);
        run(
            &other,
            "SET lock_timeout = '15s'; ALTER TABLE public.first ADD COLUMN more int; DROP TABLE public.first",
        )
        .await;
        // Other tables stay locked, also by the session that took the locks over.
        let altered = other
            .client()
            .batch_execute("SET lock_timeout = '1500ms'; ALTER TABLE public.second ADD COLUMN more int")
            .await;
        assert_eq!(altered.unwrap_err().code().unwrap().code(), "55P03");
        assert_eq!(read(&source, &slice(&source, "second")).await.rows, 2000);
        run(&other, "SET lock_timeout = '15s'; TRUNCATE public.second").await;
        assert_eq!(read(&source, &slice(&source, "third")).await.rows, 3000);
        assert_eq!(read(&source, &slice(&source, "part")).await.rows, 0);
        // A table whose lock was released is not read again.
        assert!(source.copy_out(&slice(&source, "first")).await.is_err());
        source.finish().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_a_session_waits_for_is_read_first_and_its_readers_continue() {
    let Some(server) = server(15) else { return };
    let from = database(&server, "a", TABLES).await;
    let settings = SourceOptions { lock_timeout: Some(Duration::from_secs(1)), ..SourceOptions::default() };
    let source = Source::open(&from, &settings).await.unwrap();
    let slices = source.slices();
    assert_eq!(source.first_wanted(slices.iter()), None);

    let (changes, reads, looks) =
        (session(&server, "a").await, session(&server, "a").await, session(&server, "a").await);
    let change = tokio::spawn(async move { run(&changes, "TRUNCATE public.second").await });
    until("the change waits", async || {
        value(&looks, "SELECT count(*) FROM pg_locks WHERE NOT granted").await == "1"
    })
    .await;
    let reader = tokio::spawn(async move { value(&reads, "SELECT count(*) FROM public.second").await });
    until("somebody waits", async || source.first_wanted(slices.iter()).is_some()).await;
    let wanted = source.first_wanted(slices.iter()).unwrap();
    assert_eq!(slices[wanted].table.name, "second");
    // A wait longer than the limit is reported, by name.
    let mut notes = Vec::new();
    until("the wait is told", async || {
        notes.extend(source.notes());
        !notes.is_empty()
    })
    .await;
    assert!(notes[0].contains("waited for more than 1 s for table public.second"), "{notes:?}");
    assert!(notes[0].contains("TRUNCATE public.second"), "{notes:?}");

    assert_eq!(read(&source, &slices[wanted]).await.rows, 2000, "as it was in the snapshot");
    let begun = Instant::now();
    assert_eq!(reader.await.unwrap(), "0");
    change.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    // The other tables stay locked and are read as before.
    assert_eq!(read(&source, &slice(&source, "third")).await.rows, 3000);
    assert_eq!(read(&source, &slice(&source, "first")).await.rows, 1000);
    source.finish().await.unwrap();
}

/// Losing the session with the locks is an error, like losing the one with the snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_locks_are_reported() {
    let Some(server) = server(15) else { return };
    let from = database(&server, "a", TABLES).await;
    let source = Source::open(&from, &SourceOptions::default()).await.unwrap();
    let other = session(&server, "a").await;
    let holder = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'public.third'::regclass";
    assert_eq!(value(&other, holder).await, "t");
    for name in ["first", "second", "third"] {
        read(&source, &slice(&source, name)).await;
    }
    let lost = source.finish().await.unwrap_err();
    assert!(matches!(lost, pgmove::Error::SnapshotLost { .. }), "{lost}");
}

/// A policy that decompresses a chunk waits for the backup, and readers of the hypertable wait behind the policy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run by scripts/test --all, where two native builds of TimescaleDB are named"]
async fn a_chunk_that_is_decompressed_meanwhile_is_read_before_others_and_loses_no_row() {
    for binaries in sandbox::testing::require_timescale() {
        let settings = [("shared_preload_libraries", "timescaledb"), ("timescaledb.telemetry_level", "off")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let options =
            sandbox::PostgresOptions { settings: settings.to_vec(), ..sandbox::PostgresOptions::default() };
        let server = sandbox::Postgres::start(&binaries, options).unwrap();
        let from = database(&server, "a", "CREATE EXTENSION timescaledb").await;
        let made = session(&server, "a").await;
        for sql in [
            "SET search_path = public",
            "CREATE TABLE h (ts timestamptz NOT NULL, v int)",
            "SELECT create_hypertable('h', 'ts', chunk_time_interval => interval '1 day')",
            "INSERT INTO h SELECT '2026-01-01'::timestamptz + g * interval '1 hour', g FROM generate_series(0, 239) g",
            "ALTER TABLE h SET (timescaledb.compress)",
            "SELECT compress_chunk(c) FROM show_chunks('h') c",
        ] {
            run(&made, sql).await;
        }
        let source = Source::open(&from, &SourceOptions::default()).await.unwrap();
        let mut slices: std::collections::VecDeque<TableSlice> = source.slices().into();
        let all = slices.len();
        let (changes, reads) = (session(&server, "a").await, session(&server, "a").await);
        let change = tokio::spawn(async move {
            run(&changes, "SET search_path = public; SELECT decompress_chunk(c) FROM show_chunks('h') c ORDER BY c DESC LIMIT 1").await;
        });
        until("somebody waits", async || source.first_wanted(slices.iter()).is_some()).await;
        let reader = tokio::spawn(async move { value(&reads, "SELECT count(*) FROM public.h").await });
        let begun = Instant::now();
        let mut rows = 0;
        // Wanted tables come first; nothing else is needed for the others to continue.
        while let Some(wanted) = source.first_wanted(slices.iter()).and_then(|at| slices.remove(at)) {
            rows += read(&source, &wanted).await.rows;
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        assert_eq!(reader.await.unwrap(), "240");
        change.await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        assert!(slices.len() > all / 2, "{} of {all} were still to be read", slices.len());
        for slice in slices {
            rows += read(&source, &slice).await.rows;
        }
        assert_eq!(rows, 240);
        source.finish().await.unwrap();
    }
}
