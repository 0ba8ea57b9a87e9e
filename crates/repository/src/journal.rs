//! The journal of a backup under way: which chunks it has written so far. If the backup is interrupted, the next one
//! re-uses them. Nothing is lost without it but time: what a journal names is used only where a mark does not name it
//! and a listing shows it, like what a manifest names.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::fetch::Fetched;
use crate::gather::Gather;
use crate::{ChunkRef, Error, Repository, SnapshotId};

/// A journal is written whenever so many chunks have come together,
const CHUNKS: usize = 64;
/// or when the last one is so long ago.
const PAUSE: Duration = Duration::from_secs(5);

/// `journals/<snapshot>-<number>.json`
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Journal {
    format: u64,
    chunks: Vec<ChunkRef>,
}

/// Notes what one backup writes.
#[derive(Debug)]
pub(crate) struct JournalWriter(Mutex<Pending>);

#[derive(Debug)]
struct Pending {
    chunks: Vec<ChunkRef>,
    since: Instant,
    written: usize,
}

impl JournalWriter {
    pub(crate) fn new() -> JournalWriter {
        JournalWriter(Mutex::new(Pending { chunks: Vec::new(), since: Instant::now(), written: 0 }))
    }

    /// Notes a chunk that the store has acknowledged. A journal that cannot be written is left out: the store's next
    /// failure to take a chunk ends the backup anyway, and says more.
    pub(crate) async fn note(&self, repository: &Repository, id: &SnapshotId, chunk: ChunkRef) {
        let (object, chunks) = {
            let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            pending.chunks.push(chunk);
            if pending.chunks.len() < CHUNKS && pending.since.elapsed() < PAUSE {
                return;
            }
            pending.since = Instant::now();
            pending.written += 1;
            (object(id, pending.written), std::mem::take(&mut pending.chunks))
        };
        let journal = Journal { format: crate::FORMAT, chunks };
        let _ = repository.store.put(&object, repository.crypt.seal(&object, &journal).into()).await;
    }

    /// Removes what was written: the manifest names all of it now. What stays behind is removed by prune.
    pub(crate) async fn remove(&self, repository: &Repository, id: &SnapshotId) {
        let written = self.0.lock().unwrap_or_else(PoisonError::into_inner).written;
        let objects: Vec<String> = (1..=written).map(|number| object(id, number)).collect();
        for batch in objects.chunks(repository.store.deletions_at_once()) {
            let _ = repository.store.delete_all(batch).await;
        }
    }
}

fn object(id: &SnapshotId, number: usize) -> String {
    format!("journals/{id}-{number}.json")
}

impl Repository {
    /// Calls `visit` with every journal that can be read, and when it was written. One that cannot be read names nothing.
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

    /// Adds what journals name.
    pub(crate) async fn journaled(&self, gather: &mut Gather) -> Result<(), Error> {
        self.visit_journals(|_, _, chunks| gather.add(chunks.iter())).await
    }

    /// Removes the journals that no running backup can be writing any more, and adds what the younger ones name: it is
    /// worth keeping for the next backup.
    pub(crate) async fn tend_journals(
        &self,
        now: DateTime<Utc>,
        dry_run: bool,
        kept: &mut Gather,
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
