//! A rotation of recipients is killed at every failpoint. Each time the holder of all identities can read every
//! listed snapshot, and the next rotation completes the work: the current recipient can read everything alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use crate::common::{data, read, small, write_snapshot};
use crate::kill::kill_when_reached;
use futures::StreamExt as _;
use repository::{Access, CheckOptions, Encryption, Identity, InitOptions, Repository, RepositoryKey, Store};

/// The folder that a child works in; only a child has it.
const FOLDER: &str = "DBHAUL_TEST_KILL_ROTATE_FOLDER";

fn content(name: &str) -> Vec<u8> {
    let seed = name.split('-').nth(1).and_then(|seed| seed.parse().ok()).unwrap();
    data(seed, 12_000)
}

/// Opens the repository with the identities of these files.
async fn open(folder: &Path, identities: &[&str]) -> Repository {
    let file = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let identities = identities.iter().flat_map(|name| Identity::parse_file(&file(name)).unwrap()).collect();
    let key = Some(RepositoryKey::parse_file(&file("key")).unwrap());
    let store = Store::folder(&folder.join("repo")).unwrap();
    Repository::open_with(store, &Access { key, identities, ..Access::default() }).await.unwrap()
}

/// Three snapshots that share chunks, encrypted to a recipient that was replaced.
async fn prepare(folder: &Path) {
    let [old, new] = [(); 2].map(|()| Identity::generate());
    let encryption = Encryption { recipients: vec![old.recipient()], passphrase: None };
    let options = InitOptions { encryption: Some(encryption), ..small() };
    let store = Store::folder(&folder.join("repo")).unwrap();
    let mut repo = Repository::init(store, &options).await.unwrap();
    for [a, b] in [["p-1", "p-2"], ["p-2", "p-3"], ["p-3", "p-4"]] {
        write_snapshot(&repo, "nightly", &[(a, &content(a)), (b, &content(b))]).await;
    }
    repo.set_recipients(vec![new.recipient()]).await.unwrap();
    let key = repo.key().unwrap().to_file();
    for (name, text) in [("old", old.to_file()), ("new", new.to_file()), ("key", key)] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

/// Not a test by itself: what the children of the other test run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    rotate(Path::new(&folder)).await;
}

async fn rotate(folder: &Path) {
    let report = open(folder, &["old", "new"]).await.rotate(&|_| {}).await.unwrap();
    assert!(report.failed.is_empty(), "{report:?}");
}

fn start(folder: &Path, plan: &[(&str, String)]) -> tokio::process::Child {
    tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["kill_rotate::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .envs(plan.iter().map(|(name, value)| (*name, value)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Every snapshot is listed, and these identities read all of it.
async fn verify(folder: &Path, identities: &[&str], story: &str) {
    let repo = open(folder, identities).await;
    let listing = repo.snapshots().await.unwrap();
    assert_eq!((listing.unreadable.len(), listing.manifests.len()), (0, 3), "{story}: {listing:?}");
    for sealed in &listing.manifests {
        let manifest = repo.find(sealed.id.as_str()).await.unwrap_or_else(|e| panic!("{story}: {e}"));
        let parts: Vec<_> = manifest.parts().map(|(_, part)| part.name.clone()).collect();
        assert_eq!(parts.len(), 2, "{story}");
        for name in parts {
            let bytes = read(&repo, &manifest, &name).await.unwrap_or_else(|e| panic!("{story}: {e}"));
            assert!(bytes == content(&name), "{story}: {name} reads back differently");
        }
    }
    let report = repo.check(&CheckOptions { read_data: true, now: chrono::Utc::now() }).await.unwrap();
    assert!(report.passed(), "{story}: {report}");
}

async fn kill_at(folder: &Path, point: &str) -> bool {
    std::fs::create_dir(folder).unwrap();
    prepare(folder).await;
    let reached = folder.join("reached");
    let plan =
        [("DBHAUL_FAILPOINT", point.to_owned()), ("DBHAUL_FAILPOINT_REACHED", reached.display().to_string())];
    let met = kill_when_reached(start(folder, &plan), &reached, point).await;
    let story = format!("killed at {point}");
    verify(folder, &["old", "new"], &story).await;
    rotate(folder).await;
    verify(folder, &["new"], &format!("{story}, and rotated again")).await;
    met
}

#[tokio::test]
async fn a_rotation_that_is_killed_anywhere_loses_nothing_and_is_ended_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    std::fs::create_dir(&whole).unwrap();
    prepare(&whole).await;
    let log = dir.path().join("log");
    let status = start(&whole, &[("DBHAUL_FAILPOINT_LOG", log.display().to_string())]).wait().await.unwrap();
    assert!(status.success());
    verify(&whole, &["new"], "nobody was killed").await;
    let mut most = BTreeMap::<String, u64>::new();
    for line in std::fs::read_to_string(log).unwrap().lines() {
        let (name, count) = line.split_once('@').unwrap();
        let count: u64 = count.parse().unwrap();
        most.entry(name.to_owned()).and_modify(|most| *most = count.max(*most)).or_insert(count);
    }
    for kind in ["put:rotated:after", "put:snapshots:before", "delete:rotated:before", "put:chunks:after"] {
        assert!(most.contains_key(kind), "{kind}: {most:?}");
    }
    // The first time, the last, and one between.
    let points = most.iter().flat_map(|(name, most)| {
        let counts = std::collections::BTreeSet::from([1, most.div_ceil(2), *most]);
        counts.into_iter().map(move |count| format!("{name}@{count}"))
    });
    let points: Vec<String> = points.collect();
    let kills = futures::stream::iter(points.iter().enumerate())
        .map(|(number, point)| {
            let folder = dir.path().join(number.to_string());
            async move { kill_at(&folder, point).await }
        })
        .buffer_unordered(4)
        .collect::<Vec<_>>()
        .await;
    let killed = kills.iter().filter(|met| **met).count();
    assert!(killed * 10 >= kills.len() * 9, "{killed} of {}: {points:?}", kills.len());
}
