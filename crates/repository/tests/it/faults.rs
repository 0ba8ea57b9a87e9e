//! A store that fails after any number of writes, or lies about them: listed snapshots can still be read.

// The counts are what these tests are for.
#![allow(clippy::print_stdout)]

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{data, read, small, try_snapshot, write_snapshot};
use futures::stream::{BoxStream, StreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use repository::{CheckOptions, Error, FaultKind, InitOptions, PruneOptions, Repository, Store};

/// How the last write before the store's failure ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// It does not happen.
    Before,
    /// It happens, and failure is reported.
    After,
}

/// A store in memory that serves a number of writes and deletions, and fails everything from there on.
#[derive(Debug)]
struct Mortal {
    inner: Arc<InMemory>,
    left: Arc<AtomicI64>,
    end: End,
}

impl fmt::Display for Mortal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mortal")
    }
}

fn dead() -> object_store::Error {
    object_store::Error::Generic { store: "mortal", source: "the machine is gone".into() }
}

/// Whether the operation happens, and whether it says so.
fn step(left: &AtomicI64, end: End) -> (bool, bool) {
    let left = left.fetch_sub(1, Ordering::SeqCst);
    (left > 0 || (left == 0 && end == End::After), left > 0)
}

#[async_trait::async_trait]
impl ObjectStore for Mortal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let (happens, told) = step(&self.left, self.end);
        let result =
            if happens { self.inner.put_opts(location, payload, options).await } else { Err(dead()) };
        if told { result } else { Err(dead()) }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if self.left.load(Ordering::SeqCst) < 0 {
            Err(dead())
        } else {
            self.inner.get_opts(location, options).await
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, left, end) = (Arc::clone(&self.inner), Arc::clone(&self.left), self.end);
        locations
            .then(move |location| {
                let (happens, told) = step(&left, end);
                let inner = Arc::clone(&inner);
                async move {
                    if happens {
                        inner
                            .delete_stream(futures::stream::once(async move { location }).boxed())
                            .next()
                            .await;
                    }
                    if told { Ok(Path::from("gone")) } else { Err(dead()) }
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn prune() -> PruneOptions {
    PruneOptions { dry_run: false, now: chrono::Utc::now() }
}

const GRACE: Duration = Duration::from_millis(400);

/// Everything that writes or deletes, in turn.
async fn work(store: Store) -> Result<(), Error> {
    let repo = Repository::open(store).await?;
    let first = repo.snapshots().await?.manifests.remove(0);
    try_snapshot(&repo, "nightly", &[("a", &data(1, 20_000)), ("b", &data(2, 12_000))]).await?;
    repo.forget(std::slice::from_ref(&first.id), chrono::Utc::now()).await?;
    tokio::time::sleep(GRACE).await;
    repo.prune(&prune()).await?;
    repo.prune(&prune()).await?;
    try_snapshot(&repo, "nightly", &[("c", &data(3, 20_000)), ("b", &data(2, 12_000))]).await?;
    tokio::time::sleep(GRACE).await;
    repo.prune(&prune()).await?;
    let last = repo.snapshots().await?.manifests.pop();
    if let Some(manifest) = last {
        repo.forget(std::slice::from_ref(&manifest.id), chrono::Utc::now()).await?;
        repo.undelete(&manifest.id).await?;
    }
    tokio::time::sleep(GRACE).await;
    repo.prune(&prune()).await?;
    Ok(())
}

/// One life that ends at this write. False when the work was done before that.
async fn dies(end: End, at: i64) -> bool {
    let inner = Arc::new(InMemory::new());
    let sound = Store::custom(Arc::clone(&inner) as Arc<dyn ObjectStore>, "memory");
    let repo = Repository::init(sound, &InitOptions { grace: GRACE, ..small() }).await.unwrap();
    // Has what the second will need too, and something of its own.
    write_snapshot(&repo, "nightly", &[("c", &data(3, 20_000)), ("a", &data(1, 20_000))]).await;
    let left = Arc::new(AtomicI64::new(at));
    let died = work(Store::custom(Arc::new(Mortal { inner, left, end }), "mortal")).await.is_err();
    let report = repo.check(&CheckOptions { read_data: true, now: chrono::Utc::now() }).await.unwrap();
    assert!(report.passed(), "after {at} writes ({end:?}): {report}");
    assert!(!report.whole.is_empty(), "after {at} writes ({end:?}) nothing is listed");

    repo.prune(&prune()).await.unwrap();
    let next = write_snapshot(&repo, "nightly", &[("a", &data(1, 20_000))]).await;
    tokio::time::sleep(GRACE).await;
    repo.prune(&prune()).await.unwrap();
    assert_eq!(read(&repo, &next, "a").await.unwrap(), data(1, 20_000), "after {at} writes ({end:?})");
    let report = repo.check(&CheckOptions { read_data: true, now: chrono::Utc::now() }).await.unwrap();
    assert!(report.passed(), "later, after {at} writes ({end:?}): {report}");
    died
}

/// The store dies at each of its writes in turn; afterwards every listed snapshot is whole, and work goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_at_any_write_loses_no_listed_snapshot() {
    let lives = (0..70).flat_map(|at| [(End::Before, at), (End::After, at)]);
    let died: Vec<bool> =
        futures::stream::iter(lives).map(|(end, at)| dies(end, at)).buffered(16).collect().await;
    let deaths = died.iter().filter(|died| **died).count();
    assert!(deaths > 50, "only {deaths} deaths");
    println!(
        "count: faults: {} lives of a store, {deaths} of them ended by its death at a write or deletion: nothing lost",
        died.len()
    );
    assert!(!died.last().unwrap(), "the work has more writes than were tried");
}

/// A store in memory with places that cannot be read, like those of a disk, and one that takes its time.
#[derive(Debug, Default)]
struct Patchy {
    inner: InMemory,
    /// Objects whose names contain one of these.
    unreadable: Mutex<HashSet<String>>,
    /// How long a manifest takes to be written.
    slow: Mutex<Duration>,
    /// Says that it has written manifests, and has not.
    forgetful: AtomicBool,
}

impl fmt::Display for Patchy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("patchy")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Patchy {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let slow = *self.slow.lock().unwrap();
        if location.as_ref().starts_with("snapshots/") {
            tokio::time::sleep(slow).await;
            if self.forgetful.load(Ordering::SeqCst) {
                return Ok(PutResult { e_tag: None, version: None, extensions: Default::default() });
            }
        }
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if self.unreadable.lock().unwrap().iter().any(|bad| location.as_ref().contains(bad)) {
            let source = Box::new(std::io::Error::from_raw_os_error(5));
            return Err(object_store::Error::Generic { store: "patchy", source });
        }
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn what_a_store_cannot_return_is_named_and_not_called_damaged() {
    let patchy = Arc::new(Patchy::default());
    let store = Store::custom(Arc::clone(&patchy) as Arc<dyn ObjectStore>, "patchy");
    let repo = Repository::init(store, &small()).await.unwrap();
    let first = write_snapshot(&repo, "nightly", &[("a", &data(1, 20_000))]).await;
    let second = write_snapshot(&repo, "nightly", &[("a", &data(2, 200_000))]).await;
    let third = write_snapshot(&repo, "nightly", &[("a", &data(3, 20_000))]).await;
    let check = CheckOptions { read_data: true, now: chrono::Utc::now() };
    assert!(repo.check(&check).await.unwrap().passed());

    let chunk = first.sources[0].parts[0].chunks[1].id.to_string();
    let cannot = |names: &[&str]| {
        *patchy.unreadable.lock().unwrap() = names.iter().map(|name| (*name).to_owned()).collect();
    };
    let manifest = format!("snapshots/{}", third.id);
    let attestation = format!("attestations/{}", second.id);
    cannot(&[&chunk, &manifest, &attestation]);
    let report = repo.check(&check).await.unwrap();
    let [fault] = &report.faults[..] else { panic!("{report}") };
    assert!(
        matches!(&fault.kind, FaultKind::Unreadable { message } if message.contains("os error 5")),
        "{report}"
    );
    assert_eq!(fault.touches, [format!("{}: a", first.id)]);
    assert_eq!(report.unreadable.len(), 2, "{report}");
    assert!(
        report.unreadable[0].name.starts_with(&manifest)
            && report.unreadable[1].name.starts_with(&attestation)
    );
    assert_eq!(
        (report.broken.len(), &report.unknown, &report.whole),
        (0, &vec![first.id.clone()], &vec![second.id])
    );
    let done = repo.quarantine_faults(&report, chrono::Utc::now()).await.unwrap();
    assert!(done.damaged.is_empty() && done.aside.is_empty(), "{done:?}");
    cannot(&[]);
    assert!(repo.attestations(&first.id).await.unwrap().iter().all(|attestation| attestation.passed));
    assert!(repo.check(&check).await.unwrap().passed());

    // A store that returns nothing at all is not a store with a bad object.
    cannot(&["chunks/"]);
    assert!(matches!(repo.check(&check).await, Err(Error::Store { .. })));
}

#[tokio::test]
async fn a_manifest_that_the_store_acknowledged_and_did_not_keep_is_no_snapshot() {
    let patchy = Arc::new(Patchy::default());
    let store = Store::custom(Arc::clone(&patchy) as Arc<dyn ObjectStore>, "patchy");
    let repo = Repository::init(store, &small()).await.unwrap();
    patchy.forgetful.store(true, Ordering::SeqCst);
    let error = try_snapshot(&repo, "nightly", &[("a", &data(1, 20_000))]).await.unwrap_err();
    assert!(matches!(&error, Error::NotKept { object, .. } if object.starts_with("snapshots/")), "{error}");
    patchy.forgetful.store(false, Ordering::SeqCst);
    let first = write_snapshot(&repo, "nightly", &[("a", &data(1, 20_000))]).await;
    assert_eq!(first.stats.new_chunks, 0, "what it wrote is used again");
}

/// A machine that sleeps while its manifest is under way.
#[tokio::test]
async fn a_late_manifest_is_withdrawn() {
    let patchy = Arc::new(Patchy::default());
    let store = Store::custom(Arc::clone(&patchy) as Arc<dyn ObjectStore>, "patchy");
    let grace = Duration::from_secs(4);
    let repo = Repository::init(store, &InitOptions { grace, ..small() }).await.unwrap();
    *patchy.slow.lock().unwrap() = grace;
    let error = try_snapshot(&repo, "nightly", &[("a", &data(1, 20_000))]).await.unwrap_err();
    assert!(matches!(error, Error::TooLong { .. }), "{error}");
    assert!(repo.headers().await.unwrap().headers.is_empty());
    *patchy.slow.lock().unwrap() = Duration::ZERO;
    let first = write_snapshot(&repo, "nightly", &[("a", &data(1, 20_000))]).await;
    assert_eq!(repo.find("latest").await.unwrap().id, first.id);
}
