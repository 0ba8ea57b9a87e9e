//! TimescaleDB: hypertables, compression, aggregates and policies are copied unchanged, between versions, from a
//! snapshot and from a plain database.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "test code")]

use crate::common::{dbhaul, folder, postgres, target_name};
use sandbox::testing::{Pglite, require_postgres, require_timescale};
use sandbox::{Postgres, PostgresOptions};

const HISTORY: &str = include_str!("timescale/history.sql");

/// In PGlite a session inherits what another one has set.
async fn client(url: &str) -> tokio_postgres::Client {
    let client = postgres(url).await;
    client.batch_execute("RESET ALL; SET search_path = public").await.unwrap();
    client
}

/// Runs a file statement by statement: a refresh refuses to be one of several.
async fn fill(url: &str, sql: &str) {
    let client = client(url).await;
    for statement in sql.split_inclusive(";\n") {
        if let Err(error) = client.batch_execute(statement).await {
            panic!("{error:?}\n{statement}");
        }
    }
}

async fn column(url: &str, sql: &str) -> Vec<String> {
    let messages = client(url).await.simple_query(sql).await.unwrap();
    let text = |message: &tokio_postgres::SimpleQueryMessage| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("<null>").to_owned()),
        _ => None,
    };
    messages.iter().filter_map(text).collect()
}

/// The extension's own view of a database, without generated names and ids.
async fn fingerprint(url: &str) -> Vec<String> {
    let queries = [
        "SELECT concat_ws('|', 'chunk', coalesce(a.user_view_name, c.hypertable_name), range_start, range_end, range_start_integer, range_end_integer, is_compressed) \
         FROM timescaledb_information.chunks c JOIN _timescaledb_catalog.hypertable h ON h.schema_name = c.hypertable_schema AND h.table_name = c.hypertable_name \
         LEFT JOIN _timescaledb_catalog.continuous_agg a ON a.mat_hypertable_id = h.id ORDER BY 1",
        "SELECT concat_ws('|', 'dimension', hypertable_schema, hypertable_name, dimension_number, column_name, time_interval, integer_interval, integer_now_func, num_partitions) \
         FROM timescaledb_information.dimensions WHERE hypertable_schema !~ '^_' ORDER BY 1",
        "SELECT concat_ws('|', 'compression', hypertable_name, attname, segmentby_column_index, orderby_column_index, orderby_asc, orderby_nullsfirst) \
         FROM timescaledb_information.compression_settings WHERE hypertable_schema !~ '^_' ORDER BY 1",
        "SELECT concat_ws('|', 'job', proc_name, schedule_interval, max_runtime, max_retries, retry_period, scheduled, fixed_schedule, initial_start, hypertable_schema, hypertable_name, \
         config - 'hypertable_id' - 'mat_hypertable_id') FROM timescaledb_information.jobs WHERE job_id >= 1000 ORDER BY 1",
        "SELECT concat_ws('|', 'aggregate', user_view_schema, user_view_name, materialized_only, _timescaledb_functions.cagg_watermark(mat_hypertable_id)) \
         FROM _timescaledb_catalog.continuous_agg ORDER BY 1",
        "SELECT concat_ws('|', 'index', tablename, regexp_replace(indexdef, 'INDEX .* ON', 'INDEX ON')) FROM pg_indexes WHERE schemaname !~ '^(_|pg)' ORDER BY 1",
        "SELECT 'rows|' || count(*) || '|' || sum(high) || '|' || sum(volume) FROM candles",
        "SELECT 'rows|' || count(*) || '|' || sum(\"Volume!\") FROM \"Daily Candles\"",
        "SELECT 'rows|' || count(*) || '|' || sum(sum) FROM gone_sums",
    ];
    let mut out = Vec::new();
    for sql in queries {
        out.extend(column(url, sql).await);
    }
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_database_moves_to_timescale_and_from_there_by_a_snapshot_to_another() {
    let (Some(binaries), Some(middle), Some(last)) =
        (require_postgres(15), Pglite::require(), Pglite::require())
    else {
        return;
    };
    let plain = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    let here = folder();
    let tables = "CREATE TABLE market_data (time timestamptz NOT NULL, symbol text NOT NULL, price numeric(20,8), volume double precision, \"Odd Col\" text);
        INSERT INTO market_data SELECT '2026-01-01'::timestamptz + (i || ' min')::interval, 'S' || (i % 7), i * 1.5, i % 100, NULL FROM generate_series(0, 20000) i;
        CREATE TABLE plain (id serial PRIMARY KEY, t text); INSERT INTO plain (t) SELECT 't' || i FROM generate_series(1, 500) i;";
    postgres(&plain.url("postgres")).await.batch_execute(tables).await.unwrap();

    // The new home was made by its own scripts: the same table is a hypertable there.
    fill(
        &middle.url(),
        "CREATE EXTENSION timescaledb;\n\
         CREATE TABLE market_data (time timestamptz NOT NULL, symbol varchar(20) NOT NULL, price numeric(20,8), volume double precision, \"Odd Col\" text, extra int DEFAULT 3);\n\
         SELECT create_hypertable('market_data', 'time', chunk_time_interval => interval '1 day');\n\
         CREATE TABLE plain (id serial PRIMARY KEY, t text);\n",
    )
    .await;
    let (from, to) = (plain.url("postgres"), middle.url());
    let migrate = ["migrate", "--from", &from, "--to", &to, "--jobs", "1", "--into-existing"];
    // text does not surely fit into varchar(20).
    dbhaul(here.path(), &migrate)
        .exits(5)
        .says("column public.market_data.symbol is character varying(20) at the target");
    fill(&to, "ALTER TABLE market_data ALTER COLUMN symbol TYPE text;\n").await;
    dbhaul(here.path(), &migrate).exits(0).shows("2 of 2 tables equal, 20,501 rows");
    dbhaul(here.path(), &migrate).exits(5).says("table public.market_data holds rows");
    let name = target_name(&to);
    let again = [&migrate[..], &["--on-existing", "truncate", "--replace", &name]].concat();
    dbhaul(here.path(), &again).exits(0).shows("2 of 2 tables equal, 20,501 rows");

    // From here on with everything that the extension knows.
    fill(&to, "DROP TABLE market_data;\nDROP TABLE plain;\n").await;
    fill(&to, HISTORY).await;
    let repository = here.path().join("repository");
    let repository = repository.to_str().unwrap();
    dbhaul(here.path(), &["init", "--repository", repository]).exits(0);
    let backup = ["backup", "--repository", repository, "--postgres", &to, "--jobs", "1"];
    dbhaul(here.path(), &backup).exits(0);
    let end = last.url();
    let restore = ["restore", "latest", "--repository", repository, "--postgres", &end, "--jobs", "1"];
    // Neither preloaded nor created: reported before anything is written.
    dbhaul(here.path(), &restore).exits(5).says("shared_preload_libraries");
    fill(&end, "CREATE EXTENSION timescaledb;\n").await;
    dbhaul(here.path(), &restore).exits(0).shows("10 of 10 tables equal").shows("schema equal");
    assert_eq!(fingerprint(&end).await, fingerprint(&to).await);
    let compare = ["compare", &to, &end, "--jobs", "1"];
    dbhaul(here.path(), &compare).exits(0);

    // A chunk that is no longer compressed, a job that was changed: both are differences.
    fill(&end, "SELECT decompress_chunk(c) FROM show_chunks('market_data') c LIMIT 1;\n").await;
    fill(&end, "SELECT alter_job(job_id, scheduled => true) FROM timescaledb_information.jobs WHERE proc_name = 'chore';\n").await;
    let differs = dbhaul(here.path(), &compare).exits(3);
    differs.shows("chunks of hypertable public.market_data").shows("job chore");
    // Existing objects are replaced, and nothing else is lost.
    let name = target_name(&end);
    let clean = [&restore[..], &["--clean", "--replace", &name]].concat();
    dbhaul(here.path(), &clean).exits(0).shows("10 of 10 tables equal");
    assert_eq!(fingerprint(&end).await, fingerprint(&to).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run by scripts/test --all, where two native builds of TimescaleDB are named"]
async fn everything_moves_up_and_down_between_versions() {
    let builds = require_timescale();
    let settings = [("shared_preload_libraries", "timescaledb"), ("timescaledb.telemetry_level", "off")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let start = |binaries| {
        let settings =
            [settings.to_vec(), vec![("max_worker_processes".to_owned(), "20".to_owned())]].concat();
        Postgres::start(binaries, PostgresOptions { settings, ..PostgresOptions::default() }).unwrap()
    };
    let here = folder();
    for (at, from) in builds.iter().enumerate() {
        for to in builds.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, to)| to) {
            let (from, to) = (start(from), start(to));
            for server in [&from, &to] {
                let client = postgres(&server.url("postgres")).await;
                client.batch_execute("CREATE DATABASE app").await.unwrap();
            }
            let (from, to) = (from.url("app"), to.url("app"));
            fill(&from, "CREATE EXTENSION timescaledb;\n").await;
            fill(&from, HISTORY).await;
            // Another role owns a job; at the target it has another name, and at first may not log in.
            fill(&from, "CREATE ROLE trader LOGIN;\nSET ROLE trader;\nSELECT add_job('chore', '2 hours', fixed_schedule => false);\n").await;
            fill(&to, "CREATE ROLE merchant;\n").await;
            let migrate =
                ["migrate", "--from", &from, "--to", &to, "--jobs", "2", "--role-map", "trader=merchant"];
            dbhaul(here.path(), &migrate).exits(5).says("role merchant owns jobs and may not log in");
            fill(&to, "ALTER ROLE merchant LOGIN;\n").await;
            let moved = dbhaul(here.path(), &migrate);
            moved.exits(0).shows("10 of 10 tables equal").shows("schema equal");
            assert_eq!(fingerprint(&to).await, fingerprint(&from).await);
            let owners = "SELECT owner::text FROM timescaledb_information.jobs WHERE job_id >= 1000 ORDER BY owner::text <> 'merchant' LIMIT 1";
            assert_eq!(column(&to, owners).await, ["merchant"]);
            dbhaul(here.path(), &["compare", &from, &to]).exits(3).shows("as merchant");
            let versions = "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'";
            eprintln!("{:?} -> {:?}: equal", column(&from, versions).await, column(&to, versions).await);
        }
    }
}
