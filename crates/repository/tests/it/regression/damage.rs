//! Damage found by a check is not relied on, whether or not a repair was requested.

use std::path::{Path, PathBuf};

use crate::common::{data, flip, folder, read, small, write_snapshot};
use repository::{CheckOptions, ChunkRef, Repository};

fn path(dir: &Path, chunk: &ChunkRef) -> PathBuf {
    let id = chunk.id.to_string();
    dir.join(format!("repo/chunks/{}/{id}", &id[..2]))
}

/// The size stays, so that only the finding tells.
fn damage(path: &Path) {
    std::fs::write(path, flip(&std::fs::read(path).unwrap(), 77)).unwrap();
}

async fn check(repo: &Repository) -> repository::CheckReport {
    // Times of findings and files are compared.
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let report = repo.check(&CheckOptions { read_data: true, now: chrono::Utc::now() }).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    report
}

#[tokio::test]
async fn the_next_backup_writes_anew_what_a_check_found_damaged() {
    let (dir, repo) = folder(small()).await;
    let bytes = data(1, 100_000);
    let first = write_snapshot(&repo, "nightly", &[("a", &bytes)]).await;
    let chunks = first.sources[0].parts[0].chunks.clone();
    damage(&path(dir.path(), &chunks[2]));
    assert_eq!(check(&repo).await.faults.len(), 1);
    let second = write_snapshot(&repo, "nightly", &[("a", &bytes)]).await;
    assert_eq!(second.stats.new_chunks, 1);
    assert_eq!(read(&repo, &first, "a").await.unwrap(), bytes, "and the old snapshot is whole too");
    // Before any further check.
    assert_eq!(write_snapshot(&repo, "nightly", &[("a", &bytes)]).await.stats.new_chunks, 0);
    assert!(check(&repo).await.passed());
}

#[tokio::test]
async fn what_was_put_back_as_it_was_is_used_again_once_a_check_has_passed() {
    let (dir, repo) = folder(small()).await;
    let bytes = data(1, 100_000);
    let first = write_snapshot(&repo, "nightly", &[("a", &bytes)]).await;
    let path = path(dir.path(), &first.sources[0].parts[0].chunks[3]);
    let (sound, written) = (std::fs::read(&path).unwrap(), path.metadata().unwrap().modified().unwrap());
    damage(&path);
    assert!(!check(&repo).await.passed());
    // From a copy of the folder, with its time.
    std::fs::write(&path, sound).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(written).unwrap();
    assert!(check(&repo).await.passed());
    assert_eq!(write_snapshot(&repo, "nightly", &[("a", &bytes)]).await.stats.new_chunks, 0);
}

/// So much is damaged that the finding lists no chunks.
#[tokio::test]
async fn a_finding_too_large_to_list_marks_the_whole_snapshot_as_damaged() {
    let (dir, repo) = folder(small()).await;
    let bytes = data(1, 6_000_000);
    let first = write_snapshot(&repo, "nightly", &[("a", &bytes)]).await;
    for chunk in &first.sources[0].parts[0].chunks {
        damage(&path(dir.path(), chunk));
    }
    assert!(check(&repo).await.faults.len() > 1000);
    let second = write_snapshot(&repo, "nightly", &[("a", &bytes)]).await;
    assert_eq!(second.stats.new_chunks, second.stats.chunks);
    assert!(check(&repo).await.passed());
}
