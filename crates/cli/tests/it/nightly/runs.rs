//! Two weeks of nightly backups, and what may happen to a single run.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::stage::Stage;
use crate::common::{ask, command, files, run};

/// It runs, fails once, recovers, becomes stale, shrinks, is rehearsed, and is damaged; each is notified once on
/// every channel, and the last good snapshot is never removed.
#[tokio::test(flavor = "multi_thread")]
async fn two_weeks_of_nights() {
    let Some(stage) = Stage::start().await else { return };
    let nightly = ["nightly", "--quiet"];
    let day = 24;
    // Five good nights. Only the dead man's switch is pinged; the portion check moves on each night.
    let mut cursors = std::collections::BTreeSet::new();
    for night in (9..14).rev() {
        let Some(run) = stage.run_ago(night * day, &nightly) else { return };
        run.exits(0);
        cursors.insert(std::fs::read_to_string(stage.here.path().join("store/checks/cursor.json")).unwrap());
    }
    assert!(cursors.len() > 1, "{cursors:?}");
    assert!(stage.told.notices().is_empty());
    let pings: Vec<String> = stage.told.take("/ping").into_iter().map(|(path, _)| path).collect();
    let bare = pings.iter().filter(|path| path.starts_with("/ping/s3cret?rid=")).count();
    let starts = pings.iter().filter(|path| path.starts_with("/ping/s3cret/start?rid=")).count();
    assert_eq!((bare, starts, pings.len()), (5, 5, 10), "{pings:?}");
    assert!(stage.told.take("/push/metrics/job/dbhaul/job_id/app").len() == 5);
    // Daily 3; while a run applies retention, the store's clock is not turned back yet, so that its own takes no slot.
    assert_eq!(stage.snapshots().len(), 4);

    // Redis is unreachable: PostgreSQL is saved, nothing is removed, and a notice is sent.
    let listed = |stage: &Stage| -> Vec<String> {
        stage.snapshots().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    };
    let before = listed(&stage);
    stage.configure("redis://127.0.0.1:1");
    stage.run_ago(8 * day, &nightly).unwrap().exits(4).says("source `redis` was not backed up");
    let [told] = &stage.told.notices()[..] else { panic!("not one notice") };
    assert!(told.contains("FAILED (exit code 4)") && told.contains("redis"), "{told}");
    assert!(stage.told.take("/ping/s3cret/4?rid=").len() == 1);
    assert!(before.iter().all(|id| listed(&stage).contains(id)), "deletion goes on while a source fails");
    assert_eq!(stage.metric("dbhaul_last_run_exit_code"), Some(4.0));

    // Nothing can be reached for three nights: the second is stale.
    stage.run_ago(7 * day, &nightly).unwrap().exits(4);
    stage.run_ago(6 * day, &nightly).unwrap().exits(4);
    let notices = stage.told.notices();
    assert!(notices.len() == 2 && notices[1].contains("stale: source `redis`"), "{notices:?}");
    stage
        .run(&["status"])
        .exits(3)
        .shows("STALE")
        .shows("source `redis`: its newest good backup is older than 36h");
    let success = |source: &str| {
        stage.metric(&format!("dbhaul_last_success_timestamp_seconds{{source=\"{source}\"}}")).unwrap()
    };
    assert!(success("postgres") - success("redis") > 2.9 * 86_400.0);

    // It comes back.
    stage.configure(&stage.rd.url());
    stage.run_ago(5 * day, &nightly).unwrap().exits(0);
    let [told] = &stage.told.notices()[..] else { panic!("not one notice") };
    assert!(told.contains(": recovered\n"), "{told}");
    stage.run_ago(4 * day, &nightly).unwrap().exits(0);
    assert!(stage.told.notices().is_empty());
    let good = listed(&stage).last().unwrap().clone();

    // A table is emptied by mistake. The snapshot is kept, and so is the one before it, by every host from here on.
    stage.sql("DELETE FROM positions WHERE id > 100").await;
    let found = stage.run_ago(3 * day, &["nightly"]).unwrap().exits(3);
    assert!(found.stdout.contains("`public.positions` shrank from 1,000 to 100 rows"), "{}", found.stdout);
    let [told] = &stage.told.notices()[..] else { panic!("not one notice") };
    assert!(told.contains("SUSPICIOUS") && told.contains(&format!("dbhaul unpin {good}")), "{told}");
    assert_eq!(stage.metric("dbhaul_source_suspicious{source=\"postgres\"}"), Some(1.0));
    assert_eq!(stage.metric("dbhaul_source_suspicious{source=\"redis\"}"), Some(0.0));
    for night in [2, 1] {
        stage.run_ago(night * day, &nightly).unwrap().exits(0);
    }
    stage.run(&nightly).exits(0);
    let kept = stage.snapshots();
    let pinned = kept.iter().find(|row| row["id"] == good.as_str());
    assert_eq!(pinned.unwrap_or_else(|| panic!("{good} is gone"))["pinned"], true);

    // The weekly run shows that it restores; then a chunk is damaged, and it does not.
    stage.told.notices();
    stage.run(&["nightly", "--rehearse", "--quiet"]).exits(0);
    assert_eq!(stage.metric("dbhaul_last_rehearsal_passed"), Some(1.0));
    assert!(stage.metric("dbhaul_last_rehearsal_duration_seconds").unwrap() > 0.0);
    stage.run(&["status"]).exits(0).shows("last rehearsal   passed");
    for chunk in files(&stage.here.path().join("store/chunks")) {
        std::fs::set_permissions(&chunk, std::fs::Permissions::from_mode(0o600)).unwrap();
        let length = std::fs::metadata(&chunk).unwrap().len() as usize;
        std::fs::write(&chunk, vec![0; length]).unwrap();
    }
    let before = listed(&stage);
    stage.run(&["nightly", "--rehearse", "--quiet"]).exits(3);
    assert_eq!(stage.metric("dbhaul_last_rehearsal_passed"), Some(0.0));
    let [told] = &stage.told.notices()[..] else { panic!("not one notice") };
    assert!(told.contains("rehearsal FAILED") && told.contains("(exit code 3)"), "{told}");
    stage.run(&["status"]).exits(3).shows("failure: the last rehearsal failed");
    assert_eq!(listed(&stage), before);
}

/// A second run ends at once and names the lock's holder; an interrupted run sends its notices before it ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_excludes_another_and_tells_when_it_is_stopped() {
    let Some(stage) = Stage::start().await else { return };
    // A table locked by another session keeps the first run waiting.
    let client = crate::common::postgres(&stage.pg.url("app")).await;
    client.batch_execute("BEGIN; LOCK TABLE positions").await.unwrap();
    let mut first = command(stage.here.path(), &["nightly", "--lock-wait", "60"]);
    let mut first = first.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lock = stage.here.path().join("state/app.lock");
    let began = Instant::now();
    while std::fs::read_to_string(&lock).unwrap_or_default().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(20), "the first run takes no lock");
        std::thread::sleep(Duration::from_millis(20));
    }
    let second = stage.run(&["nightly"]).exits(5);
    let holder = format!("another run of job `app` is active: `dbhaul nightly`, process {}", first.id());
    assert!(second.stderr.contains(&holder), "{}", second.stderr);
    while stage.told.take("/ping/s3cret/start").is_empty() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = rustix_pid(first.id());
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(first.wait().unwrap().code(), Some(130));
    assert_eq!(stage.told.take("/ping/s3cret/130?rid=").len(), 1);
    let notices = stage.told.notices();
    assert!(notices.len() == 1 && notices[0].contains("stopped by SIGTERM"), "{notices:?}");
    assert_eq!(stage.metric("dbhaul_last_run_exit_code"), Some(130.0));
    assert_eq!(stage.snapshots().len(), 0);
    client.batch_execute("ROLLBACK").await.unwrap();
    // The lock went with its holder, though the file is still there.
    assert!(lock.exists());
    stage.run(&["nightly", "--quiet"]).exits(0);
    assert_eq!(ask(&stage.rd.url(), &["GET", "k1"]).await.unwrap(), ["1"]);
    // A damaged state file is reported, but does not stop a run.
    std::fs::write(stage.here.path().join("state/app.json"), "{").unwrap();
    stage.run(&["nightly", "--quiet"]).exits(0).says("is ignored");
    // Neither does a missing metrics folder, or a channel that cannot be reached.
    std::fs::remove_dir_all(stage.here.path().join("textfile")).unwrap();
    std::fs::write(stage.here.path().join("hook"), "not a URL\n").unwrap();
    let odd = run(command(stage.here.path(), &["nightly", "--quiet"])).exits(0);
    let odd = odd.says("cannot write the metrics").says("no notice is sent to `discord`");
    assert!(!odd.stderr.contains("not a URL"), "{}", odd.stderr);
}

fn rustix_pid(id: u32) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(id as i32).unwrap()
}
