//! An interrupted restore or migration is resumed table by table, with the same result as without the interruption
//! (issue 16, section 8).
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "test code; counts are to be seen")]

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use sandbox::testing::{Pglite, require_postgres};
use sandbox::{Listen, Postgres, PostgresOptions};

use crate::common::cut::{Cut, Direction, Proxy};
use crate::common::{Run, command, dbhaul, folder, postgres, run, target_name};

/// Every kind of thing that may be half made, and tables of which two are large enough for indexes in two steps.
const SCHEMA: &str = "
    CREATE ROLE reader;
    CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := 'stamped'; RETURN NEW; END $$;
    CREATE TABLE big (id int PRIMARY KEY, note text UNIQUE, m mood DEFAULT 'ok', body text);
    CREATE INDEX ON big (body); CREATE INDEX ON big (m) WHERE m = 'sad';
    CREATE TABLE child (id bigint GENERATED ALWAYS AS IDENTITY, big_id int NOT NULL REFERENCES big, body text, CHECK (big_id > 0));
    CREATE TRIGGER stamp BEFORE INSERT ON big FOR EACH ROW EXECUTE FUNCTION stamp();
    CREATE TABLE parted (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (1000);
    CREATE TABLE parted_2 PARTITION OF parted DEFAULT;
    CREATE TABLE small (id serial PRIMARY KEY, parent int REFERENCES small);
    CREATE VIEW v AS SELECT id, m FROM big; CREATE MATERIALIZED VIEW mv AS SELECT m, count(*) FROM big GROUP BY m;
    COMMENT ON TABLE small IS 'a comment'; GRANT SELECT ON big, small, v TO reader; CREATE STATISTICS s ON id, m FROM big;
    ALTER TABLE child ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON child USING (big_id > 1);
    ALTER TABLE big DISABLE TRIGGER stamp;
    INSERT INTO big SELECT n, 'note ' || n, 'ok', repeat(md5(n::text), 12) FROM generate_series(1, 24000) n;
    ALTER TABLE big ENABLE TRIGGER stamp;
    INSERT INTO child (big_id, body) SELECT n, repeat(md5(n::text), 12) FROM generate_series(1, 24000) n;
    INSERT INTO parted SELECT n, 'v' || n FROM generate_series(0, 3000) n;
    INSERT INTO small (parent) SELECT nullif(n - 1, 0) FROM generate_series(1, 500) n;
    SELECT lo_from_bytea(0, repeat('x', 100000)::bytea); REFRESH MATERIALIZED VIEW mv; ANALYZE;
";

struct Stage {
    here: tempfile::TempDir,
    server: Postgres,
}

impl Stage {
    async fn start(listen: Listen) -> Option<Stage> {
        let binaries = require_postgres(15)?;
        let options = PostgresOptions { listen, ..PostgresOptions::default() };
        let stage = Stage { here: folder(), server: Postgres::start(&binaries, options).unwrap() };
        stage.execute("postgres", "CREATE DATABASE source").await;
        stage.execute("postgres", "CREATE DATABASE target").await;
        stage.execute("source", SCHEMA).await;
        Some(stage)
    }

    fn at(&self) -> &Path {
        self.here.path()
    }

    async fn execute(&self, database: &str, sql: &str) {
        postgres(&self.server.url(database)).await.batch_execute(sql).await.unwrap();
    }

    async fn number(&self, database: &str, sql: &str) -> i64 {
        postgres(&self.server.url(database)).await.query_one(sql, &[]).await.unwrap().get(0)
    }

    async fn anew(&self) {
        self.execute("postgres", "DROP DATABASE target WITH (FORCE)").await;
        self.execute("postgres", "CREATE DATABASE target").await;
    }

    /// Nobody works for the run that was interrupted.
    async fn quiet(&self) {
        let began = Instant::now();
        let others = "SELECT count(*) FROM pg_stat_activity WHERE datname IN ('source', 'target') AND pid <> pg_backend_pid()";
        while self.number("postgres", others).await > 0 {
            assert!(began.elapsed() < Duration::from_secs(30), "sessions of an interrupted run go on");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn equal(&self) {
        let [from, to] = ["source", "target"].map(|name| self.server.url(name));
        dbhaul(self.at(), &["compare", &from, &to]).exits(0);
    }

    fn name(&self) -> String {
        let url = self.server.url("target");
        match self.server.port() {
            Some(port) => format!("127.0.0.1:{port}/target"),
            None => target_name(&url),
        }
    }

    /// Resumes, with the confirmation to empty incomplete tables.
    fn resumed(&self, job: &[&str]) -> Run {
        let name = self.name();
        dbhaul(self.at(), &[job, &["--resume", "--replace", &name]].concat()).exits(0).shows("resumed: ")
    }
}

/// The client dies; then the source goes on, so that what was loaded is of an older moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_whose_client_was_killed_is_resumed_against_a_new_snapshot() {
    let Some(stage) = Stage::start(Listen::Socket).await else { return };
    let [from, to] = ["source", "target"].map(|name| stage.server.url(name));
    let job = ["migrate", "--from", &from, "--to", &to, "--jobs", "2"];
    let mut client = command(stage.at(), &[&job[..], &["--rate-limit", "3MiB/s"]].concat())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let loaded = "SELECT count(*) FROM pg_class WHERE relname IN ('parted_1', 'parted_2', 'small', 'big', 'child') AND relkind = 'r' AND pg_relation_size(oid) > 0";
    while stage.number("target", loaded).await < 2 {
        assert!(
            client.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_secs(60),
            "nothing was loaded"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    client.kill().unwrap();
    client.wait().unwrap();
    stage.quiet().await;

    // Without the word, nothing is taken for an interrupted run.
    dbhaul(stage.at(), &job).exits(5);
    stage.execute("source", "UPDATE parted SET v = 'later'; UPDATE small SET parent = 1 WHERE id = 3; DELETE FROM child WHERE id = 7").await;
    let whole = stage.number("target", loaded).await;
    let refused = dbhaul(stage.at(), &[&job[..], &["--resume"]].concat()).exits(5).says("--replace");
    assert!(refused.stderr.contains("nothing was written"), "{}", refused.stderr);
    assert_eq!(stage.number("target", loaded).await, whole);
    let done = stage.resumed(&job);
    assert!(done.stdout.contains("a new snapshot of the source by digest"), "{}", done.stdout);
    stage.equal();
    assert_eq!(stage.number("target", "SELECT count(*) FROM big WHERE note = 'stamped'").await, 0);

    // Everything is there: only what the source changed is loaded again, with its foreign keys and triggers in place.
    stage.execute("source", "UPDATE big SET body = 'x' WHERE id = 5; REFRESH MATERIALIZED VIEW mv").await;
    let again = stage.resumed(&job);
    assert!(again.stdout.contains("emptied and loaded again: public.big\n"), "{}", again.stdout);
    stage.equal();
    assert_eq!(stage.number("target", "SELECT count(*) FROM big WHERE note = 'stamped'").await, 0);
    // And once more: nothing is left to do.
    let last = dbhaul(stage.at(), &[&job[..], &["--resume"]].concat()).exits(0);
    assert!(last.stdout.contains("none was loaded again"), "{}", last.stdout);
    stage.equal();
}

/// A backend of the target dies at one point after another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_whose_backends_were_terminated_is_resumed() {
    let Some(stage) = Stage::start(Listen::Socket).await else { return };
    dbhaul(stage.at(), &["init", "--repository", "store"]).exits(0);
    dbhaul(stage.at(), &["backup", "--postgres", &stage.server.url("source")]).exits(0);
    let to = stage.server.url("target");
    let job = ["restore", "latest", "--postgres", &to, "--jobs", "2"];
    let mut interrupted = 0;
    for point in [
        "COPY %big%",
        "CREATE UNIQUE INDEX%big%",
        "%CREATE INDEX%body%",
        "%FOREIGN KEY%|%VALIDATE%",
        "ANALYZE%",
    ] {
        stage.anew().await;
        let mut client =
            command(stage.at(), &job).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let watcher = postgres(&stage.server.url("postgres")).await;
        let kill = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = 'target' AND query LIKE ANY (string_to_array('{point}', '|'))"
        );
        let began = Instant::now();
        while client.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < Duration::from_secs(120), "the restore hangs at {point}");
            if watcher.query_one(&kill, &[]).await.unwrap().get::<_, i64>(0) > 0 {
                break;
            }
        }
        let ended = client.wait_with_output().unwrap();
        if ended.status.code() == Some(0) {
            eprintln!("{point}: too quick to be met");
            continue;
        }
        interrupted += 1;
        let said = Run::of(ended).exits(1);
        assert!(said.stderr.contains("--resume"), "{}", said.stderr);
        stage.quiet().await;
        stage.resumed(&job);
        stage.equal();
    }
    assert!(interrupted >= 3, "{interrupted} runs were interrupted");
}

/// The network is cut at one place after another, until a run comes to its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_whose_network_is_cut_are_resumed_again_and_again() {
    let Some(stage) = Stage::start(Listen::Port).await else { return };
    let proxy = Proxy::to(stage.server.port().unwrap());
    let from = stage.server.url("source");
    let port = stage.server.port().unwrap();
    let to = stage.server.url("target").replace(&format!(":{port}/"), &format!(":{}/", proxy.port()));
    let name = format!("127.0.0.1:{}/target", proxy.port());
    let (mut cuts, mut after) = (0, 6 << 10);
    loop {
        proxy.arm(Some(Cut { direction: Direction::Up, after, for_good: true }));
        let mut job = vec!["migrate", "--from", &from, "--to", &to, "--jobs", "2"];
        job.extend(["--resume", "--replace", &name]);
        let began = Instant::now();
        let ended = run(command(stage.at(), &job));
        assert!(began.elapsed() < Duration::from_secs(120), "{}", ended.stderr);
        if ended.code == 0 {
            break;
        }
        assert_eq!(ended.code, 1, "{}", ended.stderr);
        cuts += 1;
        after = after * 9 / 5;
        stage.quiet().await;
        assert!(cuts < 40);
    }
    proxy.arm(None);
    eprintln!("{cuts} cuts");
    assert!(cuts >= 5);
    stage.equal();
}

/// Only what the job itself would have made is taken for a part of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_that_the_job_would_not_create_are_refused() {
    let Some(stage) = Stage::start(Listen::Socket).await else { return };
    let [from, to] = ["source", "target"].map(|name| stage.server.url(name));
    let name = stage.name();
    let job = ["migrate", "--from", &from, "--to", &to, "--resume", "--replace", &name];
    stage.execute("target", "CREATE TABLE other (a int); INSERT INTO other VALUES (1)").await;
    dbhaul(stage.at(), &job).exits(5).says("table public.other exists, but is not part of this restore");
    stage.anew().await;
    stage.execute("target", "CREATE TABLE small (id bigint); INSERT INTO small VALUES (1)").await;
    dbhaul(stage.at(), &job).exits(5).says("table public.small exists with a different definition");
    assert_eq!(stage.number("target", "SELECT count(*) FROM small").await, 1);
    stage.anew().await;
    // An empty target is a run that was interrupted at once.
    dbhaul(stage.at(), &job).exits(0);
    stage.equal();
    dbhaul(
        stage.at(),
        &["migrate", "--from", "redis://127.0.0.1:1", "--to", "redis://127.0.0.1:1", "--resume"],
    )
    .exits(2)
    .says("--resume is for PostgreSQL");
}

/// Chunks that were made in part are not told apart: that is said before anything is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_with_timescaledb_is_not_resumed_and_nothing_is_written() {
    let (Some(stage), Some(timescale)) = (Stage::start(Listen::Socket).await, Pglite::require()) else {
        return;
    };
    let (from, to) = (timescale.url(), stage.server.url("target"));
    let client = postgres(&from).await;
    for sql in [
        "CREATE EXTENSION timescaledb",
        "CREATE TABLE h (ts timestamptz NOT NULL, v int)",
        "SELECT create_hypertable('h', 'ts')",
        "INSERT INTO h SELECT '2026-01-01'::timestamptz + i * interval '1 hour', i FROM generate_series(0, 50) i",
    ] {
        client.batch_execute(sql).await.unwrap();
    }
    drop(client);
    let name = stage.name();
    let job = ["migrate", "--from", &from, "--to", &to, "--jobs", "1", "--resume", "--replace", &name];
    dbhaul(stage.at(), &job)
        .exits(5)
        .says("a database that uses TimescaleDB cannot be resumed")
        .says("nothing was written");
    let objects = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert_eq!(stage.number("target", objects).await, 0);
}
