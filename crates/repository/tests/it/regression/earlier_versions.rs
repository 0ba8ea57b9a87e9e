//! Repositories in `tests/fixtures/`, written by an earlier version: still read, checked, restored from and written
//! to.

use std::path::{Path, PathBuf};

use chrono::Utc;
use repository::{
    Access, CheckOptions, Identity, Manifest, Passphrase, PruneOptions, Repository, RepositoryKey, Store,
    StoreEnv,
};

use crate::common::{read, write_snapshot};

/// The rows of the part `rows` in the snapshot of this number: most of them are in both.
fn rows(snapshot: u64) -> Vec<u8> {
    let row = |n: u64| format!("{n}\tcustomer {}\t{}\t\\N\n", n.wrapping_mul(0x9E37_79B9) % 1_000_003, n % 7);
    (snapshot * 40..600 + snapshot * 40).flat_map(|n| row(n).into_bytes()).collect()
}

const PASSPHRASE: &str = "fixture passphrase";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn store(folder: &Path) -> Store {
    Store::open(folder.to_str().unwrap(), &StoreEnv::default()).unwrap()
}

async fn assert_sound(repository: &Repository) -> Vec<Manifest> {
    let listing = repository.snapshots().await.unwrap();
    assert!(listing.unreadable.is_empty(), "{:?}", listing.unreadable);
    for (number, manifest) in listing.manifests.iter().enumerate() {
        assert_eq!(read(repository, manifest, "rows").await.unwrap(), rows(number as u64));
        assert_eq!(read(repository, manifest, "empty").await.unwrap(), b"");
    }
    let report = repository.check(&CheckOptions { read_data: true, now: Utc::now() }).await.unwrap();
    assert!(report.passed() && report.strays.is_empty(), "{report}");
    assert_eq!(report.whole.len(), listing.manifests.len());
    listing.manifests
}

/// The third snapshot was forgotten: it is undeleted, its data is found again by a new backup, and prune accepts all.
async fn assert_usable(repository: &Repository) {
    let forgotten = repository.forgotten().await.unwrap();
    assert_eq!(forgotten.len(), 1);
    assert_eq!(repository.undelete(&forgotten[0].header.id).await.unwrap(), Vec::<String>::new());
    assert_eq!(assert_sound(repository).await.len(), 3);
    let again = write_snapshot(repository, "nightly", &[("rows", &rows(2)), ("empty", b"")]).await;
    assert_eq!(again.stats.new_chunks, 0, "every chunk is stored already");
    let report = repository.prune(&PruneOptions { dry_run: false, now: Utc::now() }).await.unwrap();
    assert_eq!((report.deleted, report.marked), (0, 0), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_repository_of_an_earlier_version_is_read_and_written() {
    let dir = tempfile::tempdir().unwrap();
    copy_folder(&fixture("format-1-plain"), dir.path());
    let repository = Repository::open(store(dir.path())).await.unwrap();
    let manifests = assert_sound(&repository).await;
    assert_eq!(manifests.len(), 2);
    let first = &manifests[0].id;
    assert_eq!(repository.pins().await.unwrap().get(first), Some(&true));
    let attestations = repository.attestations(first).await.unwrap();
    assert!(attestations.iter().filter(|found| found.passed).count() >= 2, "{attestations:?}");
    assert_usable(&repository).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_repository_of_an_earlier_version_is_read_and_written() {
    let dir = tempfile::tempdir().unwrap();
    copy_folder(&fixture("format-1-encrypted"), dir.path());
    // Recipients changed after the first snapshot: the passphrase opens all, the identity what was written later.
    let passphrase = Some(Passphrase::new(PASSPHRASE).unwrap());
    let access = Access { passphrase, ..Access::default() };
    let repository = Repository::open_with(store(dir.path()), &access).await.unwrap();
    assert_eq!(assert_sound(&repository).await.len(), 2);
    let text = std::fs::read_to_string(fixture("format-1-identity.txt")).unwrap();
    let access = Access { identities: Identity::parse_file(&text).unwrap(), ..Access::default() };
    let later = Repository::open_with(store(dir.path()), &access).await.unwrap();
    let listing = later.snapshots().await.unwrap();
    assert_eq!(listing.manifests.iter().map(Manifest::is_sealed).collect::<Vec<_>>(), [true, false]);
    // A backup host with the key file alone lists and writes.
    let text = std::fs::read_to_string(fixture("format-1-key.txt")).unwrap();
    let access = Access { key: Some(RepositoryKey::parse_file(&text).unwrap()), ..Access::default() };
    let host = Repository::open_with(store(dir.path()), &access).await.unwrap();
    assert!(!host.can_read());
    assert_eq!(host.headers().await.unwrap().headers.len(), 2);
    assert_usable(&repository).await;
}
