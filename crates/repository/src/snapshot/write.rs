//! Writes a snapshot: streams become parts, parts become chunks, and the manifest is written last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::{FuturesOrdered, Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};

use super::chunk_writer::ChunkWriter;
use super::deadline::RunClock;
use super::index::Reuse;
use super::presence::Presence;
use super::repair_set::RepairSet;
use crate::format::chunk::ChunkBuffer;
use crate::format::document::hex;
use crate::tasks::{Task, blocking};
use crate::{
    ChunkId, ChunkRef, Content, Error, FORMAT, Manifest, Part, PartHeader, Repository, SnapshotId,
    SnapshotStats, SourceRecord,
};

/// Input of a new snapshot.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SnapshotStart {
    /// The series.
    pub job: String,
    /// When the snapshot was begun, by the caller's clock.
    pub taken_at: DateTime<Utc>,
    /// The tool's name and version.
    pub tool: String,
    /// What distinguishes each source from another of the same name, by name; see [`Content::identity`].
    pub identities: BTreeMap<String, String>,
    /// From this snapshot on the series may consist of other sources.
    pub new_lineage: bool,
    /// Tags, which retention may use to keep the snapshot. Not encrypted.
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

/// A snapshot being written. Dropped before [`SnapshotWriter::commit`], it leaves nothing that is listed.
#[derive(Debug)]
pub struct SnapshotWriter {
    repository: Repository,
    start: SnapshotStart,
    id: SnapshotId,
    run_clock: RunClock,
    presence: Presence,
    chunks: Arc<ChunkWriter>,
}

impl Repository {
    /// Begins a snapshot: reads which chunks the listed snapshots reference and the store holds, to store none of them
    /// again.
    ///
    /// A chunk that is missing, or has another size than its manifest states, is not reused; it is written again under its
    /// name if the new data contains it. A chunk that no current recipient can decrypt is written again for them.
    pub async fn begin(&self, start: SnapshotStart) -> Result<SnapshotWriter, Error> {
        self.begin_with(start, Reuse::ByAnyRecipient).await
    }

    pub(crate) async fn begin_with(
        &self,
        start: SnapshotStart,
        reuse: Reuse,
    ) -> Result<SnapshotWriter, Error> {
        let run_clock = RunClock::start();
        let random = uuid::Uuid::new_v4().as_fields().0;
        let id = SnapshotId::new(start.taken_at, random);
        self.store.keep_reserve().await;
        // Before anything is read: a prune without waiting either sees this writer, or finished before it began.
        let presence = self.announce(&id).await?;
        self.restore_config().await?;
        let index = self.chunk_index(reuse).await?;
        let chunks = Arc::new(ChunkWriter::new(id.clone(), index));
        Ok(SnapshotWriter { repository: self.clone(), start, id, run_clock, presence, chunks })
    }
}

impl SnapshotWriter {
    /// The name that the snapshot will have.
    pub fn id(&self) -> &SnapshotId {
        &self.id
    }

    /// Stores a stream as a part. May be called for several parts at the same time.
    ///
    /// The returned part has no attributes; set those that are known only at the end of the stream before the commit.
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
                // Chunks in flight may still find room, and are noted with the rest.
                while writing.next().await.is_some() {}
                let (kept, kept_bytes) = self.chunks.journal.flush(&self.repository, &self.id).await;
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
        let mut stream = std::pin::pin!(stream);
        let mut buffer = ChunkBuffer::new(self.repository.chunker);
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
                    // Waiting for the budget must not stop the chunks in flight from finishing.
                    tokio::select! {
                        biased;
                        Some(done) = writing.next(), if !writing.is_empty() => chunks.push(joined(&header, done)?),
                        permit = self.chunks.reserve(chunk.len() as u32) => break permit,
                    }
                };
                let permit = permit
                    .map_err(|_| Error::Damaged { object: header.name.clone(), message: "closed".into() })?;
                let (repository, writer) = (self.repository.clone(), Arc::clone(&self.chunks));
                writing.push_back(Task::start(async move {
                    writer.write(&repository, chunk, Some(permit)).await
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

    /// Writes the manifest: from here on the snapshot exists. `complete` states whether every requested source is in it.
    pub async fn commit(self, sources: Vec<SourceRecord>, complete: bool) -> Result<Manifest, Error> {
        if let Err(late) = self.check_deadline() {
            self.abandon().await;
            return Err(late);
        }
        let manifest = self.manifest(sources, complete);
        if let Err(error) = self.commit_manifest(&manifest).await {
            self.abandon().await;
            return Err(error);
        }
        // What a failed source had written so far is in no manifest, and is worth keeping for the next run.
        if complete {
            self.finish().await;
        } else {
            self.abandon().await;
        }
        Ok(manifest)
    }

    /// The manifest of what was written.
    fn manifest(&self, sources: Vec<SourceRecord>, complete: bool) -> Manifest {
        let parts = || sources.iter().flat_map(|source| &source.parts);
        let stats = SnapshotStats {
            plain_bytes: parts().map(|part| part.bytes).sum(),
            chunks: parts().map(|part| part.chunks.len() as u64).sum(),
            ..self.written()
        };
        let identities = &self.start.identities;
        let content = |source: &SourceRecord| Content {
            identity: identities.get(&source.name).cloned(),
            ..Content::of(source)
        };
        Manifest {
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
        }
    }

    /// Ends a failed backup. Nothing of it is listed; the journal names what it wrote, for the next one to reuse. Merely
    /// dropping the writer leaves the same, except for the last few chunks, and it counts as running for some minutes.
    pub async fn abandon(self) {
        self.chunks.journal.flush(&self.repository, &self.id).await;
        self.presence.end(&self.repository).await;
    }
}

/// What a copy from another repository needs: chunks that are already cut, and manifests that already exist.
impl SnapshotWriter {
    /// True while there is time for another long snapshot.
    pub(crate) fn is_fresh(&self) -> bool {
        self.run_clock.elapsed() < self.repository.longest_run() / 4
    }

    /// The chunk, if it is stored and no object of it needs repair.
    pub(crate) fn present(&self, id: ChunkId, bytes: u32) -> Option<ChunkRef> {
        let repair = !self.repairs().objects(id).is_empty();
        self.chunks.present(id, bytes).filter(|_| !repair)
    }

    /// What to write again when its data is at hand.
    pub(crate) fn repairs(&self) -> &RepairSet {
        &self.chunks.repairs
    }

    /// Writes a chunk if it needs repair.
    pub(crate) async fn repair(&self, plain: Bytes) -> Result<(), Error> {
        let (crypt, bytes) = (self.repository.crypt.clone(), plain.clone());
        let id = blocking(move || crypt.name(&bytes)).await?;
        if !self.repairs().objects(id).is_empty() {
            self.write_chunk(plain).await?;
        }
        Ok(())
    }

    pub(crate) async fn write_chunk(&self, plain: Bytes) -> Result<ChunkRef, Error> {
        self.chunks.write(&self.repository, plain, None).await
    }

    /// What was written so far.
    pub(crate) fn written(&self) -> SnapshotStats {
        self.chunks.written()
    }

    /// Fails once too much time has passed to reference what the chunk index named.
    pub(crate) fn check_deadline(&self) -> Result<(), Error> {
        self.repository.check_deadline(self.run_clock)
    }

    /// Fails if a prune without waiting took this writer for dead.
    pub(crate) async fn is_present(&self) -> Result<(), Error> {
        self.presence.check(&self.repository).await
    }

    /// Commits a manifest, of this writer's name or of another; more may follow.
    pub(crate) async fn commit_manifest(&self, manifest: &Manifest) -> Result<(), Error> {
        self.check_deadline()?;
        self.repository.commit_before_deadline(self.run_clock, &self.presence, manifest).await
    }

    /// Abandons a run for this error.
    pub(crate) async fn abort_with(self, error: Error) -> Error {
        self.abandon().await;
        error
    }

    /// Ends a run of which everything is listed.
    pub(crate) async fn finish(self) {
        drop(self.presence);
        self.chunks.journal.remove(&self.repository, &self.id).await;
    }
}

fn joined(
    header: &PartHeader,
    done: Result<Result<ChunkRef, Error>, tokio::task::JoinError>,
) -> Result<ChunkRef, Error> {
    done.unwrap_or_else(|e| Err(Error::Stream { part: header.name.clone(), source: Box::new(e) }))
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
    async fn a_backup_that_exceeds_the_grace_period_by_any_clock_is_not_listed() {
        let repository = repository().await;
        let begin = || repository.begin(SnapshotStart::new("job", Utc::now(), "test"));
        let slept = SystemTime::now().checked_sub(hours(72)).unwrap();
        let mut writer = begin().await.unwrap();
        writer.run_clock = RunClock(Instant::now(), slept);
        assert!(matches!(writer.commit(Vec::new(), true).await, Err(Error::TooLong { hours: 71 })));
        let mut writer = begin().await.unwrap();
        writer.run_clock = RunClock(Instant::now(), SystemTime::now() + hours(1000));
        writer.commit(Vec::new(), true).await.unwrap();
        assert_eq!(repository.headers().await.unwrap().headers.len(), 1);
        repository.prune(&PruneOptions { dry_run: false, now: Utc::now() }).await.unwrap();
    }

    /// Two hosts back up the same series at the same moment: both snapshots are listed and intact.
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
