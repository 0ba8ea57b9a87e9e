//! What is of no use any more and is no chunk: questions for the time that a crash left behind, findings about snapshots
//! that are gone, and half-written files of a folder. Prune removes what of these is older than the grace period, so that
//! nothing that is under way is touched.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};

use crate::store::folder::is_partial;
use crate::tasks::blocking;
use crate::{Error, PruneReport, Repository, SnapshotId};

/// How many folders deep objects lie.
const DEPTH: usize = 3;

impl Repository {
    /// Removes leftovers that are older than the grace period, and counts them. `alive` are the names of the
    /// tombstones of snapshots that are listed or can be undeleted.
    pub(crate) async fn remove_leftovers(
        &self,
        now: DateTime<Utc>,
        dry_run: bool,
        alive: &HashSet<String>,
        report: &mut PruneReport,
    ) -> Result<(), Error> {
        let old = now - TimeDelta::from_std(self.grace).unwrap_or(TimeDelta::MAX);
        let mut going = Vec::new();
        self.store
            .visit("clock", |meta| {
                if meta.last_modified < old {
                    going.push(meta.location.to_string());
                }
            })
            .await?;
        // A manifest that a rotation set aside, and that crashed before it could remove it.
        self.store
            .visit("rotated", |meta| {
                if meta.last_modified < old {
                    going.push(meta.location.to_string());
                }
            })
            .await?;
        self.store
            .visit("attestations", |meta| {
                let gone =
                    attested(meta.location.as_ref()).is_some_and(|id| !alive.contains(&id.tombstone()));
                // A younger one may be about a snapshot that was listed a moment ago.
                if gone && meta.last_modified < old {
                    going.push(meta.location.to_string());
                }
            })
            .await?;
        self.store
            .visit("pins", |meta| {
                let pin = crate::maintenance::pins::parse_name(meta.location.as_ref());
                let gone = pin.is_some_and(|(id, _)| !alive.contains(&id.tombstone()));
                if gone && meta.last_modified < old {
                    going.push(meta.location.to_string());
                }
            })
            .await?;
        let halves = match self.store.root() {
            Some(root) => {
                let root = root.to_owned();
                blocking(move || half_written(&root, old)).await?
            }
            None => Vec::new(),
        };
        report.leftovers = (going.len() + halves.len()) as u64;
        if !dry_run {
            for batch in going.chunks(self.store.deletions_at_once()) {
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

/// The snapshot that an attestation of this name is about; `None` for any other name.
fn attested(object: &str) -> Option<SnapshotId> {
    let (id, name) = object.strip_prefix("attestations/")?.split_once('/')?;
    name.ends_with(".json").then(|| SnapshotId::parse(id)).flatten()
}

/// Files that a process began to write and never gave their name, older than this. A file is written as `name#1` and then
/// renamed; listings leave such names out.
fn half_written(root: &Path, old: DateTime<Utc>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        // One that cannot be read is no reason not to prune: what lies in it stays.
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
