//! One suite for every store: what a repository requires of it, and what the repository then does on it.

// The counts are what these tests are for.
#![allow(clippy::print_stdout)]

use crate::s3_server;
use std::time::Duration;

use crate::common::{data, read, small, write_snapshot};
use repository::{
    CheckOptions, Encryption, Error, Identity, InitOptions, PruneOptions, Repository, Store, StoreEnv,
};

/// Far above what lies between two steps of the suite on a machine that is busy elsewhere, and above the second to which
/// an S3 server rounds its times.
const GRACE: Duration = Duration::from_secs(6);

/// Until the grace period of what has just been written is over, by whatever the store's clock rounds to.
async fn outlast_the_grace() {
    tokio::time::sleep(GRACE + Duration::from_secs(2)).await;
}

/// Everything that a repository does, in its order. `conditional` says whether the store honours conditional writes.
async fn suite(store: Store, conditional: bool) {
    let probe = store.probe().await.unwrap();
    assert!(probe.list_after_write && probe.overwrite && probe.delete, "{probe:?}");
    assert_eq!(probe.conditional_put, conditional);

    assert!(Repository::open(store.clone()).await.unwrap_err().is_not_found());
    let identity = Identity::generate();
    let encryption = Some(Encryption { recipients: vec![identity.recipient()], passphrase: None });
    let repo =
        Repository::init(store.clone(), &InitOptions { grace: GRACE, encryption, ..small() }).await.unwrap();
    assert_eq!(repo.probe(), Some(probe));
    let again = Repository::init(store.clone(), &small()).await;
    assert!(again.unwrap_err().is_already_exists());
    let access = repository::Access { identities: vec![identity], ..Default::default() };
    let repo = Repository::open_with(store, &access).await.unwrap();

    // Written at the same time, read back, not stored twice.
    let (shared, own) = (data(1, 120_000), data(2, 40_000));
    let parts: [&[(&str, &[u8])]; 2] = [&[("a", &shared), ("empty", b"")], &[("a", &shared), ("b", &own)]];
    let (first, second) =
        tokio::join!(write_snapshot(&repo, "one", parts[0]), write_snapshot(&repo, "two", parts[1]));
    let third = write_snapshot(&repo, "one", &[("a", &shared)]).await;
    assert_eq!(third.stats.new_chunks, 0);
    assert_eq!(read(&repo, &second, "b").await.unwrap(), own);
    assert_eq!(repo.headers().await.unwrap().headers.len(), 3);
    let now = chrono::Utc::now();
    let check = CheckOptions { read_data: true, now };
    assert!(repo.check(&check).await.unwrap().passed());
    assert_eq!(repo.attestations(&first.id).await.unwrap().len(), 1);
    assert_eq!(repo.stats(now).await.unwrap().raw_bytes, 120_000 * 3 + 40_000);

    // Forgotten, undeleted, forgotten, marked, deleted.
    repo.forget(std::slice::from_ref(&second.id), now).await.unwrap();
    assert_eq!(repo.forgotten().await.unwrap()[0].header.id, second.id);
    repo.undelete(&second.id).await.unwrap();
    repo.forget(std::slice::from_ref(&second.id), now).await.unwrap();
    let prune = PruneOptions { dry_run: false, now };
    assert_eq!(repo.prune(&prune).await.unwrap().marked, 0);
    outlast_the_grace().await;
    assert!(matches!(repo.undelete(&second.id).await, Err(Error::NoSnapshot { .. })));
    assert_eq!(repo.prune(&prune).await.unwrap().expired, std::slice::from_ref(&second.id));
    repo.prune(&prune).await.unwrap();
    outlast_the_grace().await;
    let pruned = repo.prune(&prune).await.unwrap();
    assert!(pruned.deleted > 3, "{pruned}");
    let report = repo.check(&check).await.unwrap();
    assert!(report.passed() && report.unreferenced == 0 && report.whole.len() == 2, "{report}");
    assert_eq!(read(&repo, &first, "a").await.unwrap(), shared);
    println!(
        "count: conformance ({}): 3 snapshots written, 1 forgotten twice and brought back once, {} chunks deleted, {} of {} chunks read \
         back: nothing lost",
        repo.address(),
        pruned.deleted,
        report.chunks,
        report.chunks
    );
}

#[tokio::test]
async fn a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}/repo", dir.path().display());
    suite(Store::open(&url, &StoreEnv::default()).unwrap(), true).await;
}

#[tokio::test]
async fn memory() {
    suite(Store::open("memory:", &StoreEnv::default()).unwrap(), true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3() {
    let (_dir, endpoint) = s3_server::server().await;
    let store = |prefix: &str, bulk: bool| {
        let url = format!("s3://backups/{prefix}?endpoint={endpoint}&region=r&bulk-delete={bulk}");
        Store::open(&url, &s3_server::env("right-secret")).unwrap()
    };
    tokio::join!(suite(store("single", false), true), suite(store("bulk", true), true));
}

/// Clouds whose servers cannot run here: only that their URLs and credentials are read.
#[test]
fn other_clouds_are_recognized_by_name() {
    let env = StoreEnv::of(&[
        ("AZURE_STORAGE_ACCOUNT_NAME", "account"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0"),
        ("GOOGLE_SKIP_SIGNATURE", "true"),
    ]);
    assert_eq!(Store::open("az://container/prefix", &env).unwrap().to_string(), "az://container/prefix");
    assert_eq!(Store::open("gs://bucket/prefix", &env).unwrap().to_string(), "gs://bucket/prefix");
    for url in ["az://c?x=1", "gs://key@b", "gs://", "swift://x/y"] {
        assert!(Store::open(url, &env).is_err(), "{url}");
    }
}
