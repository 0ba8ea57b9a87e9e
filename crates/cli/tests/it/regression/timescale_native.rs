//! What only native servers show: both directions between two native builds of TimescaleDB.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "test code")]

use crate::common::{dbhaul, folder, postgres};
use sandbox::testing::{require_timescale, require_timescale_apache};
use sandbox::{Postgres, PostgresOptions};

fn start(binaries: &sandbox::PostgresBinaries) -> Postgres {
    let settings = [
        ("shared_preload_libraries", "timescaledb"),
        ("timescaledb.telemetry_level", "off"),
        ("max_worker_processes", "20"),
        ("max_prepared_transactions", "5"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let options = PostgresOptions { settings: settings.to_vec(), ..PostgresOptions::default() };
    Postgres::start(binaries, options).unwrap()
}

/// Runs statement by statement, each on a line of its own: a refresh refuses to be one of several.
async fn run(url: &str, sql: &str) {
    let client = postgres(url).await;
    for statement in sql.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Err(error) = client.batch_execute(statement).await {
            panic!("{error:?}\n{statement}");
        }
    }
}

async fn lines(url: &str, sql: &str) -> Vec<String> {
    let messages = postgres(url).await.simple_query(sql).await.unwrap();
    messages
        .iter()
        .filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("<null>").to_owned()),
            _ => None,
        })
        .collect()
}

/// Both directions, each with fresh servers.
async fn both_ways<F>(check: impl Fn(Postgres, Postgres) -> F)
where
    F: Future<Output = ()>,
{
    let builds = require_timescale();
    let (Some(old), Some(new)) = (builds.first(), builds.get(1)) else { return };
    for (from, to) in [(old, new), (new, old)] {
        let (from, to) = (start(from), start(to));
        for server in [&from, &to] {
            run(&server.url("postgres"), "CREATE DATABASE app").await;
        }
        check(from, to).await;
    }
}

const HOURS: &str = "CREATE EXTENSION IF NOT EXISTS timescaledb
    CREATE TABLE h (ts timestamptz NOT NULL, v int)
    SELECT create_hypertable('h', 'ts', chunk_time_interval => interval '7 days')
    INSERT INTO h SELECT '2026-01-01'::timestamptz + g * interval '1 hour', g FROM generate_series(0, 1000) g";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run by scripts/test --all, where two native builds of TimescaleDB are named"]
async fn ranges_not_refreshed_at_the_source_are_not_at_the_target() {
    both_ways(async |from, to| {
        let (here, from, to) = (folder(), from.url("app"), to.url("app"));
        run(&from, HOURS).await;
        // A window of days; a month by another time zone; one whose raw rows are gone.
        run(
            &from,
            "CREATE MATERIALIZED VIEW c WITH (timescaledb.continuous, timescaledb.materialized_only = true) AS SELECT time_bucket('1 day', ts) b, sum(v) s FROM h GROUP BY 1 WITH NO DATA
             CALL refresh_continuous_aggregate('c', '2026-01-05', '2026-02-10')
             CREATE MATERIALIZED VIEW months WITH (timescaledb.continuous) AS SELECT time_bucket('1 month', ts, 'Asia/Seoul') b, count(*) n FROM h GROUP BY 1 WITH NO DATA
             CALL refresh_continuous_aggregate('months', NULL, NULL)
             SELECT set_chunk_time_interval('c', interval '3 days')
             SELECT drop_chunks('h', older_than => '2026-01-15'::timestamptz)
             INSERT INTO h VALUES ('2026-02-05 01:00', 1000000)",
        )
        .await;
        dbhaul(here.path(), &["migrate", "--from", &from, "--to", &to])
            .exits(0)
            .says("continuous aggregate public.c: not refreshed from")
            .says("from 2026-02-05 00:00:00+00 up to 2026-02-05 23:59:59.999999+00")
            .shows("3 of 3 tables equal")
            .shows("schema equal");
        let rows = "SELECT concat_ws('|', b, s) FROM c ORDER BY 1";
        assert_eq!(lines(&to, rows).await, lines(&from, rows).await);
        // The same refresh has the same result on both sides: changed ranges are computed, and nothing else. (The
        // range before the first raw row is skipped by the first refresh of 2.28, but not by that of 2.24.)
        for url in [&from, &to] {
            run(url, "CALL refresh_continuous_aggregate('c', '2026-01-15', '2026-02-10')").await;
        }
        assert_eq!(lines(&to, rows).await, lines(&from, rows).await);
        dbhaul(here.path(), &["compare", &from, &to]).exits(0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run by scripts/test --all, where two native builds of TimescaleDB are named"]
async fn policies_in_any_order_and_of_other_owners_arrive() {
    both_ways(async |from, to| {
        let here = folder();
        for server in [&from, &to] {
            run(&server.url("postgres"), "CREATE ROLE t1 LOGIN\nCREATE ROLE t2 LOGIN").await;
        }
        let (from, to) = (from.url("app"), to.url("app"));
        run(&from, HOURS).await;
        run(
            &from,
            "CREATE MATERIALIZED VIEW c WITH (timescaledb.continuous) AS SELECT time_bucket('1 hour', ts) b, sum(v) FROM h GROUP BY 1 WITH NO DATA
             CALL refresh_continuous_aggregate('c', NULL, NULL)
             SELECT add_continuous_aggregate_policy('c', interval '7 days', interval '1 hour', interval '1 hour', initial_start => '2040-01-01')
             ALTER MATERIALIZED VIEW c SET (timescaledb.compress)
             SELECT add_compression_policy('c', interval '60 days', initial_start => '2040-01-01')
             SELECT remove_continuous_aggregate_policy('c')
             SELECT add_continuous_aggregate_policy('c', interval '30 days', interval '1 hour', interval '1 hour', initial_start => '2040-01-01')
             GRANT ALL ON SCHEMA public TO t1, t2
             SET ROLE t1
             CREATE TABLE o (ts timestamptz NOT NULL, v int)
             SELECT create_hypertable('o', 'ts')
             SELECT add_retention_policy('o', interval '20 years', initial_start => '2040-01-01')
             RESET ROLE
             ALTER TABLE o OWNER TO t2
             GRANT SELECT ON o TO t1",
        )
        .await;
        dbhaul(here.path(), &["migrate", "--from", &from, "--to", &to]).exits(0).shows("schema equal");
        let jobs = "SELECT concat_ws('|', proc_name, scheduled) FROM timescaledb_information.jobs WHERE job_id >= 1000 ORDER BY 1";
        assert_eq!(lines(&to, jobs).await, lines(&from, jobs).await);
        // In 2.24 a policy keeps the table's first owner, in 2.28 it gets the new one: reported, but not a
        // difference.
        dbhaul(here.path(), &["compare", &from, &to]).exits(0);
        dbhaul(here.path(), &["compare", &to, &from]).exits(0);
        let grants = "SELECT relacl::text FROM pg_class WHERE relname = 'o'";
        assert_eq!(lines(&to, grants).await, lines(&from, grants).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run by scripts/test --all, where two native builds of TimescaleDB are named"]
async fn chunks_that_are_referred_to_are_compressed_first_and_places_are_kept() {
    both_ways(async |from, to| {
        let here = folder();
        for server in [&from, &to] {
            let space = server.socket_dir().join("space");
            std::fs::create_dir(&space).unwrap();
            std::os::unix::fs::chown(&space, owner(server.data_dir()), None).unwrap();
            run(&server.url("postgres"), &format!("CREATE TABLESPACE tsa LOCATION '{}'", space.display())).await;
        }
        let (from, to) = (from.url("app"), to.url("app"));
        run(
            &from,
            "CREATE EXTENSION timescaledb
             CREATE TABLE h (ts timestamptz NOT NULL, id int, PRIMARY KEY (id, ts))
             SELECT create_hypertable('h', 'ts', chunk_time_interval => interval '7 days')
             SELECT attach_tablespace('tsa', 'h')
             INSERT INTO h SELECT '2026-01-01'::timestamptz + g * interval '1 hour', g FROM generate_series(0, 500) g
             ALTER TABLE h SET (timescaledb.compress, timescaledb.compress_segmentby = 'id')
             SELECT compress_chunk(c) FROM show_chunks('h', older_than => '2026-01-10'::timestamptz) c
             CREATE TABLE r (id int, ts timestamptz, FOREIGN KEY (id, ts) REFERENCES h (id, ts))
             INSERT INTO r SELECT id, ts FROM h WHERE id % 50 = 0
             CREATE SCHEMA own
             CREATE TABLE placed (ts timestamptz NOT NULL, v int) TABLESPACE tsa
             SELECT create_hypertable('placed', 'ts', associated_schema_name => 'own', associated_table_prefix => 'mine')
             INSERT INTO placed VALUES ('2026-01-01', 1)",
        )
        .await;
        // A chunk of one's own making is named.
        let chunk = lines(&from, "SELECT show_chunks('h')::text ORDER BY 1 LIMIT 1").await.remove(0);
        run(&from, &format!("CREATE INDEX only_here ON {chunk} (ts)")).await;
        dbhaul(here.path(), &["migrate", "--from", &from, "--to", &to])
            .exits(0)
            .says("index only_here of chunk")
            .shows("3 of 3 tables equal")
            .shows("schema equal");
        assert_eq!(lines(&to, "SELECT tablename FROM pg_tables WHERE schemaname = 'own' AND tablename LIKE 'mine%'").await.len(), 1);
    })
    .await;
}

/// The user that a folder belongs to.
fn owner(folder: std::path::PathBuf) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    Some(std::fs::metadata(folder).unwrap().uid())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run by scripts/test --all, where two native builds of TimescaleDB are named"]
async fn the_owner_role_alone_moves_everything() {
    both_ways(async |from, to| {
        let here = folder();
        for server in [&from, &to] {
            run(&server.url("postgres"), "CREATE ROLE app LOGIN\nALTER DATABASE app OWNER TO app").await;
            // As images make it: it belongs to the superuser.
            run(&server.url("app"), "CREATE EXTENSION timescaledb").await;
        }
        let [from, to] = [from.url("app"), to.url("app")].map(|url| url.replace("//postgres@", "//app@"));
        run(&from, HOURS).await;
        run(
            &from,
            "ALTER TABLE h SET (timescaledb.compress)
             SELECT compress_chunk(c) FROM show_chunks('h', older_than => '2026-01-20'::timestamptz) c
             CREATE MATERIALIZED VIEW c WITH (timescaledb.continuous) AS SELECT time_bucket('1 day', ts) b, sum(v) s FROM h GROUP BY 1 WITH NO DATA
             CALL refresh_continuous_aggregate('c', NULL, '2026-02-01')
             SELECT add_continuous_aggregate_policy('c', interval '7 days', interval '1 day', interval '1 hour', initial_start => '2040-01-01')
             SELECT add_compression_policy('h', interval '7 days', initial_start => '2040-01-01')
             CREATE PROCEDURE my_job(job_id int, config jsonb) LANGUAGE plpgsql AS $$ BEGIN PERFORM 1; END $$
             SELECT add_job('my_job', '1 day', initial_start => '2040-01-01')
             CREATE TABLE plain (id serial PRIMARY KEY, t text)
             INSERT INTO plain (t) SELECT 'x' || g FROM generate_series(1, 100) g",
        )
        .await;
        dbhaul(here.path(), &["migrate", "--from", &from, "--to", &to])
            .exits(0)
            .shows("3 of 3 tables equal")
            .shows("schema equal");
        dbhaul(here.path(), &["init", "--repository", "r"]).exits(0);
        dbhaul(here.path(), &["backup", "--repository", "r", "--postgres", &from]).exits(0);
        let (socket, database) = to.split_once('@').unwrap().1.rsplit_once('/').unwrap();
        let name = &format!("{}:5432/{database}", socket.replace("%2F", "/"));
        dbhaul(here.path(), &["restore", "latest", "--repository", "r", "--postgres", &to, "--clean", "--replace", name])
            .exits(0)
            .shows("3 of 3 tables equal");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run by scripts/test --all, where two native builds of TimescaleDB are named"]
async fn what_does_not_fit_is_found_before_rows_move() {
    let builds = require_timescale();
    let (Some(old), Some(new)) = (builds.first(), builds.get(1)) else { return };
    let (old, new, here) = (start(old), start(new), folder());
    for server in [&old, &new] {
        run(&server.url("postgres"), "CREATE DATABASE app\nCREATE DATABASE other").await;
    }
    let (from, to) = (new.url("app"), old.url("app"));
    run(&from, HOURS).await;
    // The extension does not come with single tables.
    let one = ["migrate", "--from", &from, "--to", &to, "--table", "h"];
    dbhaul(here.path(), &one).exits(5).says("extension timescaledb is not in this database");
    // In another schema, definitions would not find its functions.
    let elsewhere = old.url("other");
    run(&elsewhere, "CREATE SCHEMA ext\nCREATE EXTENSION timescaledb SCHEMA ext").await;
    dbhaul(here.path(), &["migrate", "--from", &from, "--to", &elsewhere])
        .exits(5)
        .says("extension timescaledb is in schema ext at the target and in schema public at the source");
    // 2.24 cannot switch triggers of hypertables off.
    run(
        &from,
        "CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'
         CREATE TRIGGER quiet BEFORE INSERT ON h FOR EACH ROW EXECUTE FUNCTION tf()
         ALTER TABLE h DISABLE TRIGGER quiet",
    )
    .await;
    dbhaul(here.path(), &["migrate", "--from", &from, "--to", &to])
        .exits(5)
        .says("trigger quiet on hypertable public.h")
        .says("nothing was written");
}

/// Plain hypertables are all that the Apache edition has: they come from it and go to it, and the rest is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run by scripts/test --all, where native builds of TimescaleDB of both licenses are named"]
async fn apache_servers_give_and_take_plain_hypertables() {
    let (community, apache) = (require_timescale(), require_timescale_apache());
    let (Some(old), Some(new)) = (apache.first(), apache.get(1)) else { return };
    let Some(full) = community.first() else { return };
    let (old, new, full, here) = (start(old), start(new), start(full), folder());
    for server in [&old, &new, &full] {
        run(&server.url("postgres"), "CREATE DATABASE app\nCREATE DATABASE other\nCREATE DATABASE third")
            .await;
    }
    let from = old.url("app");
    run(&from, HOURS).await;
    run(
        &from,
        "CREATE TABLE spread (ts timestamptz NOT NULL, d int NOT NULL, v int, UNIQUE (d, ts))
         SELECT create_hypertable('spread', 'ts', 'd', 3)
         INSERT INTO spread SELECT '2026-01-01'::timestamptz + g * interval '1 hour', g % 7, g FROM generate_series(0, 500) g
         CREATE TABLE plain (id serial PRIMARY KEY)
         INSERT INTO plain DEFAULT VALUES",
    )
    .await;
    // To the other license, to a newer version, and back to the older one.
    let (there, newer, back) = (full.url("app"), new.url("app"), old.url("other"));
    for (from, to) in [(&from, &there), (&from, &newer), (&newer, &back), (&there, &new.url("other"))] {
        dbhaul(here.path(), &["migrate", "--from", from, "--to", to])
            .exits(0)
            .shows("3 of 3 tables equal, 1,503 rows")
            .shows("schema equal");
        dbhaul(here.path(), &["compare", from, to]).exits(0);
    }
    dbhaul(here.path(), &["init", "--repository", "r"]).exits(0);
    dbhaul(here.path(), &["backup", "--repository", "r", "--postgres", &newer]).exits(0);
    let third = new.url("third");
    dbhaul(here.path(), &["restore", "latest", "--repository", "r", "--postgres", &third])
        .exits(0)
        .shows("3 of 3 tables equal, 1,503 rows");
    // Features of the other license are reported before anything is written if the extension exists in the database,
    // otherwise before a row is loaded: without it the server does not reveal its license.
    let rich = full.url("other");
    run(&rich, HOURS).await;
    run(
        &rich,
        "ALTER TABLE h SET (timescaledb.compress)
         CREATE MATERIALIZED VIEW c WITH (timescaledb.continuous) AS SELECT time_bucket('1 day', ts) b, count(*) FROM h GROUP BY 1 WITH NO DATA
         SELECT add_retention_policy('h', interval '20 years')",
    )
    .await;
    let to = old.url("third");
    for made in [true, false] {
        let refused = match made {
            true => {
                run(&to, "CREATE EXTENSION timescaledb").await;
                dbhaul(here.path(), &["migrate", "--from", &rich, "--to", &to])
                    .exits(5)
                    .says("nothing was written")
            }
            false => {
                run(&to, "DROP EXTENSION timescaledb").await;
                dbhaul(here.path(), &["migrate", "--from", &rich, "--to", &to]).exits(1)
            }
        };
        for what in [
            "compression of hypertable public.h",
            "continuous aggregate public.c",
            "under the Apache license",
        ] {
            assert!(refused.stderr.contains(what), "{what}\n{}", refused.stderr);
        }
        if made {
            assert_eq!(lines(&to, "SELECT count(*) FROM pg_class WHERE relname IN ('h', 'c')").await, ["0"]);
        } else {
            assert_eq!(lines(&to, "SELECT count(*) FROM h").await, ["0"]);
        }
    }
}
