//! `--rate-limit` and `rate-limit`: a PostgreSQL source is read no faster than it allows.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::time::{Duration, Instant};

use sandbox::{Postgres, PostgresOptions};

use crate::common::{dbhaul, folder, postgres};

/// Issue 16, section 8. 8 MiB at 4 MiB/s take two seconds, in several tables and over all connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_connections_of_a_job_share_one_rate() {
    let Some(binaries) = sandbox::testing::require_postgres(15) else { return };
    let server = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    let client = postgres(&server.url("postgres")).await;
    for n in 0..4 {
        let sql = format!(
            "CREATE TABLE t{n} (a text); INSERT INTO t{n} SELECT repeat('x', 1023) FROM generate_series(1, 2048)"
        );
        client.batch_execute(&sql).await.unwrap();
    }
    client.batch_execute("CREATE DATABASE free").await.unwrap();
    client.batch_execute("CREATE DATABASE slow").await.unwrap();
    let here = folder();
    let at = here.path();
    let source = server.url("postgres");
    dbhaul(at, &["init", "--repository", "store"]).exits(0);

    let bare = folder();
    let timed_in = |at: &std::path::Path, args: &[&str]| {
        let began = Instant::now();
        dbhaul(at, args).exits(0);
        began.elapsed()
    };
    let timed = |args: &[&str]| timed_in(at, args);
    let backup = ["backup", "--postgres", &source, "--jobs", "4"];
    let free = timed(&backup);
    let limited = timed(&[&backup[..], &["--rate-limit", "4MiB/s"]].concat());
    assert!(limited > Duration::from_millis(1500), "{limited:?}, and {free:?} without a limit");

    let config = std::fs::read_to_string(at.join("dbhaul.toml")).unwrap();
    std::fs::write(
        at.join("dbhaul.toml"),
        config.replace("# rate-limit = \"50MiB/s\"", "rate-limit = \"4MiB/s\""),
    )
    .unwrap();
    assert!(timed(&backup) > Duration::from_millis(1500));
    let migrate = ["migrate", "--from", &source, "--jobs", "4", "--to"];
    let to = server.url("free");
    let free = timed_in(bare.path(), &[&migrate[..], &[&to]].concat());
    let to = server.url("slow");
    let limited = timed_in(bare.path(), &[&migrate[..], &[&to, "--rate-limit", "4MiB/s"]].concat());
    assert!(limited > Duration::from_millis(1500), "{limited:?}, and {free:?} without a limit");
    dbhaul(at, &["backup", "--rate-limit", "fast"]).exits(2).says("is not a rate");
}
