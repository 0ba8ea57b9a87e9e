//! A repository of 1,000,000 chunks in 400 snapshots, in a store that makes its objects up when they are asked for:
//! `scale check|forget|prune|stats|begin` does one thing with it and tells its peak memory, and how many listing requests
//! a store that lists 1,000 objects a request would have seen. `scripts/bench/repository` runs them all.
#![allow(clippy::print_stdout)]

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use chrono::{DateTime, TimeZone as _, Utc};
use futures::stream::{self, BoxStream, StreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use repository::{CheckOptions, InitOptions, PruneOptions, Repository, SnapshotStart, Store};
use sha2::Digest as _;

const CHUNKS: u64 = 1_000_000;
const SNAPSHOTS: u64 = 400;
/// Chunks of one snapshot: a quarter of a terabyte at 1 MiB a chunk. The next one lacks the oldest and has as many new.
const EACH: u64 = 250_000;
const PAGE: u64 = 1000;

/// Which chunks the n-th snapshot has.
fn range(snapshot: u64) -> Range<u64> {
    let from = snapshot * (CHUNKS - EACH) / (SNAPSHOTS - 1);
    from..from + EACH
}

/// A chunk's id: 64 digits that only its number decides. Hashing would cost more than what is measured.
fn id(chunk: u64) -> String {
    let mut text = String::with_capacity(64);
    for word in 0..4 {
        // The mixing function of SplitMix64.
        let mut mixed = (chunk * 4 + word + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        for shift in (0..16).rev() {
            text.push(char::from_digit((mixed >> (shift * 4) & 15) as u32, 16).unwrap_or('0'));
        }
    }
    text
}

/// A size that only the chunk's number decides.
fn stored(chunk: u64) -> u64 {
    200_000 + chunk * 7919 % 100_000
}

fn taken_at(snapshot: u64) -> DateTime<Utc> {
    Utc.timestamp_opt(1_700_000_000 + snapshot as i64 * 86_400, 0).single().unwrap_or_default()
}

fn snapshot_id(snapshot: u64) -> String {
    format!("{}-{snapshot:06x}", taken_at(snapshot).format("%Y%m%dT%H%M%SZ"))
}

/// The n-th manifest as it would be stored.
fn manifest(snapshot: u64) -> Bytes {
    use std::fmt::Write as _;
    let (name, at) = (snapshot_id(snapshot), taken_at(snapshot).to_rfc3339());
    let mut text = format!(
        "{{\"format\":1,\"id\":\"{name}\",\"job\":\"nightly\",\"taken-at\":\"{at}\",\"finished-at\":\"{at}\",\"tool\":\"scale\",\
         \"complete\":true,\"sources\":[{{\"name\":\"db\",\"kind\":\"postgres\",\"server\":null,\"details\":null,\"parts\":[\
         {{\"name\":\"all\",\"kind\":\"rows\",\"bytes\":{},\"sha256\":\"\",\"attributes\":{{}},\"chunks\":[",
        EACH * 1_048_576
    );
    text.reserve_exact(EACH as usize * 112);
    for chunk in range(snapshot) {
        let comma = if chunk == range(snapshot).start { "" } else { "," };
        let _ = write!(
            text,
            "{comma}{{\"id\":\"{}\",\"bytes\":1048576,\"stored\":{}}}",
            id(chunk),
            stored(chunk)
        );
    }
    text.push_str("]}]}]}\n");
    let hash: String = sha2::Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
    let _ = writeln!(text, "{{\"sha256\":\"{hash}\"}}");
    Bytes::from(text)
}

/// Chunks and manifests are made up; everything else lies in memory.
#[derive(Debug)]
struct Simulated {
    rest: InMemory,
    /// The size of each manifest.
    sizes: Vec<u64>,
    pages: Arc<AtomicU64>,
    requests: Arc<AtomicU64>,
}

impl fmt::Display for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated")
    }
}

fn meta(location: Path, size: u64) -> ObjectMeta {
    ObjectMeta { location, last_modified: taken_at(0), size, e_tag: None, version: None }
}

impl Simulated {
    fn snapshot_of(&self, location: &Path) -> Option<u64> {
        let name = location.as_ref().strip_prefix("snapshots/")?.strip_suffix(".json")?;
        (0..SNAPSHOTS).find(|snapshot| snapshot_id(*snapshot) == name)
    }
}

#[async_trait::async_trait]
impl ObjectStore for Simulated {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.rest.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.rest.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let Some(snapshot) = self.snapshot_of(location) else {
            return self.rest.get_opts(location, options).await;
        };
        let bytes = if options.head { Bytes::new() } else { manifest(snapshot) };
        let size = bytes.len() as u64;
        Ok(GetResult {
            meta: meta(location.clone(), size),
            range: 0..size,
            attributes: Attributes::new(),
            payload: GetResultPayload::Stream(stream::once(async { Ok(bytes) }).boxed()),
            extensions: Default::default(),
        })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.rest.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let pages = Arc::clone(&self.pages);
        let count = move |at: u64| {
            if at.is_multiple_of(PAGE) {
                pages.fetch_add(1, Ordering::Relaxed);
            }
        };
        match prefix.map(Path::as_ref) {
            Some("chunks") => stream::iter(0..CHUNKS)
                .map(move |chunk| {
                    count(chunk);
                    let hex = id(chunk);
                    Ok(meta(Path::from(format!("chunks/{}/{hex}", &hex[..2])), stored(chunk)))
                })
                .boxed(),
            Some("snapshots") => {
                let sizes = self.sizes.clone();
                stream::iter(0..SNAPSHOTS)
                    .map(move |snapshot| {
                        count(snapshot);
                        let size = sizes.get(snapshot as usize).copied().unwrap_or_default();
                        Ok(meta(Path::from(format!("snapshots/{}.json", snapshot_id(snapshot))), size))
                    })
                    .boxed()
            }
            _ => {
                count(0);
                self.rest.list(prefix)
            }
        }
    }

    async fn list_with_delimiter(&self, _prefix: Option<&Path>) -> Result<ListResult> {
        Err(Error::NotImplemented {
            operation: "list_with_delimiter".into(),
            implementer: "simulated".into(),
        })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.rest.copy_opts(from, to, options).await
    }
}

fn peak_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|text| text.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0)
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> std::result::Result<(), Failure> {
    let verb = std::env::args().nth(1).unwrap_or_default();
    let (pages, requests) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let size = manifest(0).len() as u64;
    let rest = InMemory::new();
    let store = Simulated {
        rest,
        sizes: vec![size; SNAPSHOTS as usize],
        pages: Arc::clone(&pages),
        requests: Arc::clone(&requests),
    };
    let repo = Repository::init(Store::custom(Arc::new(store), "simulated"), &InitOptions::default()).await?;
    let before = (pages.load(Ordering::Relaxed), requests.load(Ordering::Relaxed));
    let now = Utc::now();
    let begun = Instant::now();
    // What must be listed at least: every chunk, and each folder of documents that the work depends on, once.
    let chunk_pages = CHUNKS.div_ceil(PAGE);
    let least = match verb.as_str() {
        "check" => {
            let report = repo.check(&CheckOptions { read_data: false, now }).await?;
            if !report.passed() || report.whole.len() as u64 != SNAPSHOTS || report.chunks != CHUNKS {
                return Err(format!("the check does not see what is there: {report}").into());
            }
            chunk_pages + 1
        }
        "prune" => {
            let report = repo.prune(&PruneOptions { dry_run: false, now }).await?;
            if (report.marked, report.deleted) != (0, 0) {
                return Err(format!("prune took what is needed: {report}").into());
            }
            chunk_pages + 3
        }
        "stats" => {
            let report = repo.stats(now).await?;
            if report.chunks != CHUNKS {
                return Err("stats do not count what is there".into());
            }
            chunk_pages + 1
        }
        "begin" => {
            repo.begin(SnapshotStart::new("nightly", now, "scale")).await?;
            chunk_pages + 2
        }
        "forget" => {
            let listing = repo.headers().await?;
            let attested = repo.newest_attestations().await?;
            let last = repo.last_deletion_at("nightly", &listing, now).await?;
            if listing.headers.len() as u64 != SNAPSHOTS || !attested.is_empty() || last.is_some() {
                return Err("forget does not see what is there".into());
            }
            let going: Vec<_> = listing.headers.iter().take(3).map(|header| header.id.clone()).collect();
            repo.forget(&going, now).await?;
            3
        }
        _ => return Err("usage: scale check|forget|prune|stats|begin".into()),
    };
    let listed = pages.load(Ordering::Relaxed) - before.0;
    println!(
        "{verb}: {:.1} s, peak memory {:.0} MB, {listed} listing requests ({:.3} x the least possible, {least}), {} objects read",
        begun.elapsed().as_secs_f64(),
        peak_kilobytes() as f64 / 1000.0,
        listed as f64 / least as f64,
        requests.load(Ordering::Relaxed) - before.1
    );
    Ok(())
}
