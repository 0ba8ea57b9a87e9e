//! Removes obsolete objects other than chunks: clock probes left by a crash, findings about removed snapshots, and
//! partially written files in a folder. Only those older than the grace period are removed, so that nothing in
//! progress is touched.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};

use crate::store::folder::is_partial;
use crate::tasks::blocking;
use crate::{Error, PruneReport, Repository, SnapshotId};

/// Depth of folders in which objects are stored.
const DEPTH: usize = 3;

impl Repository {
    /// Removes leftovers older than the grace period, and counts them. `alive` are the tombstone names of snapshots
    /// that are listed or can be undeleted.
    pub(crate) async fn remove_leftovers(
        &self,
        now: DateTime<Utc>,
        dry_run: bool,
        alive: &HashSet<String>,
        report: &mut PruneReport,
    ) -> Result<(), Error> {
        let old = now - TimeDelta::from_std(self.grace).unwrap_or(TimeDelta::MAX);
        let mut obsolete = Vec::new();
        self.store
            .visit("clock", |meta| {
                if meta.last_modified < old {
                    obsolete.push(meta.location.to_string());
                }
            })
            .await?;
        // A manifest that a rotation set aside and, because of a crash, did not remove.
        self.store
            .visit("rotated", |meta| {
                if meta.last_modified < old {
                    obsolete.push(meta.location.to_string());
                }
            })
            .await?;
        self.store
            .visit("attestations", |meta| {
                let is_obsolete =
                    attested(meta.location.as_ref()).is_some_and(|id| !alive.contains(&id.tombstone()));
                // A younger one may be about a snapshot that was listed a moment ago.
                if is_obsolete && meta.last_modified < old {
                    obsolete.push(meta.location.to_string());
                }
            })
            .await?;
        self.store
            .visit("pins", |meta| {
                let pin = crate::maintenance::pins::parse_name(meta.location.as_ref());
                let is_obsolete = pin.is_some_and(|(id, _)| !alive.contains(&id.tombstone()));
                if is_obsolete && meta.last_modified < old {
                    obsolete.push(meta.location.to_string());
                }
            })
            .await?;
        let halves = match self.store.root() {
            Some(root) => {
                let root = root.to_owned();
                blocking(move || partial_files(&root, old)).await?
            }
            None => Vec::new(),
        };
        report.leftovers = (obsolete.len() + halves.len()) as u64;
        if !dry_run {
            for batch in obsolete.chunks(self.store.deletions_at_once()) {
                let held = self.store.delete_allowed(batch).await?;
                report.leftovers -= held.len() as u64;
                report.note_held(held);
            }
            for path in &halves {
                self.store.remove_file(path).await?;
            }
        }
        Ok(())
    }
}

/// The snapshot of the attestation with this name; `None` for any other name.
fn attested(object: &str) -> Option<SnapshotId> {
    let (id, name) = object.strip_prefix("attestations/")?.split_once('/')?;
    name.ends_with(".json").then(|| SnapshotId::parse(id)).flatten()
}

/// Files older than this that a process began to write and never renamed. A file is written as `name#1` and then
/// renamed; listings skip such names.
fn partial_files(root: &Path, old: DateTime<Utc>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        // Do not fail prune because of an unreadable folder: its files stay.
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let (Ok(kind), Ok(name)) = (entry.file_type(), entry.file_name().into_string()) else { continue };
            if kind.is_dir() && depth < DEPTH {
                folders.push((entry.path(), depth + 1));
            } else if kind.is_file() && is_partial(&name) {
                let modified = entry.metadata().and_then(|meta| meta.modified());
                if modified.is_ok_and(|modified| DateTime::<Utc>::from(modified) < old) {
                    found.push(entry.path());
                }
            }
        }
    }
    found.sort();
    found
}
