//! A disk that is full, and one that may not be written to.

#![allow(clippy::print_stderr, reason = "a test that cannot run says so")]

use std::path::Path;
use std::process::Command;

use crate::common::{data, read, small, try_snapshot, write_snapshot};
use repository::{CheckOptions, Repository, Store, StoreEnv};

/// A file system of its own, gone with the value. Only root may mount one.
pub(crate) struct Mounted(tempfile::TempDir);

impl Mounted {
    pub(crate) fn new(size: &str) -> Option<Mounted> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let done = run(&["mount", "-t", "tmpfs", "-o", &options, "tmpfs"], dir.path());
        if !done {
            eprintln!("SKIPPED: a small file system cannot be mounted here (root is needed)");
            return None;
        }
        Some(Mounted(dir))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run(&["umount"], self.0.path());
    }
}

pub(crate) fn run(command: &[&str], path: &Path) -> bool {
    let output = Command::new(command[0]).args(&command[1..]).arg(path).output();
    output.is_ok_and(|output| output.status.success())
}

pub(crate) fn store(path: &Path) -> Store {
    Store::open(path.join("repo").to_str().unwrap(), &StoreEnv::default()).unwrap()
}

#[tokio::test]
async fn a_full_disk_is_reported_and_damages_nothing() {
    let Some(disk) = Mounted::new("3m") else { return };
    let repo = Repository::init(store(disk.0.path()), &small()).await.unwrap();
    let small_one = data(1, 300_000);
    let first = write_snapshot(&repo, "nightly", &[("a", &small_one)]).await;
    let error = try_snapshot(&repo, "nightly", &[("a", &data(2, 8_000_000))]).await.unwrap_err().to_string();
    assert!(error.contains("the disk is full") && error.contains("chunks/"), "{error}");
    let now = chrono::Utc::now();
    assert_eq!(repo.snapshots().await.unwrap().manifests, std::slice::from_ref(&first));
    let report = repo.check(&CheckOptions { read_data: true, now }).await.unwrap();
    assert!(report.faults.is_empty() && report.whole.len() == 1, "{report}");
    assert_eq!(read(&repo, &first, "a").await.unwrap(), small_one);
    // With room again, it goes on.
    assert!(run(&["mount", "-o", "remount,size=64m"], disk.0.path()));
    let second = write_snapshot(&repo, "nightly", &[("a", &data(2, 8_000_000))]).await;
    assert!(second.stats.new_plain_bytes < 8_000_000, "what was written before is used again");
    let report = repo.check(&CheckOptions { read_data: true, now }).await.unwrap();
    assert!(report.faults.is_empty() && report.whole.len() == 2, "{report}");
}

#[tokio::test]
async fn a_read_only_folder_can_be_read_and_says_that_it_cannot_be_written() {
    let Some(disk) = Mounted::new("16m") else { return };
    let repo = Repository::init(store(disk.0.path()), &small()).await.unwrap();
    let first = write_snapshot(&repo, "nightly", &[("a", &data(1, 100_000))]).await;
    assert!(run(&["mount", "-o", "remount,ro"], disk.0.path()));
    let error = try_snapshot(&repo, "nightly", &[("a", &data(2, 100_000))]).await.unwrap_err().to_string();
    assert!(error.contains("read-only"), "{error}");
    let error =
        Repository::init(store(&disk.0.path().join("other")), &small()).await.unwrap_err().to_string();
    assert!(error.contains("read-only"), "{error}");
    let now = chrono::Utc::now();
    let report = repo.check(&CheckOptions { read_data: true, now }).await.unwrap();
    assert!(report.passed() && report.not_attested.is_some(), "{report}");
    assert_eq!(read(&repo, &first, "a").await.unwrap(), data(1, 100_000));
    assert!(repo.forget(&[first.id], now).await.is_err());
}
