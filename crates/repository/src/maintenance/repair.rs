//! Mending: chunk objects that manifests name and that are not what they should be are written again, under exactly their
//! names, when their data comes by. That mends every snapshot that needs them, and no other name would.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use futures::stream::{self, StreamExt as _};

use crate::format::chunk::ChunkObject;
use crate::snapshot::write::SnapshotWriter;
use crate::{ChunkId, ChunkRef, Error, Repository, SnapshotId};

/// Chunks that are under way at the same time.
const AT_ONCE: usize = 4;

/// The objects that are to be written again. None of them is marked: what prune may be deleting is never written to.
#[derive(Debug, Default)]
pub(crate) struct Mending(Mutex<HashMap<ChunkId, Vec<ChunkObject>>>);

impl Mending {
    pub(crate) fn of(objects: impl Iterator<Item = ChunkObject>) -> Mending {
        let mut by_id: HashMap<ChunkId, Vec<ChunkObject>> = HashMap::new();
        for object in objects {
            by_id.entry(object.id).or_default().push(object);
        }
        Mending(Mutex::new(by_id))
    }

    /// The objects of this chunk that are to be written again.
    pub(crate) fn objects(&self, id: ChunkId) -> Vec<ChunkObject> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned().unwrap_or_default()
    }

    /// Takes note that all of them were: false if somebody else did so before.
    pub(crate) fn done(&self, id: ChunkId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id).is_some()
    }

    /// Takes an object out that turned out to be sound.
    fn spare(&self, object: &ChunkObject) {
        let mut by_id = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(objects) = by_id.get_mut(&object.id) {
            objects.retain(|candidate| candidate != object);
            if objects.is_empty() {
                by_id.remove(&object.id);
            }
        }
    }

    pub(crate) fn needs(&self, object: &ChunkObject) -> bool {
        let by_id = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        by_id.get(&object.id).is_some_and(|objects| objects.contains(object))
    }
}

impl Repository {
    /// Writes again what is missing or known to be damaged of a snapshot that `target` holds already, from the same
    /// snapshot here. False if nothing is.
    pub(crate) async fn mend_copy(
        &self,
        target: &Repository,
        writer: &SnapshotWriter,
        id: &SnapshotId,
    ) -> Result<bool, Error> {
        // Forgotten there meanwhile: then nothing needs it.
        let Some(there) = target.manifest(id).await? else { return Ok(false) };
        let mut wanted: HashSet<ChunkId> = HashSet::new();
        for chunk in there.chunks() {
            if !writer.mending().needs(&chunk.object()) {
                continue;
            }
            // One that was written again before has a size that no manifest gives. Who cannot read it writes it once more.
            if target.crypt.can_read() && target.read_chunk(*chunk).await.is_ok() {
                writer.mending().spare(&chunk.object());
            } else {
                wanted.insert(chunk.id);
            }
        }
        if wanted.is_empty() {
            return Ok(false);
        }
        let here = self.find(id.as_str()).await?;
        let mut failed = None;
        if self.chunker == target.chunker {
            let same_names = self.crypt.names_like(&target.crypt);
            let mut seen = HashSet::new();
            let chunks: Vec<ChunkRef> = here
                .chunks()
                .filter(|chunk| seen.insert(chunk.id) && (!same_names || wanted.contains(&chunk.id)))
                .copied()
                .collect();
            let mut mended = stream::iter(chunks)
                .map(|chunk| async move { writer.mend(self.read_chunk(chunk).await?).await })
                .buffer_unordered(AT_ONCE);
            // What is damaged here may not be what is needed there.
            while let Some(done) = mended.next().await {
                match done {
                    Err(error) if !error.is_damaged() => return Err(error),
                    other => failed = failed.or(other.err()),
                }
            }
        } else {
            for (_, part) in here.parts() {
                match self.copy_part(writer, target, part.clone(), &|_| {}).await {
                    Err(error) if !error.is_damaged() => return Err(error),
                    other => failed = failed.or(other.err()),
                }
            }
        }
        let left = there.chunks().find(|chunk| writer.mending().needs(&chunk.object()));
        match (left, failed) {
            (None, _) => Ok(true),
            (Some(_), Some(error)) => Err(error),
            (Some(chunk), None) => Err(Error::Damaged {
                object: chunk.object().to_string(),
                message: format!(
                    "it is missing or damaged in {}, and {} does not hold its data",
                    target.place(),
                    self.place()
                ),
            }),
        }
    }
}
