//! Repairs a copy: chunks of a snapshot that are missing or damaged in one repository are written again from the same
//! snapshot in another.

use std::collections::HashSet;

use futures::stream::{self, StreamExt as _};

use crate::snapshot::write::SnapshotWriter;
use crate::{ChunkId, ChunkRef, Error, Repository, SnapshotId};

/// Number of chunks to process in parallel.
const CONCURRENCY: usize = 4;

impl Repository {
    /// Writes missing or damaged chunks of a snapshot in `target` again, from the same snapshot in this repository.
    /// Returns false if there are none.
    pub(crate) async fn repair_copy(
        &self,
        target: &Repository,
        writer: &SnapshotWriter,
        id: &SnapshotId,
    ) -> Result<bool, Error> {
        // Forgotten in the target in the meantime: nothing references its chunks.
        let Some(there) = target.manifest(id).await? else { return Ok(false) };
        let mut wanted: HashSet<ChunkId> = HashSet::new();
        for chunk in there.chunks() {
            if !writer.repairs().contains(&chunk.object()) {
                continue;
            }
            // A chunk that was repaired before may have a size that no manifest states. Without an identity it cannot be
            // read to find out, and is written once more.
            if target.crypt.can_read() && target.read_chunk(*chunk).await.is_ok() {
                writer.repairs().remove(&chunk.object());
            } else {
                wanted.insert(chunk.id);
            }
        }
        if wanted.is_empty() {
            return Ok(false);
        }
        let failed = self.rewrite_chunks(target, writer, id, &wanted).await?;
        let left = there.chunks().find(|chunk| writer.repairs().contains(&chunk.object()));
        match (left, failed) {
            (None, _) => Ok(true),
            (Some(_), Some(error)) => Err(error),
            (Some(chunk), None) => Err(Error::Damaged {
                object: chunk.object().to_string(),
                message: format!(
                    "it is missing or damaged in {}, and {} does not hold its data",
                    target.address(),
                    self.address()
                ),
            }),
        }
    }

    /// Reads the snapshot here and offers its chunks to the writer. Returns the first damage found on the way: a chunk
    /// that is damaged here may not be one that the target needs.
    async fn rewrite_chunks(
        &self,
        target: &Repository,
        writer: &SnapshotWriter,
        id: &SnapshotId,
        wanted: &HashSet<ChunkId>,
    ) -> Result<Option<Error>, Error> {
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
            let mut repaired = stream::iter(chunks)
                .map(|chunk| async move { writer.repair(self.read_chunk(chunk).await?).await })
                .buffer_unordered(CONCURRENCY);
            while let Some(done) = repaired.next().await {
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
        Ok(failed)
    }
}
