//! Changed recipients: snapshots that depend on a removed identity are reported, and a rotation abandons nothing
//! before its replacement is verified.

use std::collections::HashSet;

use crate::common::{data, read, small, write_snapshot};
use repository::{
    Access, CheckOptions, Encryption, Identity, InitOptions, Manifest, PruneOptions, Repository, Store,
    StoreEnv,
};

fn store(dir: &tempfile::TempDir) -> Store {
    Store::open(dir.path().join("repo").to_str().unwrap(), &StoreEnv::default()).unwrap()
}

async fn created(identity: &Identity) -> (tempfile::TempDir, Repository) {
    let dir = tempfile::tempdir().unwrap();
    let encryption = Encryption { recipients: vec![identity.recipient()], passphrase: None };
    let options = InitOptions { encryption: Some(encryption), ..small() };
    let repo = Repository::init(store(&dir), &options).await.unwrap();
    (dir, repo)
}

/// As a host that has the key file, and these identities.
async fn open(dir: &tempfile::TempDir, repo: &Repository, identities: &[&Identity]) -> Repository {
    let identities = identities.iter().map(|identity| (*identity).clone()).collect();
    let access = Access { key: repo.key().cloned(), identities, ..Access::default() };
    Repository::open_with(store(dir), &access).await.unwrap()
}

fn files(dir: &tempfile::TempDir, below: &str) -> HashSet<String> {
    let mut found = HashSet::new();
    let mut folders = vec![dir.path().join("repo").join(below)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path)
            } else {
                found.insert(path.display().to_string());
            }
        }
    }
    found
}

async fn readable(repo: &Repository, snapshot: &Manifest, name: &str) -> Option<Vec<u8>> {
    let found = repo.find(snapshot.id.as_str()).await.ok()?;
    read(repo, &found, name).await.ok()
}

#[tokio::test]
async fn a_snapshot_that_no_recipient_can_restore_is_named_and_rotated() {
    let [old, new, third] = [(); 3].map(|()| Identity::generate());
    let (dir, mut repo) = created(&old).await;
    let (early, late) = (data(1, 40_000), data(2, 30_000));
    let first = write_snapshot(&repo, "nightly", &[("a", &early)]).await;
    assert!(repo.not_restorable().await.unwrap().is_empty());

    // Added: the first one still restores all of it; reuse goes on.
    repo.set_recipients(vec![old.recipient(), new.recipient()]).await.unwrap();
    let host = open(&dir, &repo, &[]).await;
    let second = write_snapshot(&host, "nightly", &[("a", &early), ("b", &late)]).await;
    assert_eq!(second.stats.new_plain_bytes, 30_000);
    assert!(host.not_restorable().await.unwrap().is_empty());
    assert_eq!(readable(&open(&dir, &repo, &[&old]).await, &second, "a").await.unwrap(), early);
    assert!(readable(&open(&dir, &repo, &[&new]).await, &second, "a").await.is_none());

    // Removed: reported as not restorable by anybody alone, even by a host that cannot decrypt.
    repo.set_recipients(vec![new.recipient()]).await.unwrap();
    let host = open(&dir, &repo, &[]).await;
    // Of one second, in the order of their names.
    let mut both = [first.id.clone(), second.id.clone()];
    both.sort();
    assert_eq!(host.not_restorable().await.unwrap(), both);
    let check = CheckOptions { read_data: false, now: chrono::Utc::now() };
    let report = host.check(&check).await.unwrap();
    assert_eq!(report.not_restorable, both);
    assert!(report.to_string().contains("cannot be restored by any current recipient"), "{report}");
    // The next backup does not reuse chunks that it could not restore, but all others.
    let next = write_snapshot(&host, "nightly", &[("a", &early), ("b", &late)]).await;
    assert_eq!(next.stats.new_plain_bytes, 40_000);
    assert_eq!(readable(&open(&dir, &repo, &[&new]).await, &next, "a").await.unwrap(), early);
    assert_eq!(host.not_restorable().await.unwrap(), both);

    // Data that cannot be read or verified is not changed.
    let before = (files(&dir, "snapshots"), files(&dir, "chunks"));
    assert!(host.rotate(&|_| {}).await.unwrap_err().is_locked());
    assert!(open(&dir, &repo, &[&old]).await.rotate(&|_| {}).await.unwrap_err().is_locked());
    assert_eq!(before, (files(&dir, "snapshots"), files(&dir, "chunks")));
    // The manifest of the second can be read, and the next backup has written its chunks again.
    let manifest = dir.path().join(format!("repo/snapshots/{}.json", first.id));
    let untouched = std::fs::read(&manifest).unwrap();
    let report = open(&dir, &repo, &[&new]).await.rotate(&|_| {}).await.unwrap();
    assert_eq!((&report.rotated[..], report.failed.len()), (&[second.id.clone()][..], 1), "{report:?}");
    assert_eq!(report.failed[0].id, first.id);
    assert_eq!(std::fs::read(&manifest).unwrap(), untouched);

    let report = open(&dir, &repo, &[&old, &new]).await.rotate(&|_| {}).await.unwrap();
    assert_eq!(report.rotated, std::slice::from_ref(&first.id));
    assert!(report.failed.is_empty(), "{report:?}");
    assert_eq!(report.chunks, 0, "the next backup had written them already");
    assert!(files(&dir, "chunks").is_superset(&before.1), "nothing is removed but by prune");
    assert!(files(&dir, "rotated").is_empty());
    let as_new = open(&dir, &repo, &[&new]).await;
    for (snapshot, part, bytes) in [(&first, "a", &early), (&second, "a", &early), (&second, "b", &late)] {
        assert_eq!(readable(&as_new, snapshot, part).await.as_ref(), Some(bytes));
    }
    assert!(as_new.not_restorable().await.unwrap().is_empty());
    let report = as_new.check(&CheckOptions { read_data: true, now: chrono::Utc::now() }).await.unwrap();
    assert!(report.passed() && report.whole.len() == 3, "{report}");
    as_new.prune(&PruneOptions { dry_run: false, now: chrono::Utc::now() }).await.unwrap();
    let again = as_new.rotate(&|_| {}).await.unwrap();
    assert_eq!((again.rotated.len(), again.current, again.chunks), (0, 3, 0));

    // Another one joins, and all is written for both.
    repo.set_recipients(vec![new.recipient(), third.recipient()]).await.unwrap();
    let report = open(&dir, &repo, &[&new]).await.rotate(&|_| {}).await.unwrap();
    assert_eq!(report.rotated.len(), 3);
    assert!(report.chunks > 10 && report.stored_bytes > 60_000, "{report:?}");
    for identity in [&new, &third] {
        let alone = open(&dir, &repo, &[identity]).await;
        assert_eq!(readable(&alone, &second, "a").await.unwrap(), early);
        assert!(alone.check(&check).await.unwrap().not_restorable.is_empty());
    }
}

/// A rotation that cannot go on leaves each snapshot as it was, or as it is to be.
#[tokio::test]
async fn a_damaged_snapshot_is_left_as_it_is_and_the_others_are_rotated() {
    let [old, new] = [(); 2].map(|()| Identity::generate());
    let (dir, mut repo) = created(&old).await;
    let (one, two) = (data(3, 30_000), data(4, 30_000));
    let first = write_snapshot(&repo, "nightly", &[("a", &one)]).await;
    let second = write_snapshot(&repo, "nightly", &[("b", &two)]).await;
    repo.set_recipients(vec![new.recipient()]).await.unwrap();
    let chunk = first.sources[0].parts[0].chunks[1].id.to_string();
    let path = dir.path().join(format!("repo/chunks/{}/{chunk}", &chunk[..2]));
    let sound = std::fs::read(&path).unwrap();
    let mut damaged = sound.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    let manifest = dir.path().join(format!("repo/snapshots/{}.json", first.id));
    let before = std::fs::read(&manifest).unwrap();
    let both = open(&dir, &repo, &[&old, &new]).await;
    let report = both.rotate(&|_| {}).await.unwrap();
    assert_eq!(report.rotated, std::slice::from_ref(&second.id));
    assert!(report.failed.len() == 1 && report.failed[0].error.contains("damaged"), "{report:?}");
    assert_eq!(std::fs::read(&manifest).unwrap(), before);
    std::fs::write(&path, sound).unwrap();
    let report = both.rotate(&|_| {}).await.unwrap();
    assert_eq!(report.rotated, std::slice::from_ref(&first.id));
    assert_eq!(readable(&open(&dir, &repo, &[&new]).await, &first, "a").await.unwrap(), one);
}
