//! Settings of target servers that stand in a restore's way (issue 16, bad input).
#![allow(clippy::unwrap_used, reason = "test code")]

use sandbox::testing::require_postgres;
use sandbox::{Postgres, PostgresOptions};

use crate::common::{dbhaul, folder, postgres};

fn server(settings: &[(&str, &str)]) -> Option<Postgres> {
    let binaries = require_postgres(15)?;
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Some(Postgres::start(&binaries, PostgresOptions { settings, ..PostgresOptions::default() }).unwrap())
}

/// Autovacuum works on every table as soon as it has a row, and takes the locks that index builds and keys want.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn autovacuum_at_the_target_costs_no_row_and_no_key() {
    let busy = [
        ("autovacuum_naptime", "1s"),
        ("autovacuum_max_workers", "6"),
        ("autovacuum_vacuum_threshold", "0"),
        ("autovacuum_vacuum_insert_threshold", "0"),
        ("autovacuum_analyze_threshold", "0"),
        ("autovacuum_vacuum_scale_factor", "0"),
        ("autovacuum_vacuum_insert_scale_factor", "0"),
        ("autovacuum_analyze_scale_factor", "0"),
        // It stays in the middle of a table for long.
        ("autovacuum_vacuum_cost_delay", "20ms"),
        ("autovacuum_vacuum_cost_limit", "20"),
        ("deadlock_timeout", "50ms"),
        ("log_autovacuum_min_duration", "0"),
    ];
    let (Some(source), Some(target)) = (server(&[]), server(&busy)) else { return };
    let mut sql = String::from("CREATE TABLE t0 (a int PRIMARY KEY, b int, c text); ");
    for n in 1..40 {
        sql += &format!("CREATE TABLE t{n} (a int PRIMARY KEY, b int REFERENCES t{}, c text); ", n - 1);
    }
    for n in 0..40 {
        sql += &format!(
            "INSERT INTO t{n} SELECT n, n, repeat('x', 200) FROM generate_series(1, 3000) n; CREATE INDEX ON t{n} (b); CREATE INDEX ON t{n} (c, a);"
        );
    }
    let (from, here) = (source.url("postgres"), folder());
    postgres(&from).await.batch_execute(&sql).await.unwrap();
    postgres(&target.url("postgres")).await.batch_execute("CREATE DATABASE target").await.unwrap();
    let to = target.url("target");
    // Slow enough for autovacuum to come in the middle.
    let job = ["migrate", "--from", &from, "--to", &to, "--jobs", "3", "--rate-limit", "4MiB/s"];
    dbhaul(here.path(), &job).exits(0).shows("40 of 40 tables equal, 120,000 rows");
    let ran = "SELECT sum(autovacuum_count + autoanalyze_count)::int8 FROM pg_stat_user_tables";
    let ran: i64 = postgres(&to).await.query_one(ran, &[]).await.unwrap().get(0);
    let log = target.log();
    assert!(ran > 0 || log.contains("canceling autovacuum task"), "autovacuum never came\n{log}");
    dbhaul(here.path(), &["compare", &from, &to]).exits(0);
}

/// More memory for each index build than the machine has: builds get what there is, and that is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn index_builds_get_no_more_memory_than_the_machine_has() {
    let (Some(source), Some(target)) = (server(&[]), server(&[("maintenance_work_mem", "2000GB")])) else {
        return;
    };
    let (from, to, here) = (source.url("postgres"), target.url("target"), folder());
    let sql = "CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 5000)";
    postgres(&from).await.batch_execute(sql).await.unwrap();
    postgres(&target.url("postgres")).await.batch_execute("CREATE DATABASE target").await.unwrap();
    let machine = std::fs::read_to_string("/proc/meminfo").unwrap();
    let machine: u64 = machine.split_whitespace().nth(1).unwrap().parse().unwrap();
    // So many builds that the most which a server may take, 2 GiB each, is more than there is.
    let jobs = (machine / (2 << 20) + 2).to_string();
    let job = ["migrate", "--from", &from, "--to", &to, "--jobs", &jobs];
    let plan = dbhaul(here.path(), &[&job[..], &["--dry-run", "--json"]].concat()).exits(0).json();
    let plan = &plan["targets"][0];
    let (builds, bytes) = (&plan["index-memory"]["builds"], &plan["index-memory"]["bytes"]);
    assert!(builds.as_u64().unwrap() * bytes.as_u64().unwrap() <= machine * 1024 / 2, "{builds} {bytes}");
    let said = "the server's maintenance_work_mem is 2048000 MiB, but the machine has";
    assert!(
        plan["warnings"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["message"].as_str().unwrap().contains(said)),
        "{plan}"
    );
    dbhaul(here.path(), &job).exits(0).says(said);
}
