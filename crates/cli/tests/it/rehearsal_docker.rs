//! Rehearsals in containers. With a Docker daemon, which `scripts/with-docker` starts; its images are made of the servers of
//! the tests.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sandbox::testing::{require_postgres, require_redis};
use sandbox::{Postgres, PostgresOptions, Redis};

use crate::common::image::{Image, docker, has_docker, postgres_image, redis_image};
use crate::common::{Run, ask, command, dbhaul, folder, postgres, quick_redis};
use crate::rehearsal::POSITIONS;

/// Docker has one list of containers, and each test looks at all of them.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Stage {
    here: tempfile::TempDir,
    sources: String,
}

impl Stage {
    fn new(sources: String) -> Stage {
        let stage = Stage { here: folder(), sources };
        stage.configure("");
        stage.run(&["init", "--no-config", "--repository", "store"]).exits(0);
        stage
    }

    fn configure(&self, more: &str) {
        let text = format!("[repository]\nurl = \"store\"\n\n{}{more}", self.sources);
        std::fs::write(self.here.path().join("dbhaul.toml"), text).unwrap();
    }

    fn run(&self, args: &[&str]) -> Run {
        dbhaul(self.here.path(), args)
    }

    /// A rehearsal that is in the middle of an assertion's query.
    fn in_the_middle(&self) -> (Child, String) {
        let mut command = command(self.here.path(), &["rehearse"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < Duration::from_secs(120), "the query never ran");
            assert!(child.try_wait().unwrap().is_none(), "it ended: {:?}", child.wait_with_output());
            if let [container] = &containers()[..] {
                let sleeping = Command::new("docker").args(["top", container]).output().unwrap();
                if String::from_utf8_lossy(&sleeping.stdout).contains("FETCH") {
                    return (child, container.clone());
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn source(name: &str, kind: &str, url: &str) -> String {
    format!("[[source]]\nname = \"{name}\"\nkind = \"{kind}\"\nurl = \"{url}\"\n\n")
}

fn in_docker(source: &str, image: &str) -> String {
    let image = if image.is_empty() { String::new() } else { format!("image = \"{image}\"\n") };
    format!("[[rehearse.sandbox]]\nsource = \"{source}\"\nkind = \"docker\"\n{image}\n")
}

/// The containers of rehearsals, also of those that have ended.
fn containers() -> Vec<String> {
    docker(&["ps", "-aq", "--no-trunc", "--filter", "label=dbhaul.sandbox"])
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// A container that is a source; removed after the test.
struct Source(String);

impl Source {
    fn start(name: &str, image: &Image) -> Source {
        let name = format!("dbhaul-{name}-{}", std::process::id());
        docker(&["run", "-d", "--network=none", "--name", &name, "-e", "POSTGRES_PASSWORD=s3cret", &image.0]);
        Source(name)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "-fv", &self.0]).output();
    }
}

async fn filled(sql: &str) -> Option<Postgres> {
    let server = Postgres::start(&require_postgres(15)?, PostgresOptions::default()).unwrap();
    let client = postgres(&server.url("postgres")).await;
    client.batch_execute(POSITIONS).await.unwrap();
    client.batch_execute(sql).await.unwrap();
    Some(server)
}

/// The image is the one that the source ran, which the snapshot knows: the source itself may be gone by then.
#[tokio::test(flavor = "multi_thread")]
async fn sources_in_containers_are_rehearsed_in_their_own_images() {
    let _alone = ONE_AT_A_TIME.lock().await;
    if !has_docker() {
        return;
    }
    let (Some(pg), Some(rd)) = (postgres_image("own-pg"), redis_image("own-redis")) else { return };
    let Some(filled) = filled("").await else { return };
    let (db, keys) = (Source::start("db", &pg), Source::start("keys", &rd));
    let db_url = format!("docker://{}/postgres?user=postgres&password-env=POSTGRES_PASSWORD", db.0);
    let keys_url = format!("docker://{}?kind=redis", keys.0);
    let stage = Stage::new(source("main", "postgres", &db_url) + &source("keys", "redis", &keys_url));
    let began = Instant::now();
    let from = filled.url("postgres");
    let migrate = ["migrate", "--from", &from, "--to", &db_url, "--no-owner"];
    while stage.run(&migrate).code != 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "the source does not start");
        std::thread::sleep(Duration::from_millis(500));
    }
    stage.run(&["backup"]).exits(0);
    drop((db, keys));

    let question = "[[rehearse.assert]]\nsql = \"SELECT count(*) FROM positions\"\nexpect = 500\n";
    stage.configure(&(in_docker("main", "") + &in_docker("keys", "") + question));
    let run = stage.run(&["rehearse", "--json"]).exits(0);
    let report = run.json();
    for (at, image) in [&pg, &rd].iter().enumerate() {
        let server = report["targets"][at]["server"].as_str().unwrap();
        assert!(server.contains("container dbhaul-sandbox-") && server.contains(&image.0), "{server}");
    }
    assert_eq!(report["assertions"][0]["passed"], true, "{report}");
    assert_eq!(containers(), Vec::<String>::new());
    // One that finds a difference leaves nothing behind either.
    stage.configure(&(in_docker("main", "") + &in_docker("keys", "") + &question.replace("500", "499")));
    stage.run(&["rehearse"]).exits(3);
    assert_eq!(containers(), Vec::<String>::new());
}

/// It has no network; its password is in no argument list; it is gone after a signal, and after SIGKILL with the next run.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_closed_and_does_not_outlive_its_rehearsal_for_long() {
    let _alone = ONE_AT_A_TIME.lock().await;
    if !has_docker() {
        return;
    }
    let Some(image) = postgres_image("closed") else { return };
    let Some(filled) = filled("").await else { return };
    let stage = Stage::new(source("main", "postgres", &filled.url("postgres")));
    stage.run(&["backup"]).exits(0);
    let sleep = "[[rehearse.assert]]\nsql = \"SELECT pg_sleep(300)\"\nexpect = 1\n";
    stage.configure(&(in_docker("main", &image.0) + sleep));

    let (child, container) = stage.in_the_middle();
    let inspected: serde_json::Value = serde_json::from_str(&docker(&["inspect", &container])).unwrap();
    let host = &inspected[0]["HostConfig"];
    assert_eq!(host["NetworkMode"], "none");
    assert!(host["PortBindings"].as_object().is_none_or(serde_json::Map::is_empty), "{host}");
    let variables = inspected[0]["Config"]["Env"].as_array().unwrap();
    let password =
        variables.iter().find_map(|pair| pair.as_str()?.strip_prefix("POSTGRES_PASSWORD=")).unwrap();
    assert!(password.len() >= 32);
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        assert!(!line.contains(password), "{line}");
    }
    signal(&child, "TERM");
    let run = Run::of(child.wait_with_output().unwrap()).exits(130);
    assert!(!run.stderr.contains(password), "{}", run.stderr);
    assert_eq!(containers(), Vec::<String>::new(), "{}", run.stderr);

    let (mut child, killed) = stage.in_the_middle();
    // A container of a running process is not removed.
    stage.configure(&in_docker("main", &image.0));
    let beside = stage.run(&["rehearse"]).exits(0);
    assert!(!beside.stderr.contains("were killed"), "{}", beside.stderr);
    assert_eq!(containers(), [killed]);
    signal(&child, "KILL");
    child.wait().unwrap();
    stage
        .run(&["rehearse"])
        .exits(0)
        .says("removed containers of rehearsals that were killed: dbhaul-sandbox-");
    assert_eq!(containers(), Vec::<String>::new());
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
}

/// What a sandbox lacks makes a rehearsal incomplete, never passed and never failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_extension_in_the_image_makes_the_rehearsal_incomplete() {
    let _alone = ONE_AT_A_TIME.lock().await;
    if !has_docker() {
        return;
    }
    let (Some(pg), Some(rd)) = (postgres_image("lacks-pg"), redis_image("lacks-redis")) else { return };
    let Some(filled) = filled("CREATE EXTENSION citext").await else { return };
    let Some(redis) = require_redis("valkey-9") else { return };
    let redis = Redis::start(&redis, quick_redis()).unwrap();
    ask(&redis.url(), &["SET", "k", "v"]).await.unwrap();
    let main = source("main", "postgres", &filled.url("postgres"));
    let stage = Stage::new(main + &source("keys", "redis", &redis.url()));
    stage.run(&["backup"]).exits(0);
    for (image, said) in [
        (pg.0.as_str(), "lacks extension citext"),
        // It has no PostgreSQL, whose arguments its server does not know.
        (rd.0.as_str(), "it exited with 1"),
        ("no-such-image:1", "image `no-such-image:1` is not on this host and cannot be pulled"),
        ("", "does not say which image `main` ran"),
    ] {
        stage.configure(&(in_docker("main", image) + &in_docker("keys", &rd.0)));
        let report = stage.run(&["rehearse", "--json"]).exits(4).json();
        let why = report["incomplete"][0]["why"].as_str().unwrap();
        assert!(why.contains(said), "{why}");
        // Of another flavor than the source.
        assert!(report["incomplete"][1]["why"].as_str().unwrap().contains("has Redis 8.2"), "{report}");
        assert!(report["failed"].is_null(), "{report}");
    }
    assert_eq!(containers(), Vec::<String>::new());
    let listed = stage.run(&["snapshots", "--json"]).exits(0).stdout;
    assert!(!listed.contains("\"passed\": true"), "{listed}");
}
