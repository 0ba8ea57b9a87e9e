//! Keys that are renewed while a backup runs.

use crate::common::{data, read, small, try_snapshot, write_snapshot};
use crate::s3_server::server;
use repository::{Repository, Store, StoreEnv};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_end_during_a_run_are_read_again() {
    let (_dir, endpoint) = server().await;
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("credentials");
    let write = |secret: &str| {
        let text = format!("[default]\naws_access_key_id = key\naws_secret_access_key = {secret}\n");
        std::fs::write(&path, text).unwrap();
    };
    write("right-secret");
    let env = StoreEnv::of(&[
        ("AWS_SHARED_CREDENTIALS_FILE", path.to_str().unwrap()),
        ("AWS_CONFIG_FILE", "/dev/null"),
    ]);
    let url = format!("s3://backups/p?endpoint={endpoint}&region=r");
    let repo = Repository::init(Store::open(&url, &env).unwrap(), &small()).await.unwrap();
    write_snapshot(&repo, "nightly", &[("a", &data(1, 20_000))]).await;
    // The old keys have expired, and are not renewed yet.
    write("ended");
    let error = try_snapshot(&repo, "nightly", &[("a", &data(2, 20_000))]).await.unwrap_err().to_string();
    assert!(error.contains("SignatureDoesNotMatch"), "{error}");
    write("right-secret");
    let second = write_snapshot(&repo, "nightly", &[("a", &data(2, 20_000))]).await;
    // While it is being rewritten.
    std::fs::write(&path, "[default]\n").unwrap();
    assert_eq!(read(&repo, &second, "a").await.unwrap(), data(2, 20_000));
    assert!(Store::open(&url, &env).is_err());
}
