//! Failures in the middle of a job: every loss is an error that names the table, and nothing is left running.

use std::time::{Duration, Instant};

use crate::common::{MAJORS, database, run, server, session, value};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use pgmove::{Error, Source, SourceOptions, TableName, Target, TargetOptions};

/// Large enough that the sockets' buffers cannot hold it.
const BIG: &str = "CREATE TABLE big AS SELECT g AS id, repeat(md5(g::text), 30) AS filler FROM generate_series(1, 60000) g;";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_lost_in_the_middle_of_a_table_names_the_table() {
    for major in MAJORS {
        let Some(server) = server(major) else { continue };
        let from = database(&server, "a", BIG).await;
        let source = Source::open(&from, &SourceOptions::default()).await.unwrap();
        let mut rows = source.copy_out(&source.slices()[0]).await.unwrap();
        rows.next().await.unwrap().unwrap();
        let admin = session(&server, "postgres").await;
        run(&admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'a' AND query LIKE 'COPY%'").await;
        let mut failure = None;
        while let Some(piece) = rows.next().await {
            failure = failure.or(piece.err());
        }
        let failure = failure.expect("the stream ends with an error");
        assert!(failure.is_lost(), "{failure:?}");
        assert!(failure.to_string().starts_with("table public.big: "), "{failure}");
        assert_eq!(rows.proof(), None);
        // The snapshot is still held: the table can be read again.
        let mut again = source.copy_out(&source.slices()[0]).await.unwrap();
        while let Some(piece) = again.next().await {
            piece.unwrap();
        }
        assert_eq!(again.proof().unwrap().rows, 60_000);
        source.finish().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_snapshot_is_never_replaced_by_another() {
    let Some(server) = server(MAJORS[0]) else { return };
    let from = database(&server, "a", "CREATE TABLE t (id int)").await;
    let source = Source::open(&from, &SourceOptions::default()).await.unwrap();
    let admin = session(&server, "postgres").await;
    run(&admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'a'").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let error = source.copy_out(&source.slices()[0]).await.err().expect("there is no snapshot to read in");
    assert!(matches!(error, Error::SnapshotLost { .. }), "{error:?}");
    let error = source.finish().await.unwrap_err();
    assert!(matches!(error, Error::SnapshotLost { .. }), "{error:?}");
    assert!(error.to_string().contains("is not used"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_copy_ends_at_the_server() {
    let Some(server) = server(MAJORS[1]) else { return };
    let from = database(&server, "a", BIG).await;
    let source = Source::open(&from, &SourceOptions::default()).await.unwrap();
    let mut rows = source.copy_out(&source.slices()[0]).await.unwrap();
    rows.next().await.unwrap().unwrap();
    drop((rows, source));
    let admin = session(&server, "postgres").await;
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'a'";
    assert!(nobody_left(&admin, others).await, "a reader goes on");

    // Work that sends nothing for long, such as the building of an index, is cancelled.
    let sql = "DROP TABLE public.big; CREATE TABLE public.one (id int, other int); \
               CREATE FUNCTION public.slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql \
               AS $$ BEGIN PERFORM pg_sleep(60); RETURN $1; END $$; \
               CREATE INDEX slowly ON public.one (public.slow(id));";
    run(&session(&server, "a").await, sql).await;
    let catalog = Source::open(&from, &SourceOptions::default()).await.unwrap().catalog().clone();
    let to = database(&server, "b", "").await;
    let target = Target::open(&to, &TargetOptions::default()).await.unwrap();
    let plan = target.plan(&catalog).await.unwrap();
    target.pre_data(&plan).await.unwrap();
    let row = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"1\t2\n"))]);
    target.copy_in(&plan, &TableName::new("public", "one"), row).await.unwrap();
    let indexes = tokio::time::timeout(Duration::from_secs(2), target.post_data(&plan, &|_| ())).await;
    assert!(indexes.is_err(), "the index was made at once");
    drop(target);
    assert!(
        nobody_left(&admin, "SELECT count(*) FROM pg_stat_activity WHERE datname = 'b'").await,
        "the index is still built"
    );
}

async fn nobody_left(admin: &pgmove::Session, count: &str) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(8) {
        if value(admin, count).await == "0" {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

/// A target with the table `t (id int PRIMARY KEY, v text)`, ready for rows.
async fn ready(server: &sandbox::Postgres) -> (Target, pgmove::RestorePlan) {
    let from = database(server, "a", "CREATE TABLE t (id int PRIMARY KEY, v varchar(5))").await;
    let source = Source::open(&from, &SourceOptions::default()).await.unwrap();
    let to = database(server, "b", "").await;
    let settings = TargetOptions { idle_timeout: Duration::from_secs(2), ..TargetOptions::default() };
    let target = Target::open(&to, &settings).await.unwrap();
    let plan = target.plan(source.catalog()).await.unwrap();
    target.pre_data(&plan).await.unwrap();
    (target, plan)
}

fn pieces(texts: &'static [&'static str]) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> {
    stream::iter(texts).map(|text| Ok(Bytes::from_static(text.as_bytes())))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_fail_leave_the_table_as_it_was() {
    let Some(server) = server(MAJORS[0]) else { return };
    let (target, plan) = ready(&server).await;
    let table = TableName::new("public", "t");
    let b = session(&server, "b").await;

    let error = target.copy_in(&plan, &table, pieces(&["1\ta\n2\tb\n", "3\ttoo long\n"])).await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("22001"));
    let text = error.to_string();
    assert!(
        text.contains("table public.t: value too long")
            && text.contains("COPY t, line 3, column v: \"too long\""),
        "{text}"
    );

    let broken =
        stream::iter([Ok(Bytes::from_static(b"1\ta\n")), Err(std::io::Error::other("the disk is gone"))]);
    let error = target.copy_in(&plan, &table, broken).await.unwrap_err();
    assert!(matches!(error, Error::Rows { .. }) && error.to_string().contains("the disk is gone"), "{error}");

    // A row without its newline is a row; the server counts it, and so do we not: the stream was cut.
    let error = target.copy_in(&plan, &table, pieces(&["1\ta\n2\tb"])).await.unwrap_err();
    assert!(matches!(error, Error::RowCount { sent: 1, taken: 2, .. }), "{error}");

    assert_eq!(value(&b, "SELECT count(*) FROM public.t").await, "0");
    assert_eq!(target.copy_in(&plan, &table, pieces(&["1\t", "a\n2", "\tb\n"])).await.unwrap(), 2);
    assert_eq!(target.copy_in(&plan, &table, pieces(&[])).await.unwrap(), 0);
    assert_eq!(value(&b, "SELECT string_agg(id || v, ',' ORDER BY id) FROM public.t").await, "1a,2b");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_row_ends_a_long_copy_early_and_its_position_is_reported() {
    let Some(server) = server(MAJORS[0]) else { return };
    let (target, plan) = ready(&server).await;
    let table = TableName::new("public", "t");
    let sent = std::sync::atomic::AtomicUsize::new(0);
    // 500 pieces of 1 MiB, in the hundredth a row that does not fit.
    let rows = stream::iter(0..500_u32).map(|at| {
        sent.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut text: String =
            (0..87_381).map(|row| format!("{}\tabcd\n", u64::from(at) * 100_000 + row)).collect();
        if at == 100 {
            text.push_str("7\tabcdef\n");
        }
        Ok::<_, std::io::Error>(Bytes::from(text))
    });
    let error = target.copy_in(&plan, &table, rows).await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("22001"));
    assert!(
        error.to_string().contains("public.t, after its first ") && error.to_string().contains("line "),
        "{error}"
    );
    let sent = sent.into_inner();
    assert!((100..160).contains(&sent), "{sent} pieces were sent");
    assert_eq!(value(&session(&server, "b").await, "SELECT count(*) FROM public.t").await, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_accepts_nothing_is_noticed() {
    let Some(server) = server(MAJORS[0]) else { return };
    let (target, plan) = ready(&server).await;
    let blocker = session(&server, "b").await;
    run(&blocker, "BEGIN; LOCK TABLE public.t IN ACCESS EXCLUSIVE MODE").await;
    let rows = stream::iter(0..10_000_000_u64)
        .map(|at| Ok::<_, std::io::Error>(Bytes::from(format!("{at}\tabcd\n"))));
    let error = target.copy_in(&plan, &TableName::new("public", "t"), rows).await.unwrap_err();
    assert!(matches!(error, Error::Stalled { seconds: 2, .. }) && error.is_lost(), "{error:?}");
    assert!(error.to_string().starts_with("table public.t: no progress for 2 s"), "{error}");
    drop(blocker);
    assert_eq!(value(&session(&server, "b").await, "SELECT count(*) FROM public.t").await, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_sends_nothing_is_noticed() {
    let Some(server) = server(MAJORS[0]) else { return };
    // A domain's output function cannot sleep, but a stopped process sends nothing either.
    let from = database(&server, "a", BIG).await;
    let settings = SourceOptions { idle_timeout: Duration::from_secs(1), ..SourceOptions::default() };
    let source = Source::open(&from, &settings).await.unwrap();
    let mut rows = source.copy_out(&source.slices()[0]).await.unwrap();
    rows.next().await.unwrap().unwrap();
    let admin = session(&server, "postgres").await;
    let pid =
        value(&admin, "SELECT pid FROM pg_stat_activity WHERE datname = 'a' AND query LIKE 'COPY%'").await;
    signal("-STOP", &pid);
    let mut failure = None;
    while let Some(piece) = rows.next().await {
        failure = failure.or(piece.err());
    }
    signal("-CONT", &pid);
    let failure = failure.expect("the stream ends with an error");
    assert!(matches!(failure, Error::Stalled { seconds: 1, .. }), "{failure:?}");
    assert!(failure.to_string().starts_with("table public.big: no progress for 1 s"), "{failure}");
}

fn signal(name: &str, pid: &str) {
    assert!(std::process::Command::new("kill").args([name, pid]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_is_reported() {
    let Some(mut server) = server(MAJORS[0]) else { return };
    let from = database(&server, "a", BIG).await;
    let source = Source::open(&from, &SourceOptions::default()).await.unwrap();
    let mut rows = source.copy_out(&source.slices()[0]).await.unwrap();
    rows.next().await.unwrap().unwrap();
    let admin = session(&server, "postgres").await;
    let pid =
        value(&admin, "SELECT pid FROM pg_stat_activity WHERE datname = 'a' AND query LIKE 'COPY%'").await;
    // Without its postmaster a backend goes on for a moment, and may send everything.
    signal("-KILL", &pid);
    server.kill();
    let mut failure = None;
    while let Some(piece) = rows.next().await {
        failure = failure.or(piece.err());
    }
    let failure = failure.expect("the stream ends with an error");
    assert!(failure.is_lost() && failure.to_string().starts_with("table public.big: "), "{failure:?}");
    assert!(matches!(source.finish().await.unwrap_err(), Error::SnapshotLost { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_waits_for_us_does_not_keep_us_from_reading() {
    let Some(server) = server(MAJORS[0]) else { return };
    let tables =
        "CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 1000); CREATE TABLE u AS TABLE t";
    let from = database(&server, "a", tables).await;
    let source = Source::open(&from, &SourceOptions::default()).await.unwrap();
    let changes = session(&server, "a").await;
    let waiting = tokio::spawn(async move {
        changes
            .client()
            .batch_execute("ALTER TABLE public.t ADD COLUMN late int DEFAULT 7; DROP TABLE public.u")
            .await
    });
    let admin = session(&server, "a").await;
    while value(&admin, "SELECT count(*) FROM pg_locks WHERE NOT granted").await == "0" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Both at once: they share the only connection that is allowed through.
    let slices = source.slices();
    let reading = slices.iter().map(|slice| async {
        let mut rows = source.copy_out(slice).await.unwrap();
        while let Some(piece) = rows.next().await {
            piece.unwrap();
        }
        rows.proof().unwrap().rows
    });
    let rows = tokio::time::timeout(Duration::from_secs(30), futures::future::join_all(reading)).await;
    assert_eq!(rows.expect("nothing waits in vain"), [1000, 1000]);
    assert!(!waiting.is_finished());
    source.finish().await.unwrap();
    waiting.await.unwrap().unwrap();
}
