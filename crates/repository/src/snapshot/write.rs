//! Writing a snapshot: parts into chunks, chunks into the store, and at last the manifest.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::{FuturesOrdered, Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use zstd::bulk::Compressor;

use crate::format::chunk::{ChunkObject, Uncut};
use crate::format::document::hex;
use crate::maintenance::repair::Mending;
use crate::snapshot::compression_pool::Packers;
use crate::snapshot::deadline::Begun;
use crate::snapshot::index::{Known, Reuse};
use crate::snapshot::journal::JournalWriter;
use crate::snapshot::presence::Presence;
use crate::tasks::{Task, blocking};
use crate::{
    ChunkId, ChunkRef, Content, CopyTag, Error, FORMAT, Manifest, Part, PartHeader, Repository, SnapshotId,
    SnapshotStats, SourceRecord,
};

/// Bytes of chunks that may wait, be packed or be uploaded at the same time, over all parts: plain ones until they are
/// packed, then what is left of them.
const IN_FLIGHT: usize = 16 << 20;

/// What a snapshot begins with.
#[derive(Debug, Clone)]
pub struct SnapshotStart {
    /// The series.
    pub job: String,
    /// When it is begun: the caller's clock.
    pub taken_at: DateTime<Utc>,
    /// The tool's name and version.
    pub tool: String,
    /// What tells each source from another one of its name, by name; see [`Content::identity`].
    pub identities: BTreeMap<String, String>,
    /// The series may be of other sources from here on.
    pub new_lineage: bool,
    /// Words that somebody gave it; retention may keep what bears one. Not encrypted.
    pub tags: BTreeSet<String>,
}

impl SnapshotStart {
    /// A snapshot of this series.
    pub fn new(job: impl Into<String>, taken_at: DateTime<Utc>, tool: impl Into<String>) -> SnapshotStart {
        SnapshotStart {
            job: job.into(),
            taken_at,
            tool: tool.into(),
            identities: BTreeMap::new(),
            new_lineage: false,
            tags: BTreeSet::new(),
        }
    }
}

/// A snapshot under way. Dropped before [`SnapshotWriter::commit`], it leaves nothing that is listed.
#[derive(Debug)]
pub struct SnapshotWriter {
    repository: Repository,
    start: SnapshotStart,
    id: SnapshotId,
    begun: Begun,
    presence: Presence,
    shared: Arc<Shared>,
}

/// What all parts of one snapshot share.
#[derive(Debug)]
struct Shared {
    /// Chunks that are surely there: named by a listed snapshot when we began and seen in the store with the right
    /// size, or written by us and acknowledged. A chunk enters only after the store said yes, so that no part ever
    /// leans on another part's failed upload.
    present: Mutex<HashMap<ChunkId, (u32, Option<CopyTag>)>>,
    /// Objects that prune has marked: such a chunk is written under another name, which no running removal can hit.
    shunned: HashSet<ChunkObject>,
    /// What manifests name and is missing or damaged.
    mending: Mending,
    budget: Arc<Semaphore>,
    /// Started for the first chunk.
    packers: OnceCell<Packers>,
    /// The snapshot's name, under which its journal lies.
    id: SnapshotId,
    journal: JournalWriter,
    new_plain: AtomicU64,
    stored: AtomicU64,
    new_chunks: AtomicU64,
}

impl Shared {
    fn present(&self, id: ChunkId, bytes: u32) -> Option<ChunkRef> {
        let present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        present.get(&id).map(|&(stored, copy)| ChunkRef { id, bytes, stored, copy })
    }
}

impl Repository {
    /// Begins a snapshot: reads which chunks the listed snapshots name and the store has, to store none of them again.
    ///
    /// A chunk that is missing, or has not the size that its manifest gives, is not leaned on: it is written again, in its
    /// place, if its data comes by.
    /// A chunk that no recipient of today can open is written again too, for them.
    pub async fn begin(&self, start: SnapshotStart) -> Result<SnapshotWriter, Error> {
        self.begin_with(start, Reuse::ByAnyRecipient).await
    }

    pub(crate) async fn begin_with(
        &self,
        start: SnapshotStart,
        reuse: Reuse,
    ) -> Result<SnapshotWriter, Error> {
        let begun = Begun::now();
        let random = uuid::Uuid::new_v4().as_fields().0;
        let id = SnapshotId::new(start.taken_at, random);
        self.store.keep_reserve().await;
        // Before anything is read: a prune that does not wait either sees it, or was there first.
        let presence = self.announce(&id).await?;
        self.keep_config().await?;
        let Known { present, shunned, mending } = self.known(reuse).await?;
        Ok(SnapshotWriter {
            repository: self.clone(),
            id: id.clone(),
            start,
            begun,
            presence,
            shared: Arc::new(Shared {
                present: Mutex::new(present),
                shunned,
                mending,
                budget: Arc::new(Semaphore::new(IN_FLIGHT)),
                packers: OnceCell::new(),
                id,
                journal: JournalWriter::default(),
                new_plain: AtomicU64::new(0),
                stored: AtomicU64::new(0),
                new_chunks: AtomicU64::new(0),
            }),
        })
    }
}

impl SnapshotWriter {
    /// The name that the snapshot will have.
    pub fn id(&self) -> &SnapshotId {
        &self.id
    }

    /// Stores a stream as a part. May be called for several parts at the same time.
    ///
    /// The part comes back with empty attributes; what is only known at the stream's end can be set then.
    pub async fn write_part<E>(
        &self,
        header: PartHeader,
        stream: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<Part, Error>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut writing = FuturesOrdered::new();
        match self.cut_and_write(header, stream, &mut writing).await {
            Err(error) if error.is_no_room() => {
                // What is under way may find room yet, and is noted with the rest.
                while writing.next().await.is_some() {}
                let (kept, kept_bytes) = self.shared.journal.flush(&self.repository, &self.id).await;
                Err(Error::OutOfSpace { source: Box::new(error), kept, kept_bytes })
            }
            other => other,
        }
    }

    async fn cut_and_write<E>(
        &self,
        header: PartHeader,
        stream: impl Stream<Item = Result<Bytes, E>>,
        writing: &mut FuturesOrdered<Task<Result<ChunkRef, Error>>>,
    ) -> Result<Part, Error>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let chunker = self.repository.chunker;
        let mut stream = std::pin::pin!(stream);
        let mut buffer = Uncut::new(chunker);
        let mut whole = Sha256::new();
        let mut bytes = 0_u64;
        let mut chunks = Vec::new();
        loop {
            let ended = match stream.next().await {
                Some(Ok(more)) => {
                    whole.update(&more);
                    bytes += more.len() as u64;
                    buffer.push(&more);
                    false
                }
                Some(Err(source)) => return Err(Error::Stream { part: header.name, source: source.into() }),
                None => true,
            };
            while let Some(chunk) = buffer.cut(ended) {
                let permit = loop {
                    // Waiting for room must not stop the chunks that are under way from being finished.
                    tokio::select! {
                        biased;
                        Some(done) = writing.next(), if !writing.is_empty() => chunks.push(joined(&header, done)?),
                        permit = self.shared.budget.clone().acquire_many_owned(chunk.len() as u32) => break permit,
                    }
                };
                let permit = permit
                    .map_err(|_| Error::Damaged { object: header.name.clone(), message: "closed".into() })?;
                let (repository, shared) = (self.repository.clone(), Arc::clone(&self.shared));
                writing.push_back(Task::start(async move {
                    write_chunk(&repository, &shared, chunk, Some(permit)).await
                }));
            }
            if ended {
                break;
            }
        }
        while let Some(done) = writing.next().await {
            chunks.push(joined(&header, done)?);
        }
        Ok(Part {
            name: header.name,
            kind: header.kind,
            bytes,
            sha256: hex(&whole.finalize()),
            attributes: serde_json::Map::new(),
            chunks,
        })
    }

    /// Writes the manifest: from here on the snapshot exists. `complete` says whether every source is in it.
    pub async fn commit(self, sources: Vec<SourceRecord>, complete: bool) -> Result<Manifest, Error> {
        if let Err(late) = self.repository.in_time(self.begun) {
            self.abandon().await;
            return Err(late);
        }
        let parts = || sources.iter().flat_map(|source| &source.parts);
        let stats = SnapshotStats {
            plain_bytes: parts().map(|part| part.bytes).sum(),
            new_plain_bytes: self.shared.new_plain.load(Ordering::Relaxed),
            stored_bytes: self.shared.stored.load(Ordering::Relaxed),
            chunks: parts().map(|part| part.chunks.len() as u64).sum(),
            new_chunks: self.shared.new_chunks.load(Ordering::Relaxed),
        };
        let identities = &self.start.identities;
        let content = |source: &SourceRecord| Content {
            identity: identities.get(&source.name).cloned(),
            ..Content::of(source)
        };
        let manifest = Manifest {
            format: FORMAT,
            id: self.id.clone(),
            job: self.start.job.clone(),
            taken_at: self.start.taken_at,
            finished_at: Utc::now(),
            tool: self.start.tool.clone(),
            complete,
            contents: sources.iter().map(content).collect(),
            new_lineage: self.start.new_lineage,
            tags: self.start.tags.clone(),
            sources,
            sealed: None,
            stats,
        };
        if let Err(error) = self.repository.list_in_time(self.begun, &self.presence, &manifest).await {
            self.abandon().await;
            return Err(error);
        }
        // What a failed source had written so far is named by no manifest, and is worth something to the next run.
        if complete {
            self.forget_journal().await;
        } else {
            self.abandon().await;
        }
        Ok(manifest)
    }

    /// Ends a backup that failed. Nothing of it is listed; what it wrote is noted for the next one to use again. One that
    /// is merely dropped leaves the same, but for the last few chunks, and counts as being under way for some minutes.
    pub async fn abandon(self) {
        self.shared.journal.flush(&self.repository, &self.id).await;
        self.presence.end(&self.repository).await;
    }
}

/// What a copy from another repository needs: chunks as they are already cut, and manifests as they already are.
impl SnapshotWriter {
    /// True while there is time for another long snapshot.
    pub(crate) fn is_fresh(&self) -> bool {
        self.begun.elapsed() < self.repository.longest_run() / 4
    }

    /// The chunk if it is there, and nothing that bears its name is to be written again.
    pub(crate) fn present(&self, id: ChunkId, bytes: u32) -> Option<ChunkRef> {
        let mend = !self.shared.mending.objects(id).is_empty();
        self.shared.present(id, bytes).filter(|_| !mend)
    }

    /// What is to be written again when its data comes by.
    pub(crate) fn mending(&self) -> &Mending {
        &self.shared.mending
    }

    /// Writes a chunk if it is to be written again.
    pub(crate) async fn mend(&self, plain: Bytes) -> Result<(), Error> {
        let (crypt, bytes) = (self.repository.crypt.clone(), plain.clone());
        let id = blocking(move || crypt.name(&bytes)).await?;
        if !self.shared.mending.objects(id).is_empty() {
            self.write_chunk(plain).await?;
        }
        Ok(())
    }

    pub(crate) async fn write_chunk(&self, plain: Bytes) -> Result<ChunkRef, Error> {
        write_chunk(&self.repository, &self.shared, plain, None).await
    }

    /// What was written so far.
    pub(crate) fn written(&self) -> SnapshotStats {
        SnapshotStats {
            new_plain_bytes: self.shared.new_plain.load(Ordering::Relaxed),
            stored_bytes: self.shared.stored.load(Ordering::Relaxed),
            new_chunks: self.shared.new_chunks.load(Ordering::Relaxed),
            ..SnapshotStats::default()
        }
    }

    /// Fails once too much time has passed to name what this writer leans on.
    pub(crate) fn in_time(&self) -> Result<(), Error> {
        self.repository.in_time(self.begun)
    }

    /// An error if a prune that does not wait took this writer for dead.
    pub(crate) async fn is_present(&self) -> Result<(), Error> {
        self.presence.check(&self.repository).await
    }

    /// Commits a manifest of another name than this writer's own; more may follow.
    pub(crate) async fn commit_manifest(&self, manifest: &Manifest) -> Result<(), Error> {
        self.repository.in_time(self.begun)?;
        self.repository.list_in_time(self.begun, &self.presence, manifest).await
    }

    /// Abandons a run for this error.
    pub(crate) async fn give_up(self, error: Error) -> Error {
        self.abandon().await;
        error
    }

    /// Ends a run of which everything is listed.
    pub(crate) async fn forget_journal(self) {
        drop(self.presence);
        self.shared.journal.remove(&self.repository, &self.id).await;
    }
}

fn joined(
    header: &PartHeader,
    done: Result<Result<ChunkRef, Error>, tokio::task::JoinError>,
) -> Result<ChunkRef, Error> {
    done.unwrap_or_else(|e| Err(Error::Stream { part: header.name.clone(), source: Box::new(e) }))
}

/// What a packing thread makes of a chunk.
enum Packed {
    Present(ChunkRef),
    /// Where it is to be written again, if it is, and its bytes.
    New(ChunkId, Vec<ChunkObject>, std::io::Result<Vec<u8>>),
}

/// Packs and stores a chunk that is not there. What the permit holds back follows what the chunk still takes.
async fn write_chunk(
    repository: &Repository,
    shared: &Arc<Shared>,
    plain: Bytes,
    permit: Option<OwnedSemaphorePermit>,
) -> Result<ChunkRef, Error> {
    let bytes = plain.len() as u32;
    let (crypt, known) = (repository.crypt.clone(), Arc::clone(shared));
    let pack = move |compressor: &mut Compressor<'static>| {
        let id = crypt.name(&plain);
        // In this order: whoever writes it again first says that it is present, and then that it is done.
        let again = known.mending.objects(id);
        match known.present(id, bytes) {
            Some(present) if again.is_empty() => Packed::Present(present),
            _ => Packed::New(id, again, crypt.pack(&plain, compressor)),
        }
    };
    let packers = shared.packers.get_or_try_init(async || Packers::start(repository.level)).await?;
    let (id, again, packed) = match packers.run(pack).await? {
        Packed::Present(present) => return Ok(present),
        Packed::New(id, again, packed) => (id, again, packed),
    };
    let mut again = again.into_iter();
    let ChunkObject { copy, .. } = again.next().unwrap_or_else(|| {
        let sets = repository.crypt.sets();
        let mut object = ChunkObject { id, copy: sets.tag() };
        while shared.shunned.contains(&object) {
            object.copy = Some(sets.fresh_tag());
        }
        object
    });
    let object = ChunkObject { id, copy }.to_string();
    let damaged = |message: String| Error::Damaged { object: object.clone(), message };
    let packed = packed.map_err(|e| damaged(format!("cannot be packed: {e}")))?;
    let stored = u32::try_from(packed.len()).map_err(|e| damaged(e.to_string()))?;
    let _still = permit.map(|mut permit| permit.split(packed.len().min(permit.num_permits())));
    let packed = Bytes::from(packed);
    for object in std::iter::once(object.clone()).chain(again.map(|other| other.to_string())) {
        repository.store.put(&object, packed.clone()).await?;
    }
    let chunk = ChunkRef { id, bytes, stored, copy };
    let known = {
        let mut present = shared.present.lock().unwrap_or_else(PoisonError::into_inner);
        present.insert(id, (stored, copy)).is_some()
    };
    if shared.mending.done(id) || !known {
        shared.new_plain.fetch_add(u64::from(bytes), Ordering::Relaxed);
        shared.stored.fetch_add(u64::from(stored), Ordering::Relaxed);
        shared.new_chunks.fetch_add(1, Ordering::Relaxed);
        shared.journal.note(repository, &shared.id, chunk).await;
    }
    Ok(chunk)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tokio::time::Instant;

    use super::*;
    use crate::{InitOptions, PruneOptions, Store, StoreEnv};

    async fn repository() -> Repository {
        let store = Store::open("memory:", &StoreEnv::default()).unwrap();
        Repository::init(store, &InitOptions::default()).await.unwrap()
    }

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * 3600)
    }

    #[tokio::test]
    async fn a_backup_that_outlasted_the_grace_by_any_clock_is_not_listed() {
        let repository = repository().await;
        let begin = || repository.begin(SnapshotStart::new("job", Utc::now(), "test"));
        let slept = SystemTime::now().checked_sub(hours(72)).unwrap();
        let mut writer = begin().await.unwrap();
        writer.begun = Begun(Instant::now(), slept);
        assert!(matches!(writer.commit(Vec::new(), true).await, Err(Error::TooLong { hours: 71 })));
        let mut writer = begin().await.unwrap();
        writer.begun = Begun(Instant::now(), SystemTime::now() + hours(1000));
        writer.commit(Vec::new(), true).await.unwrap();
        assert_eq!(repository.headers().await.unwrap().headers.len(), 1);
        repository.prune(&PruneOptions { dry_run: false, now: Utc::now() }).await.unwrap();
    }

    /// Two hosts back up the same series at the same moment: both snapshots are listed, and whole.
    #[tokio::test]
    async fn two_writers_of_one_job_at_the_same_moment_get_two_snapshots() {
        let repository = repository().await;
        let at = Utc::now();
        let write = async |bytes: &'static [u8]| {
            let writer = repository.begin(SnapshotStart::new("job", at, "test")).await?;
            let stream = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(bytes))]);
            let part = writer.write_part(PartHeader::new("p", "test"), stream).await?;
            tokio::task::yield_now().await;
            let null = serde_json::Value::Null;
            let (server, details) = (null.clone(), null);
            let source =
                SourceRecord { name: "s".into(), kind: "test".into(), server, details, parts: vec![part] };
            writer.commit(vec![source], true).await
        };
        for _ in 0..5 {
            let (one, two) = futures::future::join(write(b"the same"), write(b"the same")).await;
            assert_ne!(one.unwrap().id, two.unwrap().id);
        }
        let listing = repository.snapshots().await.unwrap();
        assert_eq!((listing.manifests.len(), listing.unreadable.len()), (10, 0));
        let options = crate::CheckOptions { read_data: true, now: at };
        assert!(repository.check(&options).await.unwrap().passed());
    }
}
