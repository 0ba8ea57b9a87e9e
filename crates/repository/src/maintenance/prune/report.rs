//! The report of a prune.

use std::fmt;

use serde::Serialize;

use crate::error::count;
use crate::{Error, SnapshotId};

/// What prune did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PruneReport {
    /// Nothing was changed.
    pub dry_run: bool,
    /// Forgotten snapshots that can no longer be undeleted.
    pub expired: Vec<SnapshotId>,
    /// Chunks marked for a later run.
    pub marked: u64,
    /// Their size in the store.
    pub marked_bytes: u64,
    /// Chunks marked by earlier runs whose grace period is not over.
    pub waiting: u64,
    /// Their size in the store.
    pub waiting_bytes: u64,
    /// Chunks referenced only by forgotten snapshots that can still be undeleted.
    pub forgotten: u64,
    /// Their size in the store.
    pub forgotten_bytes: u64,
    /// Chunks deleted.
    pub deleted: u64,
    /// Their size in the store.
    pub deleted_bytes: u64,
    /// Chunks that were marked and are referenced again.
    pub spared: u64,
    /// Removed findings about snapshots that no longer exist, and leftovers of dead processes, older than the grace
    /// period.
    pub leftovers: u64,
    /// The run became too slow to rely on its listing and stopped; the next one continues.
    pub stopped_early: bool,
    /// Objects that the store refused to delete because of an object lock or a retention rule: a later run tries
    /// again.
    pub held: u64,
    /// Error of the store for one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_because: Option<String>,
    /// Documents for which there was no space. The next run finds their contents again.
    pub unwritten: u64,
}

impl PruneReport {
    /// Records objects that the store refused to delete.
    pub(crate) fn note_held(&mut self, held: impl IntoIterator<Item = (String, Error)>) {
        for (_, error) in held {
            self.held += 1;
            self.held_because.get_or_insert_with(|| error.to_string());
        }
    }

    /// Whether everything that was due was done.
    pub fn is_done(&self) -> bool {
        self.held == 0 && self.unwritten == 0 && !self.stopped_early
    }
}

impl fmt::Display for PruneReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (delete, mark) = if self.dry_run { ("to delete", "to mark") } else { ("deleted", "marked") };
        for id in &self.expired {
            writeln!(f, "snapshot {id} can no longer be undeleted: its grace period is over")?;
        }
        writeln!(
            f,
            "{} {delete} ({} bytes), {} {mark} for a later run ({} bytes), {} waiting ({} bytes), {} referenced again",
            count(self.deleted, "chunk"),
            self.deleted_bytes,
            self.marked,
            self.marked_bytes,
            self.waiting,
            self.waiting_bytes,
            self.spared
        )?;
        if self.forgotten > 0 {
            writeln!(
                f,
                "{} ({} bytes) belong to forgotten snapshots that can still be undeleted",
                count(self.forgotten, "chunk"),
                self.forgotten_bytes
            )?;
        }
        if self.dry_run {
            writeln!(
                f,
                "this would free {} bytes now, {} bytes after the grace period, and {} bytes one grace period after the last \
                 forgotten snapshot can be undeleted",
                self.deleted_bytes,
                self.marked_bytes + self.waiting_bytes,
                self.forgotten_bytes
            )?;
        }
        if self.leftovers > 0 {
            let remove = if self.dry_run { "to remove" } else { "removed" };
            writeln!(
                f,
                "{} of dead processes and removed snapshots {remove}",
                count(self.leftovers, "leftover")
            )?;
        }
        if let Some(because) = &self.held_because {
            writeln!(
                f,
                "{} retained by the store until it permits deletion: {because}",
                count(self.held, "object")
            )?;
        }
        if self.unwritten > 0 {
            writeln!(
                f,
                "no space left for {}: what they would have recorded is left to a later run",
                count(self.unwritten, "document")
            )?;
        }
        if self.stopped_early {
            writeln!(f, "stopped early because its listing became too old; run it again to continue")?;
        }
        Ok(())
    }
}
