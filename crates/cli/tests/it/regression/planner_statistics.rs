//! The planner's statistics of a source are imported where both servers are of version 18 or later, and collected
//! everywhere else (issue 16, section 1).
#![allow(clippy::unwrap_used, reason = "test code")]

use sandbox::testing::require_postgres;
use sandbox::{Postgres, PostgresOptions};

use crate::common::{dbhaul, folder, postgres};

/// Every kind of statistics that there is, none of them as ANALYZE would collect it again: the sample is small, and rows
/// came and went since. Nothing but a restore collects any.
const SKEWED: &str = r#"
    SET default_statistics_target = 7;
    CREATE SCHEMA "od'd";
    CREATE TABLE skewed (id int PRIMARY KEY, kind text, tags text[], span int4range, spans int4multirange, j json, took interval,
        at timestamptz, unset int, "a ""b" numeric, twice int GENERATED ALWAYS AS (id * 2) VIRTUAL) WITH (autovacuum_enabled = false);
    INSERT INTO skewed SELECT n, CASE WHEN n % 10 = 0 THEN 'rare' || n % 500 ELSE E'it''s "common", \\ {한글}' END, ARRAY['x' || n % 5, NULL, 'y' || n % 700],
        int4range(n, n + n % 10), int4multirange(int4range(n, n + n % 7)), '{}', n * interval '-1 s', '2026-01-01Z'::timestamptz + n * interval '1 min',
        NULL, n / 7.0 FROM generate_series(1, 30000) n;
    CREATE INDEX expressions ON skewed (lower(kind), id, (id % 11));
    CREATE TABLE "od'd"."t\" (a bool NOT NULL, b regclass) WITH (autovacuum_enabled = false);
    INSERT INTO "od'd"."t\" SELECT n % 3 = 0, 'skewed' FROM generate_series(1, 500) n;
    CREATE TABLE days (d int, v text) PARTITION BY RANGE (d);
    CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM (0) TO (300) WITH (autovacuum_enabled = false);
    CREATE TABLE days_2 PARTITION OF days FOR VALUES FROM (300) TO (900) WITH (autovacuum_enabled = false);
    INSERT INTO days SELECT n % 800, 'v' || n % 9 FROM generate_series(1, 4000) n;
    CREATE MATERIALIZED VIEW view WITH (autovacuum_enabled = false) AS SELECT kind, count(*) FROM skewed GROUP BY kind;
    CREATE TABLE extended (a int, b int) WITH (autovacuum_enabled = false); CREATE STATISTICS together ON a, b FROM extended;
    INSERT INTO extended SELECT n % 10, n % 20 FROM generate_series(1, 2000) n;
    CREATE TABLE incomplete (a int) WITH (autovacuum_enabled = false); INSERT INTO incomplete SELECT generate_series(1, 300);
    ANALYZE;
    DELETE FROM skewed WHERE id % 3 = 0; UPDATE "od'd"."t\" SET a = false;
    ALTER TABLE incomplete ADD COLUMN b int DEFAULT 1; CREATE TABLE never (a int) WITH (autovacuum_enabled = false);
    INSERT INTO never SELECT generate_series(1, 100);
"#;

/// Rows of `pg_stats` as text, without those of tables that are to be analyzed.
const STATS: &str = "SELECT coalesce(string_agg(s::text, E'\\n' ORDER BY schemaname, tablename, attname, inherited), '') FROM pg_stats s \
    WHERE schemaname IN ('public', 'od''d') AND tablename NOT IN ('extended', 'incomplete', 'never')";

/// Tables that ANALYZE went over.
const ANALYZED: &str = "SELECT coalesce(string_agg(relname, ' ' ORDER BY relname), '') FROM pg_stat_all_tables \
    WHERE schemaname IN ('public', 'od''d') AND (analyze_count > 0 OR last_analyze IS NOT NULL OR autoanalyze_count > 0)";

async fn text(url: &str, sql: &str) -> String {
    postgres(url).await.query_one(sql, &[]).await.unwrap().get(0)
}

async fn server(major: u32) -> Option<Postgres> {
    let binaries = require_postgres(major)?;
    // What ANALYZE collects by itself at the target is not what the source has.
    let settings = [("default_statistics_target", "20"), ("stats_fetch_consistency", "none")];
    let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let settings = if major < 15 { Vec::new() } else { settings.collect() };
    let options = PostgresOptions { settings, ..PostgresOptions::default() };
    let server = Postgres::start(&binaries, options).unwrap();
    let client = postgres(&server.url("postgres")).await;
    for name in ["source", "target", "other"] {
        client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    }
    Some(server)
}

async fn execute(url: &str, sql: &str) {
    postgres(url).await.batch_execute(sql).await.unwrap();
}

/// Which tables were analyzed. Where autovacuum is off for a table, index builds do not count its rows: the number is the
/// source's.
async fn analyzed_is(url: &str, wanted: &str) {
    assert_eq!(text(url, ANALYZED).await, wanted);
    let counted = "SELECT string_agg(relname || reltuples, ' ' ORDER BY relname) FROM pg_class WHERE relname IN ('skewed', 'days_1', 'incomplete')";
    let counted = text(url, counted).await;
    assert!(counted.contains("incomplete300") && counted.contains("skewed30000"), "{counted}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_of_a_source_are_imported_and_nothing_is_analyzed() {
    let Some(server) = server(18).await else { return };
    let [from, to, other] = ["source", "target", "other"].map(|name| server.url(name));
    execute(&from, SKEWED).await;
    let before = text(&from, STATS).await;
    assert!(before.lines().count() >= 18 && before.contains("rare"), "{before}");
    let here = folder();
    let job = ["migrate", "--from", &from, "--to", &to];

    let plan = dbhaul(here.path(), &[&job[..], &["--dry-run", "--json"]].concat()).exits(0).json();
    let plan = &plan["targets"][0];
    for (table, wanted) in [
        ("skewed", "imported"),
        ("days_1", "imported"),
        ("t\\", "imported"),
        ("extended", "collected"),
        ("incomplete", "collected"),
        ("never", "collected"),
    ] {
        let found =
            plan["tables"].as_array().unwrap().iter().find(|one| one["table"]["name"] == table).unwrap();
        assert_eq!(found["statistics"], wanted, "{table}");
    }
    let nodes = plan["graph"]["nodes"].as_array().unwrap();
    let of = |work: &str| nodes.iter().filter(|node| node["work"] == work).count();
    assert_eq!((of("import-statistics"), of("analyze")), (4, 3));
    dbhaul(here.path(), &[&job[..], &["--dry-run"]].concat())
        .exits(0)
        .shows("import statistics of public.skewed")
        .shows("analyze public.extended")
        .shows("imported")
        .shows("ANALYZE");

    dbhaul(here.path(), &job).exits(0);
    assert_eq!(text(&to, STATS).await, before);
    analyzed_is(&to, "extended incomplete never").await;
    let extended = "SELECT count(*)::text FROM pg_stats_ext WHERE statistics_name = 'together' AND n_distinct IS NOT NULL";
    assert_eq!(text(&to, extended).await, "1");
    // The size is that of the target's own file.
    let own = "SELECT (relpages = pg_relation_size(oid) / 8192)::text FROM pg_class WHERE relname = 'skewed'";
    assert_eq!(text(&to, own).await, "true");

    // A part of the rows has other statistics, and so have tables made of parts.
    dbhaul(here.path(), &["migrate", "--from", &from, "--to", &other, "--where", "skewed=id < 9000"])
        .exits(0);
    let some = text(&other, ANALYZED).await;
    assert_eq!(some, "days extended incomplete never skewed view");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_are_stored_with_a_backup_and_imported_by_its_restore() {
    let Some(server) = server(18).await else { return };
    let [from, to, other] = ["source", "target", "other"].map(|name| server.url(name));
    execute(&from, SKEWED).await;
    let before = text(&from, STATS).await;
    let here = folder();
    dbhaul(here.path(), &["init", "--repository", "store"]).exits(0);
    dbhaul(here.path(), &["backup", "--postgres", &from]).exits(0);
    dbhaul(here.path(), &["restore", "latest", "--postgres", &to, "--dry-run"])
        .exits(0)
        .shows("import statistics");
    dbhaul(here.path(), &["restore", "latest", "--postgres", &to]).exits(0);
    assert_eq!(text(&to, STATS).await, before);
    analyzed_is(&to, "extended incomplete never").await;

    // Histograms hold for one order of text alone.
    let other_order = "CREATE DATABASE sorted TEMPLATE template0 LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C' LOCALE 'C' ENCODING 'UTF8'";
    execute(&server.url("postgres"), other_order).await;
    let sorted = server.url("sorted");
    dbhaul(here.path(), &["restore", "latest", "--postgres", &sorted]).exits(0);
    assert!(text(&sorted, ANALYZED).await.contains("skewed"));

    // What is left out of a backup is not in its statistics either.
    dbhaul(here.path(), &["init", "--repository", "part"]).exits(0);
    let job = ["backup", "--repository", "part", "--postgres", &from, "--exclude-table-data", "skewed"];
    dbhaul(here.path(), &job).exits(0);
    let listed = dbhaul(here.path(), &["snapshots", "--repository", "part", "--json"]).exits(0).json();
    let id = listed["snapshots"][0]["id"].as_str().unwrap().to_owned();
    dbhaul(here.path(), &["restore", &id, "--repository", "part", "--postgres", &other]).exits(0);
    let known = "SELECT count(*)::text FROM pg_stats WHERE schemaname = 'public' AND tablename IN ('skewed', 'expressions', 'view')";
    assert_eq!(text(&other, known).await, "0");
    assert!(text(&other, STATS).await.contains("days_1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_of_an_older_source_are_collected() {
    let (Some(old), Some(new)) = (server(15).await, server(18).await) else { return };
    let (from, to) = (old.url("source"), new.url("target"));
    let sql = "CREATE TABLE t (a int PRIMARY KEY, b text) WITH (autovacuum_enabled = false); \
               INSERT INTO t SELECT n, 'v' || n % 5 FROM generate_series(1, 5000) n; ANALYZE";
    execute(&from, sql).await;
    let here = folder();
    let job = ["migrate", "--from", &from, "--to", &to];
    let plan = dbhaul(here.path(), &[&job[..], &["--dry-run", "--json"]].concat()).exits(0).json();
    assert_eq!(plan["targets"][0]["tables"][0]["statistics"], "collected");
    dbhaul(here.path(), &job).exits(0);
    assert_eq!(text(&to, ANALYZED).await, "t");
}
