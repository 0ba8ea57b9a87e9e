//! Writes the chunks of one snapshot: name, compress, encrypt, store, record in the journal. Shared by all of its
//! parts.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use zstd::bulk::Compressor;

use super::compression_pool::CompressionPool;
use super::index::ChunkIndex;
use super::journal::JournalWriter;
use super::repair_set::RepairSet;
use crate::format::chunk::ChunkObject;
use crate::{ChunkId, ChunkRef, CopyTag, Error, Repository, SnapshotId, SnapshotStats};

/// Maximum bytes of chunks that are queued, compressed or uploaded, over all parts: plain bytes until they are
/// compressed, then their compressed size.
const IN_FLIGHT: usize = 16 << 20;

/// State shared by all parts of a snapshot.
#[derive(Debug)]
pub(crate) struct ChunkWriter {
    /// Chunks that are certainly stored: referenced by a listed snapshot when the writer started and seen in the
    /// store with the right size, or written by this writer and acknowledged. A chunk enters only after the
    /// acknowledgement, so that no part ever references another part's failed upload.
    present: Mutex<HashMap<ChunkId, (u32, Option<CopyTag>)>>,
    /// Objects that prune has marked: such a chunk is written under another name, which a running deletion cannot
    /// hit.
    pending_deletion: HashSet<ChunkObject>,
    /// Referenced chunks that are missing or damaged.
    pub(crate) repairs: RepairSet,
    budget: Arc<Semaphore>,
    /// Started with the first chunk.
    compression_pool: OnceCell<CompressionPool>,
    /// The snapshot whose journal records the written chunks.
    id: SnapshotId,
    pub(crate) journal: JournalWriter,
    new_plain: AtomicU64,
    stored: AtomicU64,
    new_chunks: AtomicU64,
}

/// The result of a compression thread.
enum Packed {
    Present(ChunkRef),
    /// Id, objects to repair with it, and packed bytes.
    New(ChunkId, Vec<ChunkObject>, std::io::Result<Vec<u8>>),
}

impl ChunkWriter {
    pub(crate) fn new(id: SnapshotId, index: ChunkIndex) -> ChunkWriter {
        ChunkWriter {
            present: Mutex::new(index.present),
            pending_deletion: index.pending_deletion,
            repairs: index.repairs,
            budget: Arc::new(Semaphore::new(IN_FLIGHT)),
            compression_pool: OnceCell::new(),
            id,
            journal: JournalWriter::default(),
            new_plain: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            new_chunks: AtomicU64::new(0),
        }
    }

    /// The chunk, if it is certainly stored.
    pub(crate) fn present(&self, id: ChunkId, bytes: u32) -> Option<ChunkRef> {
        let present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        present.get(&id).map(|&(stored, copy)| ChunkRef { id, bytes, stored, copy })
    }

    /// Waits until this many more bytes may be in flight.
    pub(crate) async fn reserve(
        &self,
        bytes: u32,
    ) -> Result<OwnedSemaphorePermit, tokio::sync::AcquireError> {
        Arc::clone(&self.budget).acquire_many_owned(bytes).await
    }

    /// What was written so far.
    pub(crate) fn written(&self) -> SnapshotStats {
        SnapshotStats {
            new_plain_bytes: self.new_plain.load(Ordering::Relaxed),
            stored_bytes: self.stored.load(Ordering::Relaxed),
            new_chunks: self.new_chunks.load(Ordering::Relaxed),
            ..SnapshotStats::default()
        }
    }

    /// Stores a chunk unless it is present. The permit shrinks to the compressed size.
    pub(crate) async fn write(
        self: &Arc<ChunkWriter>,
        repository: &Repository,
        plain: Bytes,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<ChunkRef, Error> {
        let bytes = plain.len() as u32;
        let (id, repairs, packed) = match self.pack(repository, plain).await? {
            Packed::Present(present) => return Ok(present),
            Packed::New(id, repairs, packed) => (id, repairs, packed),
        };
        let mut repairs = repairs.into_iter();
        let ChunkObject { copy, .. } = repairs.next().unwrap_or_else(|| self.free_name(repository, id));
        let object = ChunkObject { id, copy }.to_string();
        let damaged = |message: String| Error::Damaged { object: object.clone(), message };
        let packed = packed.map_err(|e| damaged(format!("cannot be compressed: {e}")))?;
        let stored = u32::try_from(packed.len()).map_err(|e| damaged(e.to_string()))?;
        let _still = permit.map(|mut permit| permit.split(packed.len().min(permit.num_permits())));
        let packed = Bytes::from(packed);
        for object in std::iter::once(object.clone()).chain(repairs.map(|other| other.to_string())) {
            repository.store.put(&object, packed.clone()).await?;
        }
        let chunk = ChunkRef { id, bytes, stored, copy };
        self.acknowledged(repository, chunk).await;
        Ok(chunk)
    }

    /// Names and compresses a chunk on a thread of the pool.
    async fn pack(self: &Arc<ChunkWriter>, repository: &Repository, plain: Bytes) -> Result<Packed, Error> {
        let (crypt, writer) = (repository.crypt.clone(), Arc::clone(self));
        let pack = move |compressor: &mut Compressor<'static>| {
            let id = crypt.name(&plain);
            // In this order: a task that repairs the chunk first adds it to the present ones, then completes the
            // repair.
            let repairs = writer.repairs.objects(id);
            match writer.present(id, plain.len() as u32) {
                Some(present) if repairs.is_empty() => Packed::Present(present),
                _ => Packed::New(id, repairs, crypt.pack(&plain, compressor)),
            }
        };
        let pool =
            self.compression_pool.get_or_try_init(async || CompressionPool::start(repository.level)).await?;
        pool.run(pack).await
    }

    /// A name for this chunk that is not pending deletion.
    fn free_name(&self, repository: &Repository, id: ChunkId) -> ChunkObject {
        let sets = repository.crypt.sets();
        let mut object = ChunkObject { id, copy: sets.tag() };
        while self.pending_deletion.contains(&object) {
            object.copy = Some(sets.fresh_tag());
        }
        object
    }

    /// Counts a chunk that the store has acknowledged, and records it in the journal.
    async fn acknowledged(&self, repository: &Repository, chunk: ChunkRef) {
        let known = {
            let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
            present.insert(chunk.id, (chunk.stored, chunk.copy)).is_some()
        };
        if self.repairs.complete(chunk.id) || !known {
            self.new_plain.fetch_add(u64::from(chunk.bytes), Ordering::Relaxed);
            self.stored.fetch_add(u64::from(chunk.stored), Ordering::Relaxed);
            self.new_chunks.fetch_add(1, Ordering::Relaxed);
            self.journal.record(repository, &self.id, chunk).await;
        }
    }
}
