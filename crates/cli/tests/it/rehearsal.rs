//! Rehearsals: user-defined assertions, and a sandbox on another server.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sandbox::testing::require_postgres;
use sandbox::{Postgres, PostgresOptions};

use crate::common::{Run, command, dbhaul, folder, postgres};

struct Stage {
    source: Postgres,
    here: tempfile::TempDir,
}

/// A table with rows, owned by a role.
pub(crate) const POSITIONS: &str =
    "CREATE ROLE app; CREATE TABLE positions (id int PRIMARY KEY, symbol text);
    INSERT INTO positions SELECT n, 'KRW-BTC' FROM generate_series(1, 500) n;
    ALTER TABLE positions OWNER TO app";

impl Stage {
    async fn start() -> Option<Stage> {
        let binaries = require_postgres(15)?;
        let source = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
        let client = postgres(&source.url("postgres")).await;
        client.batch_execute(POSITIONS).await.unwrap();
        let here = folder();
        dbhaul(here.path(), &["init", "--no-config", "--repository", "store"]).exits(0);
        let stage = Stage { source, here };
        stage.configure("");
        stage.run(&["backup"]).exits(0);
        Some(stage)
    }

    fn configure(&self, more: &str) {
        let url = self.source.url("postgres");
        let text = format!(
            "[repository]\nurl = \"store\"\n\n[[source]]\nname = \"main\"\nkind = \"postgres\"\nurl = \"{url}\"\n\n{more}"
        );
        std::fs::write(self.here.path().join("dbhaul.toml"), text).unwrap();
    }

    fn run(&self, args: &[&str]) -> Run {
        dbhaul(self.here.path(), args)
    }
}

fn assertion(sql: &str, expect: &str) -> String {
    format!("[[rehearse.assert]]\nsql = \"{sql}\"\nexpect = {expect}\n\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn assertions_query_the_restored_data() {
    let Some(stage) = Stage::start().await else { return };
    let good = [
        assertion("SELECT count(*) FROM positions", "500"),
        assertion("SELECT count(*) > 1 FROM positions;", "true"),
        assertion(
            "SELECT id, symbol, NULL FROM positions ORDER BY id LIMIT 2",
            "\"1|KRW-BTC|\\n2|KRW-BTC|\"",
        ),
    ];
    stage.configure(&good.concat());
    let passed = stage.run(&["rehearse"]).exits(0);
    passed
        .shows("assertion `SELECT count(*) FROM positions` holds: `500`")
        .shows("time to restore and verify (RTO)")
        .shows("age of the data (RPO)");
    // It says in the end what would have been there, not only that there is something.
    let bad = [
        assertion("SELECT count(*) FROM positions", "501"),
        assertion("DELETE FROM positions", "\"\""),
        assertion("SELECT nothing FROM positions", "1"),
        assertion("SELECT n FROM generate_series(1, 2000) n", "1"),
        "[[rehearse.assert]]\nname = \"halted\"\nsql = \"SELECT 'a'\"\nexpect = \"b\"\n".to_owned(),
    ];
    stage.configure(&(good.concat() + &bad.concat()));
    let failed = stage.run(&["rehearse", "--json"]).exits(3).json();
    let asked = failed["assertions"].as_array().unwrap();
    let passed: Vec<bool> = asked.iter().map(|one| one["passed"].as_bool().unwrap()).collect();
    assert_eq!(passed, [true, true, true, false, false, false, false, false], "{failed}");
    assert_eq!((asked[3]["expected"].as_str(), asked[3]["got"].as_str()), (Some("501"), Some("500")));
    assert!(asked[4]["error"].as_str().unwrap().contains("SQLSTATE"), "{failed}");
    assert!(asked[5]["error"].as_str().unwrap().contains("42703"), "{failed}");
    assert!(asked[6]["error"].as_str().unwrap().contains("more than 1000 rows"), "{failed}");
    stage.run(&["rehearse"]).exits(3).shows("assertion `halted` FAILED: expected `b`, got `a`");
    // The result is the snapshot's, and the history of times is there.
    let status = stage.run(&["status", "--json"]).exits(3).json();
    assert_eq!(status["rehearsal"]["passed"], false);
    assert!(status["rehearsal"]["age-seconds"].as_i64().is_some(), "{status}");
    stage.run(&["backup"]).exits(0);
    stage.configure(&good.concat());
    stage.run(&["rehearse"]).exits(0);
    let status = stage.run(&["status", "--json"]).exits(0).json();
    let history = status["rehearsals"].as_array().unwrap();
    assert_eq!(history.len(), 2, "{status}");
    assert!(history.iter().all(|one| one["seconds"].as_f64().unwrap() > 0.0));
    stage.run(&["status"]).exits(0).shows("time to restore");
}

#[test]
fn an_assertion_names_a_source_that_there_is() {
    let here = folder();
    let source = |name: &str, kind: &str, url: &str| {
        format!("[[source]]\nname = \"{name}\"\nkind = \"{kind}\"\nurl = \"{url}\"\n\n")
    };
    let two = source("a", "postgres", "postgres://h/a") + &source("b", "postgres", "postgres://h/b");
    let cache = source("cache", "redis", "redis://h");
    let of = |source: &str| {
        format!("[[rehearse.assert]]\nsource = \"{source}\"\nsql = \"SELECT 1\"\nexpect = 1\n")
    };
    let sandbox =
        |source: &str| format!("[[rehearse.sandbox]]\nsource = \"{source}\"\nurl = \"postgres://h/x\"\n");
    for (text, said) in [
        (two.clone() + &assertion("SELECT 1", "1"), "does not say which"),
        (two.clone() + &of("c"), "is about `c`"),
        (cache.clone() + &of("cache"), "not a PostgreSQL source"),
        (cache + &sandbox("cache"), "only a database can be created beside others"),
        (two.clone() + &sandbox("a") + &sandbox("a"), "two of `rehearse.sandbox`"),
        (two.clone() + &sandbox("a") + "image = \"x\"\n", "is for kind = \"docker\""),
        (two.clone() + &sandbox("a") + "kind = \"docker\"\n", "takes neither a URL nor a password"),
        (two.clone() + "[[rehearse.sandbox]]\nsource = \"a\"\n", "needs `url`, or kind = \"docker\""),
        (two.clone() + "[[rehearse.sandbox]]\nsource = \"c\"\nkind = \"docker\"\n", "no such source"),
        (two + "[[rehearse.asert]]\nsql = \"x\"\n", "did you mean `assert`"),
    ] {
        std::fs::write(here.path().join("dbhaul.toml"), text).unwrap();
        dbhaul(here.path(), &["snapshots", "--repository", "x"]).exits(2).says(said);
    }
}

async fn databases(server: &Postgres) -> Vec<String> {
    let client = postgres(&server.url("postgres")).await;
    let rows = client.query("SELECT datname::text FROM pg_database ORDER BY 1", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_on_another_server_is_made_and_dropped() {
    let Some(stage) = Stage::start().await else { return };
    let binaries = require_postgres(18).or_else(|| require_postgres(15)).unwrap();
    let scratch = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    let client = postgres(&scratch.url("postgres")).await;
    client.batch_execute("CREATE ROLE rehearsal LOGIN CREATEDB").await.unwrap();
    client.batch_execute("CREATE DATABASE dbhaul_rehearsal_of_somebody_else").await.unwrap();
    let before = databases(&scratch).await;
    let roles = "SELECT string_agg(rolname, ',' ORDER BY rolname) FROM pg_roles";
    let roles_before: String = client.query_one(roles, &[]).await.unwrap().get(0);
    let url = scratch.url("postgres").replacen("postgres@", "rehearsal@", 1);
    let sandbox = |url: &str| format!("[[rehearse.sandbox]]\nsource = \"main\"\nurl = \"{url}\"\n\n");
    stage.configure(&(sandbox(&url) + &assertion("SELECT count(*) FROM positions", "500")));
    let run = stage.run(&["rehearse", "--json"]).exits(0).says("dbhaul_rehearsal_of_somebody_else");
    let report = run.json();
    assert!(report["targets"][0]["server"].as_str().unwrap().contains("dbhaul_rehearsal_2"), "{report}");
    assert_eq!(report["assertions"][0]["passed"], true);
    assert_eq!(databases(&scratch).await, before, "what is ours is gone, what is not is there");
    assert_eq!(client.query_one(roles, &[]).await.unwrap().get::<_, String>(0), roles_before);

    // It fails.
    stage.configure(&(sandbox(&url) + &assertion("SELECT count(*) FROM positions", "499")));
    stage.run(&["rehearse"]).exits(3);
    assert_eq!(databases(&scratch).await, before);
    client.batch_execute("ALTER ROLE rehearsal NOCREATEDB").await.unwrap();
    stage.run(&["rehearse"]).exits(1).says("42501");
    client.batch_execute("ALTER ROLE rehearsal CREATEDB").await.unwrap();

    // It is stopped, in the middle of a query.
    stage.configure(&(sandbox(&url) + &assertion("SELECT pg_sleep(300)", "1")));
    let child = command(stage.here.path(), &["rehearse"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'FETCH%' AND datname LIKE 'dbhaul_rehearsal_2%'
                    AND state = 'active'";
    while client.query_one(sleeping, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(began.elapsed() < Duration::from_secs(120), "the query never ran");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(databases(&scratch).await.len(), before.len() + 1);
    kill(child.id());
    Run::of(child.wait_with_output().unwrap()).exits(130).says("SIGTERM");
    assert_eq!(databases(&scratch).await, before);
}

fn kill(pid: u32) {
    assert!(Command::new("kill").arg(pid.to_string()).status().unwrap().success());
}

/// If the sandbox lacks something, a rehearsal is incomplete, never passed and never failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_is_too_old_makes_the_rehearsal_incomplete() {
    let Some(stage) = Stage::start().await else { return };
    let Some(binaries) = require_postgres(12) else { return };
    let scratch = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    stage.configure(&format!(
        "[[rehearse.sandbox]]\nsource = \"main\"\nurl = \"{}\"\n",
        scratch.url("postgres")
    ));
    let run = stage.run(&["rehearse", "--json"]).exits(4);
    assert!(run.json()["incomplete"][0]["why"].as_str().unwrap().contains("lacks PostgreSQL 15 or newer"));
    assert!(!databases(&scratch).await.iter().any(|name| name.starts_with("dbhaul_")));
}
