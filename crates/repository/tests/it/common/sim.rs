//! A simulated store with a clock of its own. Every request waits until the scheduler lets it happen, so that a seed
//! decides in which order the requests of many hosts happen, which of them fail, and when a host dies.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Objects that one request lists: few, so that other hosts act between the pages of a listing.
const PAGE: usize = 4;

/// A stream of numbers that looks random and is always the same.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// True in this many of a thousand cases.
    pub(crate) fn chance(&mut self, of_a_thousand: usize) -> bool {
        self.below(1000) < of_a_thousand
    }
}

/// A rule of the format that a host breaks, to show that the invariant notices. The store returns false
/// results to the host; the code of the host does not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Rules 2, 3, 6: a writer does not see marks.
    WriterBlindToMarks,
    /// Rule 4: a writer that ran for too long commits all the same. The store's clock runs ahead of the writer's.
    WriterTooLate,
    /// Rule 5: prune does not see tombstones.
    PruneBlindToTombstones,
    /// Rule 7: prune considers every mark older than the grace period.
    PruneIgnoresGrace,
    /// Rule 7: prune uses a listing from the time of the mark, not one made after the grace period.
    PruneStaleListing,
    /// Rule 1: the store acknowledges chunks that it does not have.
    ChunksAfterManifest,
}

/// Who sends requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Writer,
    Copier,
    Forgetter,
    Undeleter,
    Pruner,
    Checker,
}

#[derive(Debug, Clone)]
pub(crate) enum Request {
    Put(String, Bytes),
    /// A put that must not replace anything.
    Create(String, Bytes),
    Delete(String),
    Get(String),
    /// A page of the listing of a prefix, after this name.
    List(String, String),
    /// No request at all: the host is busy with something else.
    Think,
}

impl Request {
    fn writes(&self) -> bool {
        matches!(self, Request::Put(..) | Request::Create(..) | Request::Delete(_))
    }

    /// Distinguishes requests, identically in every run of a seed: random names are omitted.
    fn label(&self) -> String {
        match self {
            Request::Put(name, _) => format!("put {}", name.get(..12).unwrap_or(name)),
            Request::Create(name, _) => format!("create {}", name.get(..12).unwrap_or(name)),
            Request::Delete(name) => format!("delete {}", name.get(..12).unwrap_or(name)),
            Request::Get(name) => format!("get {}", name.get(..12).unwrap_or(name)),
            Request::List(prefix, _) => format!("list {prefix}"),
            Request::Think => "think".to_owned(),
        }
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            Request::Put(name, bytes) => format!("put {name} ({} bytes)", bytes.len()),
            Request::Create(name, bytes) => format!("create {name} ({} bytes)", bytes.len()),
            Request::Delete(name) => format!("delete {name}"),
            Request::Get(name) => format!("get {name}"),
            Request::List(prefix, after) => format!("list {prefix} behind `{after}`"),
            Request::Think => "think".to_owned(),
        }
    }
}

#[derive(Debug)]
pub(crate) enum Reply {
    Done,
    /// Nothing was created: an object of that name exists.
    Taken,
    Found(Bytes, DateTime<Utc>),
    Missing,
    Page(Vec<(String, u64, DateTime<Utc>)>, bool),
    Failed(&'static str),
}

#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) actor: usize,
    pub(crate) role: Role,
    pub(crate) request: Request,
    pub(crate) sent: Instant,
    reply: oneshot::Sender<Reply>,
}

impl Pending {
    pub(crate) fn thinks(&self) -> bool {
        matches!(self.request, Request::Think)
    }

    /// No host waits for it any more: its host died or gave up.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    pub(crate) fn writes(&self) -> bool {
        self.request.writes()
    }

    /// Nothing depends on it: a journal saves work, and an attestation that cannot be written is reported beside the
    /// finding.
    fn noted_only(&self) -> bool {
        match &self.request {
            Request::Put(name, _) => name.starts_with("journals/") || name.starts_with("attestations/"),
            Request::Delete(name) => {
                name.starts_with("journals/")
                    && matches!(self.role, Role::Writer | Role::Copier | Role::Undeleter)
            }
            // A writer renews its sign of life, retries after a failure, and at the end checks it and reports.
            Request::Get(name) => name.starts_with("journals/") && name.ends_with("-0.json"),
            // The sender retries with another request.
            Request::Create(..) => true,
            _ => false,
        }
    }

    fn order(&self) -> (usize, String) {
        (self.actor, self.request.label())
    }
}

/// Fault rates of the store, per thousand requests.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    /// A request fails and did not happen.
    pub(crate) refused: usize,
    /// A write happened, and failure is reported.
    pub(crate) lied: usize,
    /// A write is reported as failed, and happens later.
    pub(crate) late: usize,
    /// Half of a new object is written, and failure is reported.
    pub(crate) torn: usize,
    /// A listing shows what was deleted less than the margin ago.
    pub(crate) stale: usize,
}

/// State of the simulation: objects, pending requests, invariants.
#[derive(Debug, Default)]
pub(crate) struct World {
    objects: BTreeMap<String, (Bytes, DateTime<Utc>)>,
    pending: Vec<Pending>,
    /// The store honours conditional writes.
    pub(crate) conditional: bool,
    /// Requests are served at once while nobody schedules.
    pub(crate) immediate: bool,
    epoch: Option<Instant>,
    /// How far the store's clock is ahead of all others.
    skew: TimeDelta,
    /// A small drift, which changes constantly.
    drift: TimeDelta,
    pub(crate) jumps: u64,
    pub(crate) broken: Option<Broken>,
    /// Chunks that each listed manifest names.
    listed: BTreeMap<String, BTreeSet<String>>,
    /// The writer of each listed manifest. It may delete it again before it reports it as committed.
    makers: BTreeMap<String, usize>,
    /// Manifests deleted this way by writers that could not know whether a prune considered them dead. Another host may
    /// have undeleted the same snapshot at the same time; its tombstone still protects it.
    pub(crate) taken_back: BTreeSet<String>,
    /// Names of deleted objects, their size and times, for listings that lag.
    deleted: BTreeMap<String, (u64, DateTime<Utc>, Instant)>,
    /// Writes that were acknowledged and have not happened.
    owed: Vec<(String, Bytes)>,
    /// Manifests as they were when the last mark was written.
    old_names: Vec<String>,
    /// The violation.
    pub(crate) violation: Option<String>,
    pub(crate) trace: Vec<String>,
    pub(crate) requests: u64,
    /// Chunks that were deleted.
    pub(crate) swept: u64,
    /// Failures that were injected.
    pub(crate) faults: u64,
    /// Documents whose write was torn: the operator removes them manually.
    pub(crate) torn: BTreeSet<String>,
    /// Hosts that got a failure: they must report it.
    pub(crate) failed: BTreeSet<usize>,
}

pub(crate) fn time_zero() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

impl World {
    pub(crate) fn shared() -> Arc<Mutex<World>> {
        Arc::new(Mutex::new(World { immediate: true, epoch: Some(Instant::now()), ..World::default() }))
    }

    /// The store's clock.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        let since = self.epoch.map(|epoch| epoch.elapsed()).unwrap_or_default();
        time_zero() + TimeDelta::from_std(since).unwrap() + self.skew + self.drift
    }

    pub(crate) fn skew_by(&mut self, by: Duration) {
        self.skew += TimeDelta::from_std(by).unwrap();
    }

    /// How far the store's clock is ahead of the time it was set to.
    pub(crate) fn drift(&mut self, to: TimeDelta) {
        self.drift = to;
    }

    /// Sets the store's clock.
    pub(crate) fn jump(&mut self, by: TimeDelta) {
        self.skew += by;
        self.jumps += 1;
        self.trace.push(format!("the clock jumps by {} minutes", by.num_minutes()));
    }

    /// True if no request is pending.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    pub(crate) fn names(&self, prefix: &str) -> Vec<String> {
        self.objects.keys().filter(|name| name.starts_with(prefix)).cloned().collect()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.objects.contains_key(name)
    }

    /// Does what the operator does after a report that a document is truncated because its write failed.
    pub(crate) fn remove_torn_documents(&mut self) {
        let torn: Vec<_> = self.torn.iter().filter(|name| !name.starts_with("chunks/")).cloned().collect();
        for name in torn {
            self.objects.remove(&name);
            self.torn.remove(&name);
        }
    }

    pub(crate) fn written(&self, name: &str) -> Option<DateTime<Utc>> {
        self.objects.get(name).map(|(_, at)| *at)
    }

    /// Requests in an order that does not depend on which thread was faster.
    pub(crate) fn sorted(&mut self) -> &mut Vec<Pending> {
        self.pending.sort_by_key(Pending::order);
        &mut self.pending
    }

    /// How much longer the oldest request may be pending: the format allows the margin.
    pub(crate) fn patience(&self, margin: Duration) -> Duration {
        let oldest = self.pending.iter().filter(|p| !p.thinks()).map(|p| p.sent.elapsed()).max();
        oldest.map_or(Duration::MAX, |age| margin.saturating_sub(age))
    }

    /// Lets a request happen, or fail.
    pub(crate) fn serve(&mut self, at: usize, rng: &mut Rng, weather: &Weather) {
        let pending = self.pending.swap_remove(at);
        self.requests += 1;
        if self.trace.len() > 4000 {
            self.trace.drain(..2000);
        }
        let line =
            format!("{} {:?} {}: {}", self.now(), pending.role, pending.actor, pending.request.describe());
        self.trace.push(line);
        if pending.thinks() {
            let _ = pending.reply.send(Reply::Done);
            return;
        }
        let roll = rng.below(1000);
        let faults = self.faults;
        let (actor, noted_only) = (pending.actor, pending.noted_only());
        let (refused, lied) = (weather.refused, weather.refused + weather.lied);
        let (late, torn) = (lied + weather.late, lied + weather.late + weather.torn);
        if roll < refused {
            self.faults += 1;
            let _ = pending.reply.send(Reply::Failed("503 Slow Down"));
        } else if roll < lied && pending.writes() {
            self.faults += 1;
            self.apply(&pending, false);
            let _ = pending.reply.send(Reply::Failed("the connection was closed before the answer came"));
        } else if roll < late && pending.writes() {
            self.faults += 1;
            let _ = pending.reply.send(Reply::Failed("timed out"));
            let (reply, _) = oneshot::channel();
            self.pending.push(Pending { reply, ..pending });
        } else if roll < torn
            && let Request::Put(name, bytes) | Request::Create(name, bytes) = &pending.request
            && !self.objects.contains_key(name)
        {
            self.faults += 1;
            let half = bytes.slice(..bytes.len() / 2);
            self.objects.insert(name.clone(), (half, self.now()));
            self.torn.insert(name.clone());
            let _ = pending.reply.send(Reply::Failed("the connection was reset"));
        } else {
            let stale = rng.chance(weather.stale);
            let reply = self.apply(&pending, stale);
            let _ = pending.reply.send(reply);
            return;
        }
        if self.faults > faults {
            self.trace.push("that failed".to_owned());
        }
        if self.faults > faults && !noted_only {
            self.failed.insert(actor);
        }
    }

    /// A host dies. Its requests may still arrive.
    pub(crate) fn bury(&mut self, actor: usize, rng: &mut Rng) {
        self.trace.push(format!("{} {actor} dies", self.now()));
        self.pending.retain(|p| p.actor != actor || (p.writes() && rng.chance(500)));
    }

    /// Drops requests whose sender gave up. Half of the writes stay pending all the same.
    pub(crate) fn drop_abandoned(&mut self, rng: &mut Rng) {
        self.pending.retain(|p| !p.is_abandoned() || (p.writes() && rng.chance(900)));
    }

    fn apply(&mut self, pending: &Pending, stale: bool) -> Reply {
        let (role, broken) = (pending.role, self.broken);
        match &pending.request {
            Request::Think => Reply::Done,
            Request::Create(name, _) if self.conditional && self.objects.contains_key(name) => Reply::Taken,
            Request::Put(name, bytes) | Request::Create(name, bytes) => {
                let chunk = name.starts_with("chunks/");
                if broken == Some(Broken::ChunksAfterManifest) && chunk && self.owed.is_empty() {
                    self.owed.push((name.clone(), bytes.clone()));
                    return Reply::Done;
                }
                self.put(name, bytes.clone());
                self.makers.insert(name.clone(), pending.actor);
                if name.starts_with("marks/") && name.ends_with(".json") {
                    self.old_names = self.names("snapshots/");
                }
                Reply::Done
            }
            Request::Delete(name) => {
                if let Some((bytes, at)) = self.objects.remove(name) {
                    if let Some(id) = name.strip_prefix("tombstones/")
                        && bytes.windows(10).any(|w| w == b"\"manifest\"")
                        && !self.objects.contains_key(&format!("snapshots/{id}"))
                    {
                        self.violate(format!(
                            "{name} was deleted within its grace, and nothing else holds the snapshot"
                        ));
                    }
                    self.deleted.insert(name.clone(), (bytes.len() as u64, at, Instant::now()));
                }
                self.after_delete(name, pending.actor);
                Reply::Done
            }
            Request::Get(name) => {
                let blind = (broken == Some(Broken::PruneStaleListing)
                    && role == Role::Pruner
                    && name.starts_with("snapshots/")
                    && !self.old_names.contains(name))
                    || self.hidden(role, name);
                match self.objects.get(name) {
                    Some((bytes, at)) if !blind => Reply::Found(bytes.clone(), self.told(role, name, *at)),
                    _ => Reply::Missing,
                }
            }
            Request::List(prefix, after) => {
                let inside = format!("{prefix}/");
                let mut found: BTreeMap<String, (u64, DateTime<Utc>)> = self
                    .objects
                    .range(inside.clone()..)
                    .take_while(|(name, _)| name.starts_with(&inside))
                    .filter(|(name, _)| *name > after && !self.hidden(role, name))
                    .take(PAGE + 1)
                    .map(|(name, (bytes, at))| {
                        (name.clone(), (bytes.len() as u64, self.told(role, name, *at)))
                    })
                    .collect();
                let more = found.len() > PAGE;
                if more {
                    found.pop_last();
                }
                if stale {
                    self.faults += 1;
                    let last = found.keys().next_back().cloned();
                    for (name, (size, at, gone)) in &self.deleted {
                        let in_page = !more || last.as_ref().is_none_or(|last| name <= last);
                        if name.starts_with(&inside)
                            && name > after
                            && in_page
                            && gone.elapsed().as_secs() < 3600
                        {
                            found.entry(name.clone()).or_insert((*size, *at));
                        }
                    }
                }
                Reply::Page(found.into_iter().map(|(name, (size, at))| (name, size, at)).collect(), more)
            }
        }
    }

    /// What the store hides from a deceived host.
    fn hidden(&self, role: Role, name: &str) -> bool {
        match self.broken {
            Some(Broken::WriterBlindToMarks) => role == Role::Writer && name.starts_with("marks/"),
            Some(Broken::PruneBlindToTombstones) => role == Role::Pruner && name.starts_with("tombstones/"),
            _ => false,
        }
    }

    /// The write time of an object that the store reports to a host.
    fn told(&self, role: Role, name: &str, at: DateTime<Utc>) -> DateTime<Utc> {
        let mark = name.starts_with("marks/") && !name.ends_with(".done");
        if self.broken == Some(Broken::PruneIgnoresGrace) && role == Role::Pruner && mark {
            at - TimeDelta::hours(1000)
        } else {
            at
        }
    }

    fn put(&mut self, name: &str, bytes: Bytes) {
        if let Some(id) = name.strip_prefix("chunks/").and_then(|rest| rest.get(3..67)) {
            let plain = zstd::bulk::decompress(&bytes, 1 << 20).unwrap_or_default();
            if repository::ChunkId::of(&plain).to_string() != id {
                self.violate(format!("{name} was written with other bytes"));
            }
        }
        let at = self.now();
        self.objects.insert(name.to_owned(), (bytes.clone(), at));
        self.torn.remove(name);
        if name.starts_with("snapshots/") {
            let chunks = chunks_of(&bytes);
            let whole = |chunk: &String| self.objects.contains_key(chunk) && !self.torn.contains(chunk);
            if let Some(missing) = chunks.iter().find(|chunk| !whole(chunk)) {
                self.violate(format!("{name} was listed without {missing}"));
            }
            self.listed.insert(name.to_owned(), chunks);
        }
    }

    fn after_delete(&mut self, name: &str, actor: usize) {
        if name.starts_with("chunks/") {
            self.swept += 1;
            let needs =
                self.listed.iter().find(|(_, chunks)| chunks.contains(name)).map(|(by, _)| by.clone());
            if let Some(by) = needs {
                self.violate(format!("{name} was deleted, and {by} needs it"));
            }
        }
        if let Some(id) = name.strip_prefix("snapshots/") {
            self.listed.remove(name);
            let tombstone = self.objects.get(&format!("tombstones/{id}"));
            let taken_back = self.makers.remove(name) == Some(actor);
            if taken_back {
                self.taken_back.insert(id.trim_end_matches(".json").to_owned());
            }
            if !taken_back
                && !tombstone.is_some_and(|(bytes, _)| bytes.windows(10).any(|w| w == b"\"manifest\""))
            {
                self.violate(format!("{name} was deleted, and no tombstone holds it"));
            }
        }
    }

    pub(crate) fn violate(&mut self, what: String) {
        self.trace.push(what.clone());
        self.violation.get_or_insert(what);
    }

    /// The snapshots that are listed.
    pub(crate) fn listed(&self) -> Vec<String> {
        let id = |name: &String| name.strip_prefix("snapshots/")?.strip_suffix(".json").map(str::to_owned);
        self.listed.keys().filter_map(id).collect()
    }
}

/// The chunk objects that a manifest names. Read without the code under test.
fn chunks_of(manifest: &[u8]) -> BTreeSet<String> {
    let mut values = serde_json::Deserializer::from_slice(manifest).into_iter::<serde_json::Value>();
    let manifest = values.next().and_then(|value| value.ok()).unwrap_or_default();
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let mut names = BTreeSet::new();
    for source in list(&manifest["sources"]) {
        for part in list(&source["parts"]) {
            for chunk in list(&part["chunks"]) {
                let id = chunk["id"].as_str().unwrap_or_default().to_owned();
                let copy = chunk["copy"].as_str().map(|copy| format!("-{copy}")).unwrap_or_default();
                names.insert(format!("chunks/{}/{id}{copy}", &id[..2]));
            }
        }
    }
    names
}

/// The store as one host sees it.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) actor: usize,
    pub(crate) role: Role,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.role, self.actor)
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated store")
    }
}

fn failed(message: &'static str) -> object_store::Error {
    object_store::Error::Generic { store: "simulated", source: message.into() }
}

fn meta(name: &str, size: u64, at: DateTime<Utc>) -> ObjectMeta {
    ObjectMeta { location: Path::from(name), last_modified: at, size, e_tag: None, version: None }
}

impl Client {
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn send(&self, request: Request) -> Reply {
        let (reply, answer) = oneshot::channel();
        {
            let mut world = self.world();
            let pending =
                Pending { actor: self.actor, role: self.role, request, sent: Instant::now(), reply };
            if world.immediate {
                return world.apply(&pending, false);
            }
            world.pending.push(pending);
        }
        answer.await.unwrap_or(Reply::Failed("the host is dead"))
    }

    /// Waits until the scheduler lets this host continue, without a limit.
    pub(crate) async fn think(&self) {
        self.send(Request::Think).await;
    }

    async fn page(self, prefix: String, after: String) -> Result<(Vec<ObjectMeta>, Option<String>)> {
        match self.send(Request::List(prefix, after)).await {
            Reply::Page(found, more) => {
                let next = found.last().filter(|_| more).map(|(name, ..)| name.clone());
                Ok((found.iter().map(|(name, size, at)| meta(name, *size, *at)).collect(), next))
            }
            Reply::Failed(message) => Err(failed(message)),
            _ => Err(failed("no list")),
        }
    }
}

#[async_trait::async_trait]
impl ObjectStore for Client {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let bytes: Vec<u8> = payload.iter().flat_map(|part| part.to_vec()).collect();
        let (name, bytes) = (location.to_string(), bytes.into());
        let request = match options.mode {
            PutMode::Create => Request::Create(name, bytes),
            _ => Request::Put(name, bytes),
        };
        match self.send(request).await {
            Reply::Failed(message) => Err(failed(message)),
            Reply::Taken => Err(object_store::Error::AlreadyExists {
                path: location.to_string(),
                source: "it is there".into(),
            }),
            _ => Ok(PutResult { e_tag: None, version: None, extensions: Default::default() }),
        }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(object_store::Error::NotImplemented {
            operation: "multipart".into(),
            implementer: "simulated".into(),
        })
    }

    async fn get_opts(&self, location: &Path, _: GetOptions) -> Result<GetResult> {
        match self.send(Request::Get(location.to_string())).await {
            Reply::Found(bytes, at) => {
                let size = bytes.len() as u64;
                Ok(GetResult {
                    payload: GetResultPayload::Stream(futures::stream::once(async { Ok(bytes) }).boxed()),
                    meta: meta(location.as_ref(), size, at),
                    range: 0..size,
                    attributes: Default::default(),
                    extensions: Default::default(),
                })
            }
            Reply::Failed(message) => Err(failed(message)),
            _ => Err(object_store::Error::NotFound {
                path: location.to_string(),
                source: "it is not there".into(),
            }),
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let client = self.clone();
        locations
            .then(move |location| {
                let client = client.clone();
                async move {
                    let location = location?;
                    match client.send(Request::Delete(location.to_string())).await {
                        Reply::Failed(message) => Err(failed(message)),
                        _ => Ok(location),
                    }
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.map(ToString::to_string).unwrap_or_default();
        let client = self.clone();
        futures::stream::try_unfold(Some(String::new()), move |after| {
            let (client, prefix) = (client.clone(), prefix.clone());
            async move {
                let Some(after) = after else { return Ok::<_, object_store::Error>(None) };
                let (found, next) = client.page(prefix, after).await?;
                Ok(Some((futures::stream::iter(found.into_iter().map(Ok)), next)))
            }
        })
        .try_flatten()
        .boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(object_store::Error::NotImplemented { operation: "list".into(), implementer: "simulated".into() })
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(object_store::Error::NotImplemented { operation: "copy".into(), implementer: "simulated".into() })
    }
}
