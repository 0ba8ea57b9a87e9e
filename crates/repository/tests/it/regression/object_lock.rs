//! Buckets with an object lock: they reject writes without a checksum, and all deletions.

use crate::common::{begin, data, read, small, write_snapshot};
use crate::s3_server::{builder, env, serve};
use repository::{CheckOptions, Error, PartHeader, PruneOptions, Repository, Store};
use s3s::S3Result;
use s3s::access::{S3Access, S3AccessContext};

/// A server with an object lock: writes without a checksum and all deletions are refused.
async fn locking_server() -> (tempfile::TempDir, String) {
    let (dir, mut builder) = builder();
    builder.set_access(ObjectLock);
    serve(dir, builder.build()).await
}

struct ObjectLock;

#[async_trait::async_trait]
impl S3Access for ObjectLock {
    async fn check(&self, request: &mut S3AccessContext<'_>) -> S3Result<()> {
        let checked =
            ["content-md5", "x-amz-checksum-sha256"].iter().any(|name| request.headers().contains_key(*name));
        match request.s3_op().name() {
            // As AWS says it.
            "PutObject" if !checked => Err(s3s::s3_error!(
                InvalidRequest,
                "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters"
            )),
            "DeleteObject" | "DeleteObjects" => {
                Err(s3s::s3_error!(AccessDenied, "Access Denied because object protected by object lock."))
            }
            _ => Ok(()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_with_an_object_lock_holds_a_repository() {
    let (_dir, endpoint) = locking_server().await;
    let url = format!("s3://backups/p?endpoint={endpoint}&region=r");
    let open = || Store::open(&url, &env("right-secret")).unwrap();
    let repo = Repository::init(open(), &small()).await.unwrap();
    let probe = repo.probe().unwrap();
    assert!(probe.checksums && !probe.delete, "{probe:?}");
    write_snapshot(&repo, "nightly", &[("a", &data(1, 50_000))]).await;
    // Whoever opens it later knows.
    let repo = Repository::open(open()).await.unwrap();
    let second = write_snapshot(&repo, "nightly", &[("a", &data(1, 50_000)), ("b", &data(2, 9_000))]).await;
    assert!(second.stats.new_chunks < 10);
    let now = chrono::Utc::now();
    assert!(repo.check(&CheckOptions { read_data: true, now }).await.unwrap().passed());
    assert_eq!(read(&repo, &second, "b").await.unwrap(), data(2, 9_000));

    // Locked objects are reported, and nothing is falsely reported as done.
    let error = repo.forget(std::slice::from_ref(&second.id), now).await.unwrap_err();
    assert!(matches!(&error, Error::StillListed { ids, .. } if *ids == [second.id.to_string()]), "{error}");
    assert!(error.to_string().contains("object lock"), "the store's own words: {error}");
    assert_eq!(repo.headers().await.unwrap().headers.len(), 2);
    let writer = begin(&repo, "nightly").await;
    let piece = Ok::<_, std::io::Error>(data(3, 9_000).into());
    writer.write_part(PartHeader::new("c", "test"), futures::stream::iter([piece])).await.unwrap();
    writer.abandon().await;
    let report = repo.prune(&PruneOptions { dry_run: false, now }).await.unwrap();
    assert_eq!(report.deleted, 0, "{report}");
    let error = repo.prune_now(&PruneOptions { dry_run: false, now }).await.unwrap_err();
    // Its sign cannot be removed either, and counts as that of a writer for some minutes.
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    assert!(repo.check(&CheckOptions { read_data: false, now }).await.unwrap().passed());
}
