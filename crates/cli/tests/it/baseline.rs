//! `dbhaul baseline` against real servers.
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::{Run, dbhaul, folder, postgres};
use sandbox::testing::require_postgres;
use sandbox::{Postgres, PostgresOptions};

fn server() -> Option<Postgres> {
    let binaries = require_postgres(15)?;
    Some(Postgres::start(&binaries, PostgresOptions::default()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_captured_baseline_passes_until_a_column_is_dropped() {
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

    // A misspelled type is an error in the baseline, reported with file, line and a suggestion.
    file("wrong.toml", &live.stdout.replace("type = \"date\"", "type = \"dat\""));
    let line = live.stdout.lines().position(|line| line.contains("type = \"date\"")).unwrap() + 1;
    run(&["baseline", "check", &url, "--baseline", "wrong.toml"])
        .exits(2)
        .says(&format!("wrong.toml: line {line}: column public."))
        .says("unknown type `dat`; did you mean `date`?");
    // A schema pattern that matches nothing is most often misspelt.
    run(&["baseline", "capture", &url, "--schema", "pubic"]).exits(2).says("pubic");
    run(&["baseline", "capture"]).exits(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_are_planned_applied_and_stopped_at_the_first_error() {
    let Some(server) = server() else { return };
    let url = server.url("postgres");
    let here = folder();
    let run = |args: &[&str]| -> Run { dbhaul(here.path(), args) };
    std::fs::create_dir(here.path().join("m")).unwrap();
    let file = |name: &str, text: &str| std::fs::write(here.path().join("m").join(name), text).unwrap();
    let plan = ["baseline", "plan", &url, "--migrations", "m"];
    let apply = ["baseline", "apply", &url, "--migrations", "m"];
    run(&plan).exits(2).says("no file ends in .sql");

    file("1_make.up.sql", "CREATE TABLE a (id int PRIMARY KEY);\nINSERT INTO a VALUES (1);\n");
    file("1_make.down.sql", "DROP TABLE a;\n");
    file("2_seed.sql", "INSERT INTO a VALUES (2);\n");
    run(&plan).exits(3).shows("1_make").shows("run as number 2").shows("2 to apply");
    run(&apply).exits(0).shows("applied 1_make (2 statements").shows("applied 2_seed");
    // A file that only inserts rows leaves no trace in the schema: the user must decide, and it is not run again.
    run(&plan).exits(0).shows("cannot tell").shows("`--run 2_seed`").shows("does not show whether it ran");

    // An error: file, line, SQLSTATE, and what state things are in.
    file("3_bad.sql", "CREATE TABLE b (id int);\n\nINSERT INTO a\nVALUES (1);\n");
    file("4_later.sql", "CREATE TABLE c (id int);\n");
    run(&apply)
        .exits(1)
        .says("m/3_bad.sql, line 3")
        .says("SQLSTATE 23505")
        .says("detail: Key (id)=(1) already exists.")
        .says("nothing of it is in the database")
        .says("not run: 4_later")
        .says("database postgres");
    // Commands of psql are refused before anything runs, with file and line.
    file("3_bad.sql", "CREATE TABLE b (id int);\n\\copy b from 'x.csv'\n");
    run(&apply)
        .exits(5)
        .says("m/3_bad.sql, line 2: has a meta-command of psql: \\copy b")
        .says("--skip NAME");
    run(&plan).exits(3).shows("BLOCKED").shows("m/3_bad.sql, line 2");
    run(&[apply.as_slice(), &["--skip", "3_bad"]].concat()).exits(0).shows("applied 4_later");
    run(&[apply.as_slice(), &["--skip", "3_bat"]].concat()).exits(2).says("did you mean `3_bad`?");

    // With a baseline that is still not met after the run, the exit code is 3.
    std::fs::write(here.path().join("want.toml"), "[table.d.columns]\nid = \"int\"\n").unwrap();
    file("3_bad.sql", "BEGIN;\nCREATE TABLE b (id int);\nCOMMIT;\n");
    let wanted = ["--baseline", "want.toml"];
    run(&[apply.as_slice(), &wanted].concat())
        .exits(3)
        .shows("by its own BEGIN and COMMIT")
        .shows("baseline FAILED");
    file("5_d.sql", "CREATE TABLE d (id int);\nCREATE INDEX CONCURRENTLY d_id ON d (id);\n");
    let done = run(&[apply.as_slice(), &wanted, &["--json"]].concat()).exits(0).json();
    assert_eq!(done["applied"][0]["mode"], "statements", "{done:#}");
    assert_eq!(done["verdict"]["passed"], true);
}
