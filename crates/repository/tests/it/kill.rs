//! A process that backs up, forgets, undeletes, copies, checks and prunes is killed: at every failpoint, and at
//! random moments. Each time every listed snapshot passes a check that reads its data and reads back equal, and what
//! the process had reported as committed is listed.

// The counts are what these tests are for.
#![allow(clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::sim::Rng;
use crate::common::{data, read, small, try_snapshot};
use futures::StreamExt as _;
use repository::{CheckOptions, Error, Fault, FaultKind, InitOptions, PruneOptions, Repository, Store};

const GRACE: Duration = Duration::from_millis(400);
/// The folder that a child works in; only a child has it.
const FOLDER: &str = "DBHAUL_TEST_KILL_FOLDER";
const ROUNDS: &str = "DBHAUL_TEST_KILL_ROUNDS";
/// Enough for everything to be reached.
const ROUNDS_TO_KILL: u64 = 6;

/// A part's name says what its bytes are.
fn content(name: &str) -> Vec<u8> {
    let mut numbers = name.split('-').skip(1).map(|number| number.parse::<u64>().unwrap());
    let (seed, len) = (numbers.next().unwrap(), numbers.next().unwrap());
    data(seed, len as usize)
}

async fn open(folder: &Path) -> Result<Repository, Error> {
    let store = Store::folder(folder)?;
    match Repository::open(store.clone()).await {
        Err(Error::NotARepository { .. }) => {
            Repository::init(store, &InitOptions { grace: GRACE, ..small() }).await
        }
        other => other,
    }
}

/// Output of a child: a line in the file is known to the world.
fn tell(folder: &Path, line: &str) {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("told")).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

async fn work(folder: &Path, rounds: u64) -> Result<(), Error> {
    let repo = open(&folder.join("repo")).await?;
    let second = open(&folder.join("second")).await?;
    let prune = PruneOptions { dry_run: false, now: chrono::Utc::now() };
    for round in 0..rounds {
        let (a, b) = (format!("p-{}-20000", round % 3), format!("p-{}-9000", round % 7 + 10));
        let (a_bytes, b_bytes) = (content(&a), content(&b));
        // Once so many chunks that a journal is written.
        let rest = if round % 6 == 2 { "p-98-400000" } else { "p-99-5000" };
        let parts: [(&str, &[u8]); 3] = [(&a, &a_bytes), (&b, &b_bytes), (rest, &content(rest))];
        match try_snapshot(&repo, "nightly", &parts).await {
            Ok(manifest) => tell(folder, &format!("committed {}", manifest.id)),
            // The machine was busy for longer than this short grace.
            Err(Error::TooLong { .. }) => {}
            Err(other) => return Err(other),
        }
        let listed = repo.snapshots().await?.manifests;
        if listed.len() > 2 {
            let going: Vec<_> =
                listed[..listed.len() - 2].iter().map(|manifest| manifest.id.clone()).collect();
            going.iter().for_each(|id| tell(folder, &format!("forgetting {id}")));
            repo.forget(&going, chrono::Utc::now()).await?;
            if round % 3 == 2 {
                match repo.undelete(&going[0]).await {
                    Ok(_) => tell(folder, &format!("committed {}", going[0])),
                    Err(error) if error.is_not_found() => {}
                    Err(other) => return Err(other),
                }
            }
        }
        if let Some(newest) = repo.snapshots().await?.manifests.pop() {
            let copied = repo.copy_to(&second, std::slice::from_ref(&newest.id), &|_| {}).await;
            match copied {
                Ok(_) | Err(Error::TooLong { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        if round % 2 == 1 {
            let mut report = repo.check(&CheckOptions { read_data: true, now: chrono::Utc::now() }).await?;
            // A good chunk that passes for damaged: the next backup that has its data writes over it.
            if let Some((_, part)) = listed.last().and_then(|manifest| manifest.parts().last()) {
                let chunk = part.chunks[0];
                let copy = chunk.copy.map(|copy| format!("-{copy}")).unwrap_or_default();
                let object = format!("chunks/{:.2}/{}{copy}", chunk.id.to_string(), chunk.id);
                let kind = FaultKind::Damaged { message: "a test says so".into() };
                report.faults.push(Fault { chunk: chunk.id, object, kind, touches: Vec::new() });
            }
            repo.quarantine_faults(&report, chrono::Utc::now()).await?;
            tokio::time::sleep(GRACE).await;
        }
        repo.prune(&prune).await?;
        let old = second.snapshots().await?.manifests;
        if old.len() > 1 {
            second.forget(&[old[0].id.clone()], chrono::Utc::now()).await?;
        }
        second.prune(&prune).await?;
    }
    Ok(())
}

/// Not a test by itself: what the children of the other tests run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let rounds = std::env::var(ROUNDS).unwrap().parse().unwrap();
    work(&folder, rounds).await.unwrap();
}

fn start(folder: &Path, rounds: u64, failpoint: &[(&str, String)]) -> tokio::process::Child {
    tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["kill::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(ROUNDS, rounds.to_string())
        .envs(failpoint.iter().map(|(name, value)| (*name, value)))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn failed(child: tokio::process::Child) -> String {
    let output = child.wait_with_output().await.unwrap();
    if output.status.success() { String::new() } else { String::from_utf8_lossy(&output.stderr).into_owned() }
}

/// Everything that is listed reads back, and everything that must be listed is. Gives the parts that were read.
async fn verify(folder: &Path, story: &str) -> u64 {
    let mut parts = 0;
    for name in ["repo", "second"] {
        let store = Store::folder(&folder.join(name)).unwrap();
        let repo = match Repository::open(store).await {
            // Killed before there was one.
            Err(Error::NotARepository { .. }) => continue,
            other => other.unwrap_or_else(|error| panic!("{story}: {error}")),
        };
        let listing = repo.snapshots().await.unwrap();
        assert_eq!(listing.unreadable, [], "{story}");
        for manifest in &listing.manifests {
            for (_, part) in manifest.parts() {
                let bytes = read(&repo, manifest, &part.name)
                    .await
                    .unwrap_or_else(|error| panic!("{story}: {error}"));
                assert!(bytes == content(&part.name), "{story}: {} reads back differently", part.name);
                parts += 1;
            }
        }
        let report = repo.check(&CheckOptions { read_data: true, now: chrono::Utc::now() }).await.unwrap();
        assert!(report.passed(), "{story}: {report}");
        assert_eq!(report.whole.len(), listing.manifests.len(), "{story}");
        if name == "repo" {
            let listed: BTreeSet<_> =
                listing.manifests.iter().map(|manifest| manifest.id.to_string()).collect();
            let mut must = BTreeSet::new();
            for line in std::fs::read_to_string(folder.join("told")).unwrap_or_default().lines() {
                match line.split_once(' ') {
                    Some(("committed", id)) => drop(must.insert(id.to_owned())),
                    Some((_, id)) => drop(must.remove(id)),
                    None => {}
                }
            }
            let lost: Vec<_> = must.difference(&listed).collect();
            assert!(lost.is_empty(), "{story}: {lost:?} had been committed, and is not listed");
        }
    }
    parts
}

/// Kills a process with SIGKILL when it has created this file, or has ended; true if it created the file.
pub(crate) async fn kill_when_reached(mut child: tokio::process::Child, reached: &Path, point: &str) -> bool {
    let since = Instant::now();
    while !reached.exists() && child.try_wait().unwrap().is_none() {
        assert!(since.elapsed() < Duration::from_secs(120), "{point} was not reached");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let met = reached.exists();
    let _ = child.kill().await;
    met
}

/// Killed once, at a failpoint. Gives whether it was reached, and the parts that were read.
async fn kill_at(folder: PathBuf, point: String) -> (bool, u64) {
    std::fs::create_dir(&folder).unwrap();
    let reached = folder.join("reached");
    let plan =
        [("DBHAUL_FAILPOINT", point.clone()), ("DBHAUL_FAILPOINT_REACHED", reached.display().to_string())];
    let met = kill_when_reached(start(&folder, ROUNDS_TO_KILL, &plan), &reached, &point).await;
    let story = format!("killed at {point}");
    let mut parts = verify(&folder, &story).await;
    // Work goes on, over what the dead process left.
    let error = failed(start(&folder, 2, &[])).await;
    assert!(error.is_empty(), "{story}: {error}");
    parts += verify(&folder, &format!("{story}, and went on")).await;
    std::fs::remove_dir_all(&folder).unwrap();
    (met, parts)
}

/// Kills at failpoints: at those of a whole run that `chosen` picks by name, number and how often it was reached.
async fn kill_at_failpoints(chosen: impl Fn(&str, u64, u64) -> bool) {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    std::fs::create_dir(&whole).unwrap();
    let log = dir.path().join("log");
    let plan = [("DBHAUL_FAILPOINT_LOG", log.display().to_string())];
    let error = failed(start(&whole, ROUNDS_TO_KILL, &plan)).await;
    assert!(error.is_empty(), "{error}");
    verify(&whole, "nobody was killed").await;
    let log = std::fs::read_to_string(log).unwrap();
    let mut most = BTreeMap::<&str, u64>::new();
    for line in log.lines() {
        let (name, count) = line.split_once('@').unwrap();
        let count: u64 = count.parse().unwrap();
        most.entry(name).and_modify(|most| *most = count.max(*most)).or_insert(count);
    }
    // Every kind of object that is written or deleted.
    for kind in
        ["chunks", "snapshots", "tombstones", "marks", "marks.done", "attestations", "journals", "quarantine"]
    {
        assert!(most.contains_key(&*format!("put:{kind}:before")), "{kind}: {most:?}");
    }
    for kind in ["chunks", "snapshots", "journals", "quarantine"] {
        assert!(most.contains_key(&*format!("delete:{kind}:after")), "{kind}: {most:?}");
    }
    let points = most.iter().flat_map(|(name, most)| (1..=*most).map(move |count| (*name, count, *most)));
    let points: Vec<_> = points.filter(|(name, count, most)| chosen(name, *count, *most)).collect();
    let kills = futures::stream::iter(points.iter().enumerate())
        .map(|(number, (name, count, _))| {
            kill_at(dir.path().join(number.to_string()), format!("{name}@{count}"))
        })
        .buffer_unordered(4)
        .collect::<Vec<_>>()
        .await;
    let killed = kills.iter().filter(|(met, _)| *met).count();
    let parts: u64 = kills.iter().map(|(_, parts)| parts).sum();
    println!(
        "count: kill: {} failpoints, killed {killed} times at them ({} not reached), {parts} parts read back: nothing lost",
        most.len(),
        kills.len() - killed
    );
    // How often a point is reached depends on time.
    assert!(killed * 10 >= kills.len() * 8, "{killed} of {}: {most:?}", kills.len());
}

/// Kills at random moments, again and again over the same folder.
async fn kill_at_random(kills: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Rng::new(11);
    let mut parts = 0;
    for number in 0..kills {
        let mut child = start(dir.path(), 1000, &[]);
        let moment = Duration::from_millis(20 + rng.below(900) as u64);
        tokio::time::sleep(moment).await;
        let ended = child.try_wait().unwrap();
        let _ = child.kill().await;
        let story = format!("kill {number} after {moment:?}");
        if let Some(status) = ended {
            panic!("{story}: it ended by itself, {status}: {}", failed(child).await);
        }
        parts += verify(dir.path(), &story).await;
        if (number + 1).is_multiple_of(50) {
            println!("kill: {} times so far, {parts} parts read back: nothing lost", number + 1);
        }
    }
    let committed = std::fs::read_to_string(dir.path().join("told")).unwrap_or_default().lines().count();
    println!(
        "count: kill: {kills} times at random moments, {committed} things done, {parts} parts read back: nothing lost"
    );
    assert!(parts > kills && committed as u64 > kills / 2);
}

#[tokio::test]
async fn killed_at_every_failpoint_loses_no_listed_snapshot() {
    kill_at_failpoints(|_, count, most| count == most.div_ceil(2)).await;
}

#[tokio::test]
async fn killed_at_random_moments_loses_no_listed_snapshot() {
    kill_at_random(40).await;
}

#[tokio::test]
#[ignore = "long: run by scripts/test --all"]
async fn killed_often_at_every_failpoint_loses_no_listed_snapshot() {
    kill_at_failpoints(|_, count, most| count <= 3 || count * 4 % most < 4).await;
}

#[tokio::test]
#[ignore = "long: run by scripts/test --all"]
async fn killed_at_very_many_random_moments_loses_no_listed_snapshot() {
    kill_at_random(300).await;
}
