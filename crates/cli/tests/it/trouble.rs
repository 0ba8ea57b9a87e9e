//! Bad input and failures: each gives one clear message and the right exit code, and nothing incomplete is listed.
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::common::{command, dbhaul, folder, postgres};
use sandbox::testing::{require_postgres, require_redis};
use sandbox::{Listen, Postgres, PostgresOptions, Redis};

const STORE: [&str; 2] = ["--repository", "store"];

fn listed(here: &Path) -> usize {
    let run = dbhaul(here, &["snapshots", "--json", STORE[0], STORE[1]]).exits(0);
    run.json()["snapshots"].as_array().unwrap().len()
}

fn init(here: &Path) {
    dbhaul(here, &["init", STORE[0], STORE[1]]).exits(0);
    std::fs::remove_file(here.join("dbhaul.toml")).unwrap();
}

fn backup(here: &Path, url: &str) -> common::Run {
    dbhaul(here, &["backup", STORE[0], STORE[1], "--postgres", url])
}

/// Some file of the store below a folder.
fn some_file(below: &Path) -> std::path::PathBuf {
    let mut entries: Vec<_> = std::fs::read_dir(below).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let first = entries.remove(0);
    if first.is_dir() { some_file(&first) } else { first }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_cannot_be() {
    let Some(binaries) = require_postgres(15) else { return };
    let options = PostgresOptions {
        listen: Listen::Port,
        password: Some("right".into()),
        ..PostgresOptions::default()
    };
    let server = Postgres::start(&binaries, options).unwrap();
    let here = folder();
    init(here.path());
    let port = server.port().unwrap();
    let at = |user: &str, database: &str| format!("postgres://{user}@127.0.0.1:{port}/{database}");
    backup(here.path(), &at("postgres:wrongpw", "postgres")).exits(1).says("28P01").says("PGPASSWORD");
    backup(here.path(), &at("postgres:right", "nowhere")).exits(1).says("nowhere").says("3D000");
    assert_eq!(listed(here.path()), 0);
    // The password by the environment works, and is not warned about.
    let url = at("postgres", "postgres");
    let output = command(here.path(), &["backup", STORE[0], STORE[1], "--postgres", &url])
        .env("PGPASSWORD", "right")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("command line"));
    assert_eq!(listed(here.path()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_may_not_be_read_is_named_before_data_moves() {
    let Some(binaries) = require_postgres(15) else { return };
    let server = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    let client = postgres(&server.url("postgres")).await;
    let sql = "CREATE ROLE reader LOGIN; CREATE TABLE open_one (a int); CREATE TABLE secret_one (a int); \
               GRANT SELECT ON open_one TO reader";
    client.batch_execute(sql).await.unwrap();
    let here = folder();
    init(here.path());
    let run = backup(here.path(), &server.url_as("reader", "postgres"));
    assert!(run.code == 1 || run.code == 5, "{}: {}", run.code, run.stderr);
    run.says("secret_one");
    assert_eq!(listed(here.path()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failed_source_of_two_is_exit_code_4_and_not_the_whole() {
    let (Some(pg), Some(rd)) = (require_postgres(15), require_redis("7.0")) else { return };
    let server = Postgres::start(&pg, PostgresOptions::default()).unwrap();
    let mut redis = Redis::start(&rd, common::quick_redis()).unwrap();
    let (pg_url, redis_url) = (server.url("postgres"), redis.url());
    redis.kill();
    let here = folder();
    init(here.path());
    let run =
        dbhaul(here.path(), &["backup", STORE[0], STORE[1], "--postgres", &pg_url, "--redis", &redis_url]);
    run.exits(4).says("`redis` was not backed up").shows("INCOMPLETE");
    // An incomplete snapshot is listed as such, and is never `latest` except for the source that it contains.
    assert_eq!(listed(here.path()), 1);
    let target = Postgres::start(&pg, PostgresOptions::default()).unwrap();
    dbhaul(here.path(), &["restore", "latest", STORE[0], STORE[1], "--postgres", &target.url("postgres")])
        .exits(0)
        .says("is incomplete: it holds only `postgres`");
    dbhaul(here.path(), &["rehearse", STORE[0], STORE[1]]).exits(1).says("no complete snapshot");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_the_repository_is_found_and_named() {
    let Some(pg) = require_postgres(15) else { return };
    let server = Postgres::start(&pg, PostgresOptions::default()).unwrap();
    let client = postgres(&server.url("postgres")).await;
    client.batch_execute("CREATE TABLE t AS SELECT generate_series(1, 1000) AS a").await.unwrap();
    let here = folder();
    init(here.path());
    backup(here.path(), &server.url("postgres")).exits(0);
    dbhaul(here.path(), &["check", "--read-data", STORE[0], STORE[1]]).exits(0);

    // A truncated chunk.
    let chunk = some_file(&here.path().join("store/chunks"));
    let whole = std::fs::read(&chunk).unwrap();
    std::fs::write(&chunk, &whole[..whole.len() / 2]).unwrap();
    dbhaul(here.path(), &["check", "--read-data", STORE[0], STORE[1]]).exits(3).shows("is DAMAGED");
    let target = Postgres::start(&pg, PostgresOptions::default()).unwrap();
    let run = dbhaul(
        here.path(),
        &["restore", "latest", STORE[0], STORE[1], "--postgres", &target.url("postgres")],
    );
    assert_ne!(run.code, 0, "{}", run.stdout);
    std::fs::write(&chunk, &whole).unwrap();

    // A damaged manifest is reported, and no other snapshot is taken for `latest`.
    let manifest = some_file(&here.path().join("store/snapshots"));
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, &text[..text.len() / 2]).unwrap();
    let run = dbhaul(here.path(), &["snapshots", STORE[0], STORE[1]]).exits(3);
    run.says("snapshots/");
    dbhaul(here.path(), &["check", STORE[0], STORE[1]]).exits(3).shows("cannot be read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_backup_lists_nothing_and_the_next_one_works() {
    let Some(pg) = require_postgres(15) else { return };
    let server = Postgres::start(&pg, PostgresOptions::default()).unwrap();
    let client = postgres(&server.url("postgres")).await;
    let sql = "CREATE TABLE big AS SELECT g AS id, md5(g::text) AS a, md5((g * 7)::text) AS b FROM generate_series(1, 600000) g";
    client.batch_execute(sql).await.unwrap();
    let here = folder();
    init(here.path());
    let url = server.url("postgres");
    let args = ["backup", STORE[0], STORE[1], "--postgres", &url];
    for (signal, wait) in [("KILL", 150), ("KILL", 400), ("TERM", 300), ("INT", 500)] {
        let mut child =
            command(here.path(), &args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        let ended_before = child.try_wait().unwrap().is_some();
        assert!(!ended_before, "the backup was over after {wait} ms: nothing was killed");
        let kill = std::process::Command::new("kill")
            .args(["-s", signal, &child.id().to_string()])
            .status()
            .unwrap();
        assert!(kill.success());
        let output = child.wait_with_output().unwrap();
        if signal != "KILL" {
            assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
            assert!(String::from_utf8_lossy(&output.stderr).contains("not listed"));
        }
        assert_eq!(listed(here.path()), 0, "after SIG{signal} at {wait} ms");
    }
    backup(here.path(), &url).exits(0);
    assert_eq!(listed(here.path()), 1);
    dbhaul(here.path(), &["check", "--read-data", STORE[0], STORE[1]]).exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_and_rehearsal_work_from_a_configuration() {
    let (Some(pg), Some(rd)) = (require_postgres(15), require_redis("7.0")) else { return };
    let server = Postgres::start(&pg, PostgresOptions::default()).unwrap();
    let redis = Redis::start(&rd, common::quick_redis()).unwrap();
    common::load_sample(&server.url("postgres"), &redis.url()).await;
    let here = folder();
    dbhaul(here.path(), &STORE.iter().copied().chain(["init"]).collect::<Vec<_>>()).exits(0);
    std::fs::write(here.path().join("baseline.toml"), coinpilot::BASELINE).unwrap();
    let config = format!(
        "[repository]\nurl = \"store\"\n\
         [[source]]\nname = \"bot\"\nkind = \"postgres\"\nurl = \"postgres:///postgres?user=postgres&host=${{PG_HOST_OF_TEST}}\"\n\
         baseline = \"baseline.toml\"\nenvironment = \"{}\"\n\
         [[source]]\nname = \"cache\"\nkind = \"redis\"\nurl = \"{}\"\n\
         [retention]\ndaily = 7\nweekly = 4\nzone = \"Asia/Seoul\"\n",
        coinpilot::PLAIN_ENVIRONMENT,
        redis.url()
    );
    std::fs::write(here.path().join("dbhaul.toml"), config).unwrap();
    let run = |args: &[&str]| {
        let output = command(here.path(), args).env("PG_HOST_OF_TEST", server.socket_dir()).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, out, err) = run(&["backup"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("keep") && !out.contains("baseline NOT met"), "{out}{err}");
    let (code, out, err) = run(&["rehearse"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("tables equal") && out.contains("baseline passed"), "{out}");
    let (_, out, _) = run(&["snapshots"]);
    assert!(out.contains("rehearsal passed"), "{out}");
    let (code, out, err) = run(&["forget", "--dry-run"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("newest that passed a rehearsal") && out.contains("dry run"), "{out}");
    let (code, out, err) = run(&["baseline", "check", "--snapshot", "latest"]);
    assert_eq!(code, Some(0), "{out}{err}");

    // The bot's day of grief: a column and a table are missing, and the check names them.
    let client = postgres(&server.url("postgres")).await;
    client
        .batch_execute("ALTER TABLE daily_risk_state DROP COLUMN buy_count; DROP TABLE news_risk_scores")
        .await
        .unwrap();
    let (code, out, err) = run(&["baseline", "check", "--to", &server.url("postgres")]);
    assert_eq!(code, Some(3), "{out}{err}");
    assert!(out.contains("buy_count") && out.contains("v3_2_1_trade_count_split"), "{out}");
    assert!(out.contains("news_risk_scores"), "{out}");
    let (code, out, err) = run(&["backup", "bot"]);
    assert_eq!(code, Some(0), "a failed gate still takes the backup: {out}{err}");
    assert!(out.contains("baseline NOT met") && err.contains("buy_count"), "{out}{err}");
}
