//! The journal of a running backup: the chunks it has written so far. If the backup is interrupted, the next one
//! reuses them. Losing a journal only costs time: its chunks are used only if no mark names them and a listing shows
//! them, like those of a manifest.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::snapshot::chunk_set::ChunkSetBuilder;
use crate::store::fetch::Fetched;
use crate::{ChunkRef, Error, Repository, SnapshotId};

/// A journal is written after this many chunks,
const CHUNKS: usize = 64;
/// or when the last one is this old.
const PAUSE: Duration = Duration::from_secs(5);
/// Chunks of journals that could not be written are included in the next one, up to this number.
const MOST_PENDING: usize = 16 << 10;

/// `journals/<snapshot>-<number>.json`
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Journal {
    pub(crate) format: u64,
    pub(crate) chunks: Vec<ChunkRef>,
}

/// Records the chunks that a backup writes.
#[derive(Debug, Default)]
pub(crate) struct JournalWriter(Mutex<Pending>);

#[derive(Debug, Default)]
struct Pending {
    chunks: Vec<ChunkRef>,
    since: Option<Instant>,
    written: usize,
    /// Number of chunks in journals so far, and their size.
    kept: (u64, u64),
}

impl JournalWriter {
    /// Records a chunk that the store has acknowledged. A journal that cannot be written is skipped: if the store
    /// also fails to write a chunk, that ends the backup with a better error.
    pub(crate) async fn record(&self, repository: &Repository, id: &SnapshotId, chunk: ChunkRef) {
        let (object, chunks) = {
            let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            pending.chunks.push(chunk);
            let since = *pending.since.get_or_insert_with(Instant::now);
            if pending.chunks.len() < CHUNKS && since.elapsed() < PAUSE {
                return;
            }
            pending.take(id)
        };
        self.write(repository, object, chunks, false).await;
    }

    /// Writes what was collected so far. Returns the number of chunks in journals, and their size.
    pub(crate) async fn flush(&self, repository: &Repository, id: &SnapshotId) -> (u64, u64) {
        let taken = {
            let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            (!pending.chunks.is_empty()).then(|| pending.take(id))
        };
        if let Some((object, chunks)) = taken {
            self.write(repository, object, chunks, true).await;
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).kept
    }

    /// `last` if nothing else is being written: only then may a journal use the reserve.
    async fn write(&self, repository: &Repository, object: String, chunks: Vec<ChunkRef>, last: bool) {
        let journal = Journal { format: crate::FORMAT, chunks };
        let bytes = repository.crypt.seal(&object, &journal).into();
        let written = match last {
            true => repository.store.put(&object, bytes).await.is_ok(),
            false => repository.store.put_outside_reserve(&object, bytes).await.is_ok(),
        };
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if written {
            let stored: u64 = journal.chunks.iter().map(|chunk| u64::from(chunk.stored)).sum();
            pending.kept.0 += journal.chunks.len() as u64;
            pending.kept.1 += stored;
        } else if pending.chunks.len() < MOST_PENDING {
            // Included in the next journal.
            pending.chunks.extend(journal.chunks);
        }
    }

    /// Removes the journals, because the manifest references all chunks now. Prune removes any that stay behind.
    pub(crate) async fn remove(&self, repository: &Repository, id: &SnapshotId) {
        let written = self.0.lock().unwrap_or_else(PoisonError::into_inner).written;
        let objects: Vec<String> = (0..=written).map(|number| object(id, number)).collect();
        for batch in objects.chunks(repository.store.deletions_at_once()) {
            let _ = repository.store.delete_all(batch).await;
        }
    }
}

impl Pending {
    fn take(&mut self, id: &SnapshotId) -> (String, Vec<ChunkRef>) {
        self.since = Some(Instant::now());
        self.written += 1;
        (object(id, self.written), std::mem::take(&mut self.chunks))
    }
}

pub(crate) fn object(id: &SnapshotId, number: usize) -> String {
    format!("journals/{id}-{number}.json")
}

impl Repository {
    /// Calls `visit` with every readable journal and the time it was written. An unreadable one is ignored.
    async fn visit_journals(
        &self,
        mut visit: impl FnMut(String, DateTime<Utc>, Vec<ChunkRef>),
    ) -> Result<(), Error> {
        let mut journals = std::pin::pin!(self.store.fetch("journals").await?);
        while let Some(Fetched { object, meta, bytes, .. }) = journals.next().await {
            let read = match bytes {
                Ok(None) => continue,
                Ok(Some(bytes)) => self.crypt.read::<Journal>(&object, &bytes),
                Err(error @ Error::Store { .. }) => return Err(error),
                Err(error) => Err(error),
            };
            visit(object, meta.last_modified, read.map(|journal| journal.chunks).unwrap_or_default());
        }
        Ok(())
    }

    /// Removes every journal: their chunks are about to be deleted.
    pub(crate) async fn remove_journals(&self) -> Result<(), Error> {
        let objects: Vec<String> =
            self.store.list("journals").await?.into_iter().map(|meta| meta.location.to_string()).collect();
        for batch in objects.chunks(self.store.deletions_at_once()) {
            self.store.delete_all(batch).await?;
        }
        Ok(())
    }

    /// Adds the chunks of all journals.
    pub(crate) async fn journaled(&self, builder: &mut ChunkSetBuilder) -> Result<(), Error> {
        self.visit_journals(|_, _, chunks| builder.add(chunks.iter())).await
    }

    /// Removes the journals that no running backup can still be writing, and adds the chunks of younger ones, which
    /// are worth keeping for the next backup.
    pub(crate) async fn expire_journals(
        &self,
        now: DateTime<Utc>,
        dry_run: bool,
        kept: &mut ChunkSetBuilder,
    ) -> Result<(), Error> {
        let grace = TimeDelta::from_std(self.grace).unwrap_or(TimeDelta::MAX);
        let mut old = Vec::new();
        self.visit_journals(
            |object, written, chunks| {
                if now - written > grace { old.push(object) } else { kept.add(chunks.iter()) }
            },
        )
        .await?;
        if !dry_run {
            for batch in old.chunks(self.store.deletions_at_once()) {
                self.store.delete_all(batch).await?;
            }
        }
        Ok(())
    }
}
