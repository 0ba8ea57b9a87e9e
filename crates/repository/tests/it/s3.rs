//! The same repository on an S3 server that the test starts itself, with signed requests over HTTP.

// The counts are what these tests are for.
#![allow(clippy::print_stdout)]

use crate::common::{data, is_about, read, small, write_snapshot};
use crate::s3_server::{env, server, troubled_server};
use repository::{CheckOptions, PruneOptions, Repository, Store, StoreEnv};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_on_s3() {
    let (dir, endpoint) = server().await;
    let url = format!("s3://backups/some/prefix?endpoint={endpoint}&region=ap-seoul-1");
    let store = Store::open(&url, &env("right-secret")).unwrap();
    let repo = Repository::init(store.clone(), &small()).await.unwrap();
    assert!(Repository::init(store.clone(), &small()).await.unwrap_err().is_already_exists());
    let bytes = data(1, 200_000);
    let first = write_snapshot(&repo, "nightly", &[("a", &bytes), ("empty", b"")]).await;
    let second = write_snapshot(&repo, "nightly", &[("a", &bytes)]).await;
    assert_eq!(second.stats.new_chunks, 0);

    let repo = Repository::open(store).await.unwrap();
    assert_eq!(read(&repo, &second, "a").await.unwrap(), bytes);
    let now = chrono::Utc::now();
    repo.forget(std::slice::from_ref(&first.id), now).await.unwrap();
    let deleted = repo.last_deletion_at("nightly", &repo.headers().await.unwrap(), now).await.unwrap();
    assert!(is_about(deleted, now), "{deleted:?}");
    repo.undelete(&first.id).await.unwrap();
    assert_eq!(repo.snapshots().await.unwrap().manifests, [first.clone(), second.clone()]);
    repo.prune(&PruneOptions { dry_run: false, now }).await.unwrap();
    let report = repo.check(&CheckOptions { read_data: true, now }).await.unwrap();
    assert!(report.passed() && report.not_attested.is_none(), "{report}");
    assert_eq!(repo.attestations(&first.id).await.unwrap().len(), 1);

    let chunk = first.sources[0].parts[0].chunks[2].id.to_string();
    let object = dir.path().join(format!("backups/some/prefix/chunks/{}/{chunk}", &chunk[..2]));
    std::fs::write(object, b"not a chunk").unwrap();
    let report = repo.check(&CheckOptions { read_data: false, now }).await.unwrap();
    assert_eq!(report.broken, [first.id.clone(), second.id.clone()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_s3_are_reported_without_secrets() {
    let (_dir, endpoint) = server().await;
    let open = |bucket: &str, secret: &str| {
        Store::open(&format!("s3://{bucket}?endpoint={endpoint}&region=r"), &env(secret)).unwrap()
    };
    let error = Repository::init(open("backups", "wrong-secret"), &small()).await.unwrap_err().to_string();
    assert!(error.contains("s3://backups") && error.contains("SignatureDoesNotMatch"), "{error}");
    assert!(!error.contains("wrong-secret"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_or_failing_server_is_asked_again() {
    let (_dir, endpoint, refused) = troubled_server().await;
    let url = format!("s3://backups/p?endpoint={endpoint}&region=r");
    let repo = Repository::init(Store::open(&url, &env("right-secret")).unwrap(), &small()).await.unwrap();
    let bytes = data(1, 20_000);
    let first = write_snapshot(&repo, "nightly", &[("a", &bytes)]).await;
    assert_eq!(read(&repo, &first, "a").await.unwrap(), bytes);
    let now = chrono::Utc::now();
    assert!(repo.check(&CheckOptions { read_data: true, now }).await.unwrap().passed());
    let refused = refused.load(std::sync::atomic::Ordering::Relaxed);
    assert!(refused > 10, "only {refused} requests met 429 or 503");
    println!("count: s3: {refused} requests were refused with 429 or 503, and asked again: nothing lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_taken_from_the_files_of_aws() {
    let (_dir, endpoint) = server().await;
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("credentials");
    let path = path.to_str().unwrap();
    let profile = |name: &str, secret: &str| {
        format!("[{name}]\naws_access_key_id = {}\naws_secret_access_key = {secret}\n", "key")
    };
    std::fs::write(path, profile("default", "wrong-secret") + &profile("backup", "right-secret")).unwrap();
    let config = home.path().join("config");
    std::fs::write(&config, format!("[profile backup]\nregion = r\nendpoint_url = {endpoint}\n")).unwrap();
    let files = [("AWS_SHARED_CREDENTIALS_FILE", path), ("AWS_CONFIG_FILE", config.to_str().unwrap())];
    let open = |more: &[(&str, &str)], options: &str| {
        Store::open(&format!("s3://backups/files{options}"), &StoreEnv::of(&[&files, more].concat()))
    };
    let store = open(&[("AWS_PROFILE", "backup")], "").unwrap();
    let repo = Repository::init(store, &small()).await.unwrap();
    write_snapshot(&repo, "nightly", &[("a", &data(1, 20_000))]).await;

    let here = format!("?endpoint={endpoint}&region=r");
    let error = Repository::open(open(&[], &here).unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("SignatureDoesNotMatch") && !error.contains("wrong-secret"), "{error}");
    // The environment takes precedence over any file.
    let env = [("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "right-secret")];
    assert!(Repository::open(open(&env, &here).unwrap()).await.is_ok());
    let error = open(&[("AWS_PROFILE", "nobody")], &here).unwrap_err().to_string();
    assert!(error.contains("`nobody`"), "{error}");
}
