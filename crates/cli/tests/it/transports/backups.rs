//! Backups of 200 MB whose transport dies in the middle: by its link, and by its own process.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sandbox::testing::require_postgres;
use sandbox::{Listen, Postgres, PostgresOptions};

use super::{IN_POD, PASSWORD, Stage, databases, stage, stage_with};
use crate::common::{Run, ask, postgres};

const MEGABYTES: u32 = 200;

/// Two sources: the database through the transport, and Redis without one.
fn configure(stage: &Stage, url: &str, both: bool) {
    std::fs::write(stage.here.path().join("password"), PASSWORD).unwrap();
    let mut text = format!(
        "[repository]\nurl = \"store\"\n[[source]]\nname = \"db\"\nkind = \"postgres\"\nurl = \"{url}\"\n"
    );
    if !url.contains("secret=") {
        text.push_str("password-file = \"password\"\n");
    }
    if both {
        let redis = stage.redis.url();
        text.push_str(&format!("[[source]]\nname = \"redis\"\nkind = \"redis\"\nurl = \"{redis}\"\n"));
    }
    std::fs::write(stage.here.path().join("dbhaul.toml"), text).unwrap();
}

/// Starts a backup, and waits until rows are under way.
async fn in_the_middle(stage: &Stage) -> Child {
    let mut command = stage.command(&["backup"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let admin = postgres(&stage.source().url("app")).await;
    let bytes = "SELECT coalesce(sum(bytes_processed), 0)::bigint FROM pg_stat_progress_copy";
    let began = Instant::now();
    while admin.query_one(bytes, &[]).await.unwrap().get::<_, i64>(0) < 5_000_000 {
        assert!(began.elapsed() < Duration::from_secs(60), "no COPY began");
        assert!(child.try_wait().unwrap().is_none(), "it ended: {:?}", child.wait_with_output());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    child
}

fn snapshots(stage: &Stage) -> Vec<serde_json::Value> {
    let listed = stage.run(&["snapshots", "--json"]).exits(0).json();
    listed["snapshots"].as_array().unwrap().clone()
}

/// The backup of the one source failed: with the program's words, and without a snapshot.
fn failed(stage: &Stage, run: Run, said: &[&str]) {
    stage.leaves_nothing();
    let run = run.exits(1).says("no snapshot was created");
    for words in said {
        assert!(run.stderr.contains(words), "{words}\n{}", run.stderr);
    }
    assert_eq!(snapshots(stage), Vec::<serde_json::Value>::new());
}

/// One of two sources failed: the snapshot has the other, and is not taken for a whole one.
fn failed_in_part(stage: &Stage, run: Run, said: &[&str]) {
    stage.leaves_nothing();
    let run = run.exits(4);
    for words in said {
        assert!(run.stderr.contains(words), "{words}\n{}", run.stderr);
    }
    let listed = snapshots(stage);
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0]["complete"], false, "{listed:?}");
    stage.run(&["rehearse"]).exits(1);
}

/// Kills the processes of a run whose command line has these words.
fn kill(stage: &Stage, words: &str) {
    let mark = format!("TRANSPORTS_TEST={}", stage.here.path().display());
    let text = |path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).replace('\0', " ");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let wanted = processes.filter(|process| {
        text(process.path().join("environ")).contains(&mark)
            && text(process.path().join("cmdline")).contains(words)
            // Not the shell that watches over it.
            && !text(process.path().join("cmdline")).starts_with("sh ")
    });
    let pids: Vec<String> =
        wanted.map(|process| process.file_name().to_string_lossy().into_owned()).collect();
    assert!(!pids.is_empty(), "no process has {words} in its command line");
    Command::new("kill").arg("-9").args(pids).status().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run by scripts/test --all"]
async fn a_backup_of_200_megabytes_through_kubectl_is_cut() {
    let Some(stage) = stage() else { return };
    databases(&stage).await;
    stage.fill(MEGABYTES).await;
    ask(&stage.redis.url(), &["SET", "key", "value"]).await.unwrap();
    configure(&stage, IN_POD, false);
    stage.run(&["init", "--no-config"]).exits(0);

    stage.api.cut_after(100 << 20);
    let run = stage.run(&["backup"]);
    failed(&stage, run, &["kubectl port-forward to pod `db-0`", "lost connection to pod"]);
    stage.api.cut_after(u64::MAX);

    configure(&stage, IN_POD, true);
    let child = in_the_middle(&stage).await;
    kill(&stage, " port-forward ");
    let run = Run::of(child.wait_with_output().unwrap());
    failed_in_part(&stage, run, &["kubectl port-forward to pod `db-0`", "Killed"]);
    // It goes on where it can: what was stored is used again.
    stage.run(&["backup"]).exits(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run by scripts/test --all"]
async fn a_backup_of_200_megabytes_through_ssh_is_cut() {
    let Some(binaries) = require_postgres(15) else { return };
    let password = Some(PASSWORD.to_owned());
    let options = PostgresOptions { password, listen: Listen::Port, ..PostgresOptions::default() };
    let Some(stage) = stage_with(Some(Postgres::start(&binaries, options).unwrap())) else { return };
    databases(&stage).await;
    stage.fill(MEGABYTES).await;
    ask(&stage.redis.url(), &["SET", "key", "value"]).await.unwrap();
    let port = stage.source().port().unwrap();
    let url = format!("ssh://vm/postgres://postgres@127.0.0.1:{port}/app");
    configure(&stage, &url, false);
    stage.run(&["init", "--no-config"]).exits(0);

    // The host is switched off.
    let child = in_the_middle(&stage).await;
    stage.sshd.cut();
    let run = Run::of(child.wait_with_output().unwrap());
    // In its own words: `closed by remote host`, or `Broken pipe` if it was sending.
    failed(&stage, run, &["caused by: ssh vm: "]);

    configure(&stage, &url, true);
    let child = in_the_middle(&stage).await;
    kill(&stage, " -W ");
    let run = Run::of(child.wait_with_output().unwrap());
    failed_in_part(&stage, run, &["ssh vm to 127.0.0.1", "signal: 9"]);
    stage.run(&["backup"]).exits(0);
}
