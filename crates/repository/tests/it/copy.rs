//! Copies into a second repository, across encryption and chunk sizes; and what `stats` counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::common::{data, flip, folder, read, reseal, small, write_snapshot};
use repository::{
    Access, CheckOptions, Chunker, CopyReport, Encryption, Identity, InitOptions, PruneOptions, Repository,
    SnapshotId, Store, StoreEnv,
};

fn encrypted(identity: &Identity) -> InitOptions {
    let encryption = Some(Encryption { recipients: vec![identity.recipient()], passphrase: None });
    InitOptions { encryption, ..small() }
}

async fn copy(from: &Repository, to: &Repository) -> Result<CopyReport, repository::Error> {
    let ids: Vec<SnapshotId> = from.headers().await.unwrap().headers.into_iter().map(|h| h.id).collect();
    from.copy_to(to, &ids, &|_| {}).await
}

async fn whole(repo: &Repository) {
    let report = repo.check(&CheckOptions { read_data: true, now: chrono::Utc::now() }).await.unwrap();
    assert!(report.passed(), "{report}");
}

async fn with(dir: &tempfile::TempDir, identity: &Identity) -> Repository {
    let store = Store::open(dir.path().join("repo").to_str().unwrap(), &StoreEnv::default()).unwrap();
    let access = Access { identities: vec![identity.clone()], ..Access::default() };
    Repository::open_with(store, &access).await.unwrap()
}

#[tokio::test]
async fn only_what_is_missing_is_copied() {
    let ((_a, from), (_b, to)) = (folder(small()).await, folder(small()).await);
    let bytes = data(1, 200_000);
    let first = write_snapshot(&from, "nightly", &[("a", &bytes), ("empty", b"")]).await;
    let done = AtomicU64::new(0);
    let count = |bytes| {
        done.fetch_add(bytes, Ordering::Relaxed);
    };
    let report = from.copy_to(&to, std::slice::from_ref(&first.id), &count).await.unwrap();
    assert_eq!(report.copied[0].stats.new_chunks, first.stats.new_chunks);
    assert_eq!(done.into_inner(), 200_000);
    let copied = to.find("latest").await.unwrap();
    assert_eq!((&copied.id, copied.taken_at, &copied.job), (&first.id, first.taken_at, &first.job));
    assert_eq!(read(&to, &copied, "a").await.unwrap(), bytes);

    let mut longer = bytes.clone();
    longer.extend(data(2, 30_000));
    let second = write_snapshot(&from, "nightly", &[("a", &longer)]).await;
    let report = copy(&from, &to).await.unwrap();
    assert_eq!(report.present, std::slice::from_ref(&first.id));
    assert_eq!(report.copied.len(), 1);
    assert_eq!(report.copied[0].stats.new_chunks, second.stats.new_chunks);
    assert_eq!(copy(&from, &to).await.unwrap().present.len(), 2);
    // Snapshots that the target's own retention forgot stay forgotten.
    to.forget(std::slice::from_ref(&first.id), chrono::Utc::now()).await.unwrap();
    assert_eq!(copy(&from, &to).await.unwrap().forgotten, [first.id]);
    whole(&to).await;
    assert!(from.copy_to(&from, &[], &|_| {}).await.is_err(), "onto itself");
}

#[tokio::test]
async fn a_copy_crosses_encryption_and_chunk_sizes() {
    let identity = Identity::generate();
    let other = Identity::generate();
    let (_plain_dir, plain) = folder(small()).await;
    let (locked_dir, locked) = folder(encrypted(&identity)).await;
    let (second_dir, second) = folder(encrypted(&other)).await;
    let wide = Chunker { min: 4 << 10, average: 16 << 10, max: 64 << 10 };
    let (_wide_dir, wide) = folder(InitOptions { chunker: wide, ..small() }).await;
    let bytes = data(1, 150_000);
    let snapshot = write_snapshot(&plain, "nightly", &[("a", &bytes)]).await;

    // Into an encrypted one with its key alone; out of it with the identity only.
    copy(&plain, &locked).await.unwrap();
    assert!(copy(&locked, &second).await.unwrap_err().is_locked());
    let opened = with(&locked_dir, &identity).await;
    copy(&opened, &second).await.unwrap();
    whole(&opened).await;
    let second = with(&second_dir, &other).await;
    whole(&second).await;
    copy(&second, &wide).await.unwrap();
    whole(&wide).await;
    let end = wide.find(snapshot.id.as_str()).await.unwrap();
    assert_eq!(read(&wide, &end, "a").await.unwrap(), bytes);
    assert_eq!(end.sources[0].parts[0].sha256, snapshot.sources[0].parts[0].sha256);
    assert!(end.sources[0].parts[0].chunks.len() < snapshot.sources[0].parts[0].chunks.len());
}

#[tokio::test]
async fn a_damaged_snapshot_is_named_and_the_others_are_copied() {
    for wide in [false, true] {
        let (dir, from) = folder(small()).await;
        let chunker =
            if wide { Chunker { min: 4 << 10, average: 16 << 10, max: 64 << 10 } } else { small().chunker };
        let (_b, to) = folder(InitOptions { chunker, ..small() }).await;
        let bad = write_snapshot(&from, "nightly", &[("a", &data(1, 80_000))]).await;
        let good = write_snapshot(&from, "nightly", &[("a", &data(2, 80_000))]).await;
        let id = bad.sources[0].parts[0].chunks[1].id.to_string();
        let path = dir.path().join(format!("repo/chunks/{}/{id}", &id[..2]));
        std::fs::write(&path, flip(&std::fs::read(&path).unwrap(), 500)).unwrap();
        let report = copy(&from, &to).await.unwrap();
        assert_eq!(report.copied.iter().map(|c| &c.id).collect::<Vec<_>>(), [&good.id]);
        assert_eq!(report.failed[0].id, bad.id);
        assert!(report.failed[0].error.contains(&id), "{}", report.failed[0].error);
        whole(&to).await;
    }
}

#[tokio::test]
async fn stats_count_what_is_shared_and_what_is_a_snapshots_own() {
    let (_dir, repo) = folder(small()).await;
    let (shared, own) = (data(1, 200_000), data(2, 50_000));
    let first = write_snapshot(&repo, "nightly", &[("a", &shared), ("again", &shared)]).await;
    let second = write_snapshot(&repo, "nightly", &[("a", &shared), ("b", &own)]).await;
    let stats = repo.stats(chrono::Utc::now()).await.unwrap();
    assert_eq!((stats.raw_bytes, stats.deduplicated_bytes), (650_000, 250_000));
    assert_eq!(stats.stored_bytes, first.stats.stored_bytes + second.stats.stored_bytes);
    let [one, two] = stats.snapshots.as_slice() else { panic!("{stats:?}") };
    assert_eq!((one.raw_bytes, one.deduplicated_bytes, one.own_stored_bytes), (400_000, 200_000, 0));
    assert_eq!((two.raw_bytes, two.deduplicated_bytes), (250_000, 250_000));
    assert_eq!((two.own_stored_bytes, two.own_chunks), (second.stats.stored_bytes, second.stats.new_chunks));
    assert_eq!(stats.prune.unwrap().marked, 0);
    repo.forget(std::slice::from_ref(&second.id), chrono::Utc::now()).await.unwrap();
    let stats = repo.stats(chrono::Utc::now()).await.unwrap();
    assert_eq!(stats.snapshots[0].own_stored_bytes, first.stats.stored_bytes);
    assert_eq!(stats.prune.unwrap().marked, 0, "a tombstone holds its chunks");
}

#[tokio::test]
async fn another_snapshot_of_the_same_name_is_no_copy() {
    let ((_a, from), (b, to)) = (folder(small()).await, folder(small()).await);
    let ours = write_snapshot(&from, "nightly", &[("a", &data(1, 5_000))]).await;
    from.copy_to(&to, std::slice::from_ref(&ours.id), &|_| {}).await.unwrap();
    let manifest = b.path().join("repo/snapshots").join(format!("{}.json", ours.id));
    let text = std::fs::read_to_string(&manifest).unwrap();
    let other = reseal(&text.replace("\"nightly\"", "\"weekly\""));
    std::fs::write(&manifest, &other).unwrap();
    let report = copy(&from, &to).await.unwrap();
    assert_eq!((report.copied.len(), report.present.len(), report.failed.len()), (0, 0, 1), "{report:?}");
    let error = &report.failed[0].error;
    assert!(error.contains("another snapshot of this name (of weekly"), "{error}");
    assert_eq!(std::fs::read_to_string(&manifest).unwrap(), other, "it was written over");

    std::fs::write(&manifest, &text[..text.len() / 2]).unwrap();
    let report = copy(&from, &to).await.unwrap();
    assert!(report.present.is_empty() && report.failed.len() == 1, "{report:?}");
}

/// Every file below a folder, in the order of their names.
fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_copy_mends_what_the_target_has_lost() {
    let identity = Identity::generate();
    let wide = Chunker { min: 4 << 10, average: 16 << 10, max: 64 << 10 };
    for (story, options) in [
        ("alike", small()),
        ("encrypted otherwise", encrypted(&identity)),
        ("cut otherwise", InitOptions { chunker: wide, ..small() }),
    ] {
        let (_a, from) = folder(small()).await;
        let (b, to) = folder(options.clone()).await;
        let to = if options.encryption.is_some() { with(&b, &identity).await } else { to };
        let first = write_snapshot(&from, "nightly", &[("a", &data(1, 300_000))]).await;
        let second = write_snapshot(&from, "nightly", &[("a", &data(2, 30_000))]).await;
        copy(&from, &to).await.unwrap();
        assert!(copy(&from, &to).await.unwrap().repaired.is_empty(), "{story}: nothing is wrong yet");

        // One chunk is gone, and one has a flipped bit that a check has found.
        let chunks = files(&b.path().join("repo/chunks"));
        std::fs::remove_file(&chunks[0]).unwrap();
        let bytes = std::fs::read(&chunks[1]).unwrap();
        std::fs::write(&chunks[1], flip(&bytes, bytes.len() * 4)).unwrap();
        let report = to.check(&CheckOptions { read_data: true, now: chrono::Utc::now() }).await.unwrap();
        assert_eq!(report.faults.len(), 2, "{story}: {report}");
        to.quarantine_faults(&report, chrono::Utc::now()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;

        let copied = copy(&from, &to).await.unwrap();
        assert_eq!(copied.present, [first.id.clone(), second.id.clone()], "{story}: {copied:?}");
        assert_eq!(copied.repaired, report.broken, "{story}: {copied:?}");
        assert_eq!(files(&b.path().join("repo/chunks")), chunks, "{story}: in its place");
        whole(&to).await;
        let copied = copy(&from, &to).await.unwrap();
        assert!(copied.repaired.is_empty() && copied.failed.is_empty(), "{story}: {copied:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_mended_is_named() {
    let ((a, from), (b, to)) = (folder(small()).await, folder(small()).await);
    let first = write_snapshot(&from, "nightly", &[("a", &data(1, 30_000))]).await;
    copy(&from, &to).await.unwrap();
    let chunk = first.sources[0].parts[0].chunks[1].id.to_string();
    for dir in [&a, &b] {
        std::fs::remove_file(dir.path().join(format!("repo/chunks/{}/{chunk}", &chunk[..2]))).unwrap();
    }
    let report = copy(&from, &to).await.unwrap();
    assert!(report.repaired.is_empty() && report.failed.len() == 1, "{report:?}");
    assert!(report.failed[0].error.contains(&chunk), "{report:?}");
}

/// A running prune may be about to remove the tombstone, and would then remove that of a snapshot that was copied and
/// forgotten again.
#[tokio::test]
async fn forgotten_snapshots_are_not_copied_again() {
    let grace = Duration::from_secs(3);
    let (_a, from) = folder(small()).await;
    let (_b, to) = folder(InitOptions { grace, ..small() }).await;
    let first = write_snapshot(&from, "nightly", &[("a", &data(1, 20_000))]).await.id;
    let second = write_snapshot(&from, "nightly", &[("a", &data(2, 20_000))]).await.id;
    copy(&from, &to).await.unwrap();
    to.forget(std::slice::from_ref(&first), chrono::Utc::now()).await.unwrap();
    assert_eq!(copy(&from, &to).await.unwrap().forgotten, std::slice::from_ref(&first));
    tokio::time::sleep(grace * 3 / 2).await;
    let prune = PruneOptions { dry_run: false, now: chrono::Utc::now() };
    assert_eq!(to.prune(&prune).await.unwrap().expired, std::slice::from_ref(&first));
    let report = copy(&from, &to).await.unwrap();
    assert_eq!((report.forgotten, report.present), (vec![first.clone()], vec![second.clone()]));
    // A later one of the series tells when it was thinned last: nothing is left of this.
    to.forget(std::slice::from_ref(&second), chrono::Utc::now()).await.unwrap();
    tokio::time::sleep(grace * 3 / 2).await;
    to.prune(&prune).await.unwrap();
    let report = copy(&from, &to).await.unwrap();
    assert_eq!((report.copied.len(), report.forgotten), (1, vec![second]));
    whole(&to).await;
}

#[tokio::test]
async fn a_part_whose_chunks_are_not_in_order_is_not_copied() {
    let ((a, from), (_b, to)) = (folder(small()).await, folder(small()).await);
    let bad = write_snapshot(&from, "nightly", &[("a", &data(1, 60_000))]).await;
    let manifest = a.path().join(format!("repo/snapshots/{}.json", bad.id));
    let text = std::fs::read_to_string(&manifest).unwrap();
    let (body, seal) = text.trim_end().rsplit_once('\n').unwrap();
    let mut value: serde_json::Value = serde_json::from_str(body).unwrap();
    value["sources"][0]["parts"][0]["chunks"].as_array_mut().unwrap().swap(1, 3);
    std::fs::write(&manifest, reseal(&format!("{value}\n{seal}\n"))).unwrap();
    let report = copy(&from, &to).await.unwrap();
    assert!(report.copied.is_empty() && report.failed.len() == 1, "{report:?}");
    assert!(report.failed[0].error.contains("combined hash"), "{report:?}");
}
