//! `dbhaul baseline` against real servers.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use common::{Run, dbhaul, folder, postgres};
use sandbox::testing::require_postgres;
use sandbox::{Postgres, PostgresOptions};

fn server() -> Option<Postgres> {
    let binaries = require_postgres(15)?;
    Some(Postgres::start(&binaries, PostgresOptions::default()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn captured_live_or_from_a_snapshot_it_passes_until_a_column_is_dropped() {
    let Some(server) = server() else { return };
    let url = server.url("postgres");
    let client = postgres(&url).await;
    coinpilot::load_postgres(&client, 1).await.unwrap();
    let here = folder();
    let run = |args: &[&str]| -> Run { dbhaul(here.path(), args) };
    let file = |name: &str, text: &str| std::fs::write(here.path().join(name), text).unwrap();

    let live = run(&["baseline", "capture", &url]).exits(0);
    file("live.toml", &live.stdout);
    run(&["baseline", "check", "--to", &url, "--baseline", "live.toml"]).exits(0).shows("baseline passed");

    // The snapshot's catalog gives the same, but for the line that says where it comes from.
    run(&["init", "--repository", "store"]).exits(0);
    run(&["backup", "--postgres", &url]).exits(0);
    let stored = run(&["baseline", "capture", "--snapshot", "latest"]).exits(0);
    let body = |text: &str| text.lines().skip(1).map(|line| format!("{line}\n")).collect::<String>();
    assert_eq!(body(&live.stdout), body(&stored.stdout));

    client.batch_execute("ALTER TABLE daily_risk_state DROP COLUMN sell_count").await.unwrap();
    let found = run(&["baseline", "check", &url, "--baseline", "live.toml", "--json"]).exits(3).json();
    let findings = found["verdict"]["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "{found}");
    assert_eq!(findings[0]["object"], "column public.daily_risk_state.sell_count");
    run(&["baseline", "check", "--snapshot", "latest", "--baseline", "live.toml"]).exits(0);

    // A misspelt type is the baseline's fault, and is told with file, line and the type that was meant.
    file("wrong.toml", &live.stdout.replace("type = \"date\"", "type = \"dat\""));
    let line = live.stdout.lines().position(|line| line.contains("type = \"date\"")).unwrap() + 1;
    run(&["baseline", "check", &url, "--baseline", "wrong.toml"])
        .exits(2)
        .says(&format!("wrong.toml: line {line}: column public."))
        .says("`dat` is no type; did you mean `date`?");
    // A schema pattern that matches nothing is most often misspelt.
    run(&["baseline", "capture", &url, "--schema", "pubic"]).exits(2).says("pubic");
    run(&["baseline", "capture"]).exits(2);
}
