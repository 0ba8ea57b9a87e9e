//! A full disk can be freed, and chunks that a backup wrote before the disk was full are reused.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::common::{begin, data, read, small, try_snapshot, write_snapshot};
use crate::disk_space::{Mounted, run, store};
use repository::{
    CheckOptions, Encryption, Error, Identity, InitOptions, PartHeader, PruneOptions, Repository,
    SnapshotWriter,
};

fn prune() -> PruneOptions {
    PruneOptions { dry_run: false, now: chrono::Utc::now() }
}

async fn is_whole(repo: &Repository, snapshots: usize) {
    let report = repo.check(&CheckOptions { read_data: false, now: chrono::Utc::now() }).await.unwrap();
    assert!(report.passed() && report.whole.len() == snapshots, "{report}");
}

/// Another file fills the disk to the last byte.
fn fill(disk: &Path) {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(disk.join("other")).unwrap();
    for size in [1 << 20, 4096, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
    assert!(std::fs::write(disk.join("probe"), b"1").is_err(), "there is room left");
    let _ = std::fs::remove_file(disk.join("probe"));
}

async fn write_part(writer: &SnapshotWriter, bytes: &[u8]) -> Result<repository::Part, Error> {
    let pieces: Vec<_> = bytes.chunks(10_000).map(|m| Ok::<_, std::io::Error>(m.to_vec().into())).collect();
    writer.write_part(PartHeader::new("a", "test"), futures::stream::iter(pieces)).await
}

#[tokio::test]
async fn what_a_backup_wrote_before_the_disk_was_full_is_used_again() {
    let Some(disk) = Mounted::new("6m") else { return };
    let repo = Repository::init(store(disk.path()), &small()).await.unwrap();
    write_snapshot(&repo, "nightly", &[("a", &data(1, 300_000))]).await;
    let bytes = data(2, 8_000_000);
    let error = try_snapshot(&repo, "nightly", &[("a", &bytes)]).await.unwrap_err();
    let Error::OutOfSpace { kept, kept_bytes, .. } = error else { panic!("{error}") };
    assert!(kept_bytes > 2_000_000, "{error}");
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert!(error.to_string().contains(&format!("{kept} chunks")), "{error}");
    assert!(run(&["mount", "-o", "remount,size=64m"], disk.path()));
    let second = write_snapshot(&repo, "nightly", &[("a", &bytes)]).await;
    assert!(
        second.stats.new_chunks + kept <= second.stats.chunks,
        "{kept} chunks were to be used again, and {:?}",
        second.stats
    );
    is_whole(&repo, 2).await;
}

/// Forgetting, undeleting and pruning, with nothing left to write into.
#[tokio::test]
async fn a_full_disk_can_be_freed_without_any_space() {
    let encryption = Encryption { recipients: vec![Identity::generate().recipient()], passphrase: None };
    for encryption in [None, Some(encryption)] {
        let Some(disk) = Mounted::new("8m") else { return };
        let options = InitOptions { encryption, ..small() };
        let repo = Repository::init(store(disk.path()), &options).await.unwrap();
        let first = write_snapshot(&repo, "nightly", &[("a", &data(1, 1_000_000))]).await;
        let second = write_snapshot(&repo, "nightly", &[("a", &data(2, 1_000_000))]).await;
        std::fs::remove_file(disk.path().join("repo/reserve")).unwrap();
        fill(disk.path());

        let error = try_snapshot(&repo, "nightly", &[("a", &data(3, 50_000))]).await.unwrap_err();
        assert!(error.is_no_room(), "{error}");
        // Twice: the second time the manifest and its tombstone are two names of one file.
        for _ in 0..2 {
            repo.forget(std::slice::from_ref(&first.id), chrono::Utc::now()).await.unwrap();
            let listed = repo.headers().await.unwrap().headers;
            assert_eq!(listed.iter().map(|header| &header.id).collect::<Vec<_>>(), [&second.id]);
            let forgotten = repo.forgotten().await.unwrap();
            assert_eq!(forgotten.len(), 1);
            assert!(forgotten[0].until > chrono::Utc::now() + chrono::TimeDelta::hours(70));
            let (listed, until) = (repo.headers().await.unwrap(), chrono::Utc::now());
            let deleted = repo.last_deletion_at("nightly", &listed, until).await.unwrap();
            assert!(deleted.unwrap() > first.taken_at);
            assert_eq!(repo.undelete(&first.id).await.unwrap(), Vec::<String>::new());
            is_whole(&repo, 2).await;
        }
        repo.forget(std::slice::from_ref(&first.id), chrono::Utc::now()).await.unwrap();
        // Data within its grace period stays, which is not an error.
        let report = repo.prune(&prune()).await.unwrap();
        assert_eq!((report.deleted, report.forgotten), (0, first.stats.chunks), "{report}");
        is_whole(&repo, 1).await;

        let dry = repo.prune_now(&PruneOptions { dry_run: true, now: chrono::Utc::now() }).await.unwrap();
        let report = repo.prune_now(&prune()).await.unwrap();
        assert_eq!((dry.deleted, dry.deleted_bytes), (report.deleted, report.deleted_bytes));
        assert_eq!(report.expired, std::slice::from_ref(&first.id));
        assert!(report.deleted_bytes > 900_000 && report.is_done(), "{report}");
        is_whole(&repo, 1).await;
        assert!(repo.undelete(&first.id).await.unwrap_err().is_not_found());
        // There is room again, also for the next full disk.
        write_snapshot(&repo, "nightly", &[("a", &data(4, 50_000))]).await;
        is_whole(&repo, 2).await;
        drop(repo);
    }
}

/// Space is reserved for what cannot be written in place.
#[tokio::test]
async fn a_tombstone_is_undeleted_on_a_full_disk() {
    let Some(disk) = Mounted::new("8m") else { return };
    let repo = Repository::init(store(disk.path()), &small()).await.unwrap();
    let first = write_snapshot(&repo, "nightly", &[("a", &data(1, 1_000_000))]).await;
    repo.forget(std::slice::from_ref(&first.id), chrono::Utc::now()).await.unwrap();
    fill(disk.path());
    assert_eq!(repo.undelete(&first.id).await.unwrap(), Vec::<String>::new());
    assert_eq!(read(&repo, &first, "a").await.unwrap(), data(1, 1_000_000));
}

#[tokio::test]
async fn what_is_due_is_pruned_without_room_to_write() {
    let Some(disk) = Mounted::new("8m") else { return };
    let grace = Duration::from_secs(3);
    let repo = Repository::init(store(disk.path()), &InitOptions { grace, ..small() }).await.unwrap();
    let first = write_snapshot(&repo, "nightly", &[("a", &data(1, 1_000_000))]).await;
    let second = write_snapshot(&repo, "nightly", &[("a", &data(2, 500_000))]).await;
    repo.forget(std::slice::from_ref(&first.id), chrono::Utc::now()).await.unwrap();
    tokio::time::sleep(grace + Duration::from_millis(300)).await;
    let report = repo.prune(&prune()).await.unwrap();
    assert_eq!(report.marked, first.stats.chunks, "{report}");
    tokio::time::sleep(grace + Duration::from_millis(300)).await;
    std::fs::remove_file(disk.path().join("repo/reserve")).unwrap();
    fill(disk.path());
    let report = repo.prune(&prune()).await.unwrap();
    assert!(report.deleted == first.stats.chunks && report.is_done(), "{report}");
    assert_eq!(read(&repo, &second, "a").await.unwrap(), data(2, 500_000));
}

#[tokio::test]
async fn a_prune_that_does_not_wait_is_refused_while_a_backup_runs() {
    let (dir, repo) = crate::common::folder(small()).await;
    write_snapshot(&repo, "nightly", &[("a", &data(1, 50_000))]).await;
    let writer = begin(&repo, "nightly").await;
    let id = writer.id().to_string();
    write_part(&writer, &data(2, 50_000)).await.unwrap();
    let error = repo.prune_now(&prune()).await.unwrap_err();
    assert!(matches!(&error, Error::InUse { by, .. } if *by == id) && error.is_refused(), "{error}");
    // A backup that reported its failure does not count as running; its data is freed.
    writer.abandon().await;
    let report = repo.prune_now(&prune()).await.unwrap();
    assert!(report.deleted > 5 && report.is_done(), "{report}");
    assert_eq!(std::fs::read_dir(dir.path().join("repo/journals")).unwrap().count(), 0);

    // One that was taken for dead lists nothing: its chunks may be gone.
    let writer = begin(&repo, "nightly").await;
    let part = write_part(&writer, &data(3, 50_000)).await.unwrap();
    for entry in std::fs::read_dir(dir.path().join("repo/journals")).unwrap() {
        let file = std::fs::File::options().write(true).open(entry.unwrap().path()).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(1000)).unwrap();
    }
    assert!(repo.prune_now(&prune()).await.unwrap().deleted > 5);
    let null = serde_json::Value::Null;
    let source = repository::SourceRecord {
        name: "s".into(),
        kind: "test".into(),
        server: null.clone(),
        details: null,
        parts: vec![part],
    };
    let error = writer.commit(vec![source], true).await.unwrap_err();
    assert!(matches!(error, Error::Overrun), "{error}");
    is_whole(&repo, 1).await;
    // And its leftovers do not block names forever.
    write_snapshot(&repo, "nightly", &[("a", &data(3, 50_000))]).await;
    is_whole(&repo, 2).await;
}
