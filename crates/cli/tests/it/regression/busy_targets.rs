//! Targets that are busy, full, or refuse what comes (issue 16, section 4 and bad input).
#![allow(clippy::unwrap_used, reason = "test code")]

use std::process::Stdio;
use std::time::Duration;

use sandbox::testing::require_postgres;
use sandbox::{Postgres, PostgresOptions};

use crate::common::{Run, command, dbhaul, folder, postgres, target_name};

fn server(settings: &[(&str, &str)]) -> Option<Postgres> {
    let binaries = require_postgres(15)?;
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Some(Postgres::start(&binaries, PostgresOptions { settings, ..PostgresOptions::default() }).unwrap())
}

async fn execute(server: &Postgres, database: &str, sql: &str) {
    postgres(&server.url(database)).await.batch_execute(sql).await.unwrap();
}

async fn number(url: &str, sql: &str) -> i64 {
    postgres(url).await.query_one(sql, &[]).await.unwrap().get(0)
}

/// The rows break a unique index: it is named with the key, and with `--on-error continue` the others are there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_fails_is_named_with_its_values() {
    let Some(server) = server(&[]) else { return };
    for name in ["source", "stopped", "continued"] {
        execute(&server, "postgres", &format!("CREATE DATABASE {name}")).await;
    }
    execute(
        &server,
        "source",
        "CREATE TABLE t (a int, b int, c int); CREATE UNIQUE INDEX broken ON t (a); CREATE INDEX one ON t (b); CREATE INDEX two ON t (c);
         INSERT INTO t SELECT n, n, n FROM generate_series(1, 5000) n;
         UPDATE pg_index SET indisunique = false WHERE indexrelid = 'broken'::regclass",
    )
    .await;
    execute(&server, "source", "INSERT INTO t VALUES (7, 0, 0); UPDATE pg_index SET indisunique = true WHERE indexrelid = 'broken'::regclass").await;
    let here = folder();
    let [from, stopped, continued] = ["source", "stopped", "continued"].map(|name| server.url(name));
    let said = dbhaul(here.path(), &["migrate", "--from", &from, "--to", &stopped]).exits(1);
    for words in ["index public.broken", "Key (a)=(7) is duplicated", "23505", "--resume"] {
        assert!(said.stderr.contains(words), "{words}: {}", said.stderr);
    }
    let args = ["migrate", "--from", &from, "--to", &continued, "--on-error", "continue"];
    dbhaul(here.path(), &args).exits(4).shows("Key (a)=(7) is duplicated");
    let indexes = "SELECT count(*) FROM pg_class WHERE relname IN ('one', 'two')";
    assert_eq!(number(&continued, indexes).await, 2);
}

/// Another session holds a lock on a table to truncate: it is reported after ten seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_a_lock_at_the_target_is_named() {
    let Some(server) = server(&[]) else { return };
    let sql = "CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)";
    for name in ["source", "target"] {
        execute(&server, "postgres", &format!("CREATE DATABASE {name}")).await;
        execute(&server, name, sql).await;
    }
    let here = folder();
    let [from, to] = ["source", "target"].map(|name| server.url(name));
    let holder = postgres(&to).await;
    holder.batch_execute("SET application_name = 'the_holder'; BEGIN; SELECT count(*) FROM t").await.unwrap();
    let name = target_name(&to);
    let mut job = command(
        here.path(),
        &[
            "migrate",
            "--from",
            &from,
            "--to",
            &to,
            "--into-existing",
            "--on-existing",
            "truncate",
            "--replace",
            &name,
        ],
    );
    let client = job.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    tokio::time::sleep(Duration::from_secs(14)).await;
    holder.batch_execute("COMMIT").await.unwrap();
    let said = Run::of(client.wait_with_output().unwrap()).exits(0);
    assert!(said.stderr.contains("waits for a lock that process"), "{}", said.stderr);
    assert!(said.stderr.contains("application the_holder"), "{}", said.stderr);
}

/// Fewer connections than workers: the others do the work. None: nothing is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_with_few_connections_left_is_filled_by_fewer_workers() {
    let Some(source) = server(&[]) else { return };
    let limits = [
        ("max_connections", "12"),
        ("superuser_reserved_connections", "0"),
        ("max_wal_senders", "0"),
        ("autovacuum", "off"),
    ];
    let Some(target) = server(&limits) else { return };
    for n in 0..6 {
        let sql = format!(
            "CREATE TABLE t{n} (a int PRIMARY KEY, b text); INSERT INTO t{n} SELECT n, repeat('x', 300) FROM generate_series(1, 6000) n"
        );
        execute(&source, "postgres", &sql).await;
    }
    let here = folder();
    let from = source.url("postgres");
    let to = target.url("target");
    let job = ["migrate", "--from", &from, "--to", &to, "--jobs", "4"];
    execute(&target, "postgres", "CREATE DATABASE target").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    // One for the session that leads, one for a worker.
    let mut others = Vec::new();
    for _ in 0..10 {
        others.push(postgres(&target.url("postgres")).await);
    }
    dbhaul(here.path(), &job).exits(0).says("has no connection left for 3 of 4 workers");
    dbhaul(here.path(), &["compare", &from, &to, "--jobs", "1"]).exits(1).says("53300");
    others.push(postgres(&target.url("postgres")).await);
    execute(&source, "postgres", "CREATE DATABASE other").await;
    let target_url = target.url("postgres");
    let refused = dbhaul(here.path(), &["migrate", "--from", &from, "--to", &target_url]).exits(1);
    assert!(refused.stderr.contains("53300"), "{}", refused.stderr);
    assert_eq!(
        others[0]
            .query_one("SELECT count(*) FROM pg_class WHERE relname = 't1'", &[])
            .await
            .unwrap()
            .get::<_, i64>(0),
        0
    );
}

/// The memory of index builds is divided, shown, and never more than the machine has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_of_index_builds_is_divided_between_them() {
    let limits =
        [("max_parallel_maintenance_workers", "1"), ("max_parallel_workers", "6"), ("log_statement", "all")];
    let Some(server) = server(&limits) else { return };
    for name in ["source", "target"] {
        execute(&server, "postgres", &format!("CREATE DATABASE {name}")).await;
    }
    execute(
        &server,
        "source",
        "CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)",
    )
    .await;
    let here = folder();
    let [from, to] = ["source", "target"].map(|name| server.url(name));
    let job = ["migrate", "--from", &from, "--to", &to, "--jobs", "2"];
    let with = |more: &[&str]| dbhaul(here.path(), &[&job[..], more].concat());
    with(&["--dry-run", "--index-memory", "96MiB"])
        .exits(0)
        .shows("indexes: up to 2 built at the same time, each with 48.0 MiB and 1 parallel worker");
    let plan = with(&["--dry-run", "--json"]).exits(0).json();
    assert_eq!(plan["targets"][0]["index-memory"]["builds"], 2);
    with(&["--index-memory", "4096TiB"]).exits(5).says("the machine has");
    with(&["--index-memory", "much"]).exits(2);
    with(&["--index-memory", "96MiB"]).exits(0);
}
