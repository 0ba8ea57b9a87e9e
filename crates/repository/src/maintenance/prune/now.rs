//! Prune without waiting, for a full disk: deletes everything that no listed snapshot references at once, including
//! data of forgotten snapshots.
//!
//! It is meant for when nothing else writes, refuses to start if something does, and is safe even if that check is
//! wrong. What it will delete is marked first, so that later writers avoid it. A writer that started before has
//! announced itself with a sign ([`crate::presence`]): either the sign is seen here, and nothing is deleted, or the
//! writer is taken for dead, and notices after listing its manifest that its sign is gone.

use std::collections::HashMap;

use bytes::Bytes;
use futures::StreamExt as _;

use crate::format::chunk::ChunkObject;
use crate::maintenance::forget::Tombstone;
use crate::maintenance::prune::marks::DONE;
use crate::snapshot::chunk_set::{ChunkSet, ChunkSetBuilder};
use crate::snapshot::deadline::RunClock;
use crate::store::fetch::Fetched;
use crate::{Error, Manifest, PruneOptions, PruneReport, Repository, SnapshotId};

/// Number of objects to delete without a mark, to make space for one.
const UNMARKED_DELETIONS: usize = 64;

impl Repository {
    /// Deletes everything that no listed snapshot references, at once. Forgotten snapshots cannot be undeleted
    /// afterwards, and chunks of interrupted backups are not reused. Works on a completely full disk.
    ///
    /// Refused with [`Error::InUse`] while something writes to the repository.
    pub async fn prune_now(&self, options: &PruneOptions) -> Result<PruneReport, Error> {
        let mut report = PruneReport { dry_run: options.dry_run, ..PruneReport::default() };
        let now = if options.dry_run { options.now } else { self.store.clock().await? };
        self.refuse_if_in_use(now).await?;
        let marked = self.marked().await?;
        let needed = self.needed_now().await?;
        let mut to_delete: HashMap<ChunkObject, u64> = HashMap::new();
        self.store
            .visit("chunks", |meta| {
                if let Some(object) = ChunkObject::parse(meta.location.as_ref())
                    && !needed.contains(&object)
                {
                    to_delete.insert(object, meta.size);
                }
            })
            .await?;
        let expired = self.expire_tombstones(&mut report).await?;
        if options.dry_run {
            report.deleted = to_delete.len() as u64;
            report.deleted_bytes = to_delete.values().sum();
            return Ok(report);
        }

        let mut names: Vec<ChunkObject> = to_delete.keys().copied().collect();
        names.sort_unstable();
        let mut unmarked: Vec<ChunkObject> =
            names.iter().copied().filter(|object| !marked.contains(object)).collect();
        let marks = loop {
            let written = self.mark(&unmarked, now).await?;
            if written.left == 0 || unmarked.is_empty() {
                break written.marks;
            }
            // A few are deleted without a mark, to make space for a mark of the others. Nothing was writing a moment
            // ago.
            let first: Vec<ChunkObject> = unmarked.drain(..UNMARKED_DELETIONS.min(unmarked.len())).collect();
            self.delete_now(&first, &mut to_delete, &mut report).await?;
            // Their objects are marked again, with the rest.
            self.store.delete_all(&written.marks).await?;
        };
        // A writer that started before the marks has announced itself by now. Journals of writers taken for dead are
        // removed, so that those writers notice.
        if let Err(error) = self.refuse_if_in_use(now).await {
            // Nothing marked will be deleted, and the marks would only block writers.
            let _ = self.store.delete_all(&marks).await;
            return Err(error);
        }
        self.remove_journals().await?;
        for (object, bytes) in &expired {
            match self.store.put(object, bytes.clone()).await {
                Err(error) if error.is_no_room() => {}
                other => other?,
            }
        }
        let run_clock = RunClock::start();
        let needed = self.needed_now().await?;
        names.retain(|object| to_delete.contains_key(object));
        let (spared, names): (Vec<_>, Vec<_>) = names.into_iter().partition(|object| needed.contains(object));
        report.spared = spared.len() as u64;
        for batch in names.chunks(self.store.deletions_at_once().max(UNMARKED_DELETIONS)) {
            if run_clock.elapsed() > self.margin() {
                report.stopped_early = true;
                return Ok(report);
            }
            self.delete_now(batch, &mut to_delete, &mut report).await?;
        }
        if report.held == 0 {
            for mark in marks {
                self.put_if_room(&format!("{mark}.done"), Bytes::from_static(DONE), &mut report).await?;
            }
        }
        for (object, bytes) in expired {
            if self.store.get(&object).await?.is_some_and(|there| there != bytes) {
                self.put_if_room(&object, bytes, &mut report).await?;
            }
        }
        self.store.keep_reserve().await;
        Ok(report)
    }

    async fn needed_now(&self) -> Result<ChunkSet, Error> {
        let mut named = ChunkSetBuilder::default();
        let unreadable = self.visit_manifests(false, |manifest| named.add(manifest.chunks())).await?;
        if let Some(unreadable) = unreadable.into_iter().next() {
            return Err(unreadable.into_error("nothing was pruned, because it may reference any chunk"));
        }
        // Includes those that a rotation set aside, to restore them if it fails.
        let mut aside = std::pin::pin!(self.store.fetch("rotated").await?);
        while let Some(Fetched { object, bytes, .. }) = aside.next().await {
            let id = object.strip_prefix("rotated/").and_then(|name| name.rsplit_once('-'));
            let Some(id) = id.and_then(|(id, _)| SnapshotId::parse(id)) else { continue };
            let Some(bytes) = bytes? else { continue };
            named.add(Manifest::parse(&self.crypt, &id.object(), &bytes)?.chunks());
        }
        Ok(named.finish())
    }

    /// The new contents of tombstones of unlisted snapshots, which can no longer be undeleted.
    async fn expire_tombstones(&self, report: &mut PruneReport) -> Result<Vec<(String, Bytes)>, Error> {
        let listed = self.listed().await?;
        let mut expired = Vec::new();
        // Those of listed snapshots have no effect, and need not be read.
        let mut wanted = self.store.list("tombstones").await?;
        let of = |object: &str| SnapshotId::of_tombstone(object).filter(|id| !listed.contains(&id.object()));
        wanted.retain(|meta| of(meta.location.as_ref()).is_some());
        let mut tombstones = std::pin::pin!(self.store.fetch_listed(wanted));
        while let Some(Fetched { object, meta, bytes, .. }) = tombstones.next().await {
            let Some(id) = of(&object) else { continue };
            let Some(bytes) = bytes? else { continue };
            let mut tombstone = Tombstone::parse(&self.crypt, &object, &bytes, meta.last_modified)?;
            if tombstone.manifest.take().is_some() {
                report.expired.push(id);
                expired.push((object.clone(), self.crypt.seal(&object, &tombstone).into()));
            }
        }
        report.expired.sort();
        Ok(expired)
    }

    async fn delete_now(
        &self,
        objects: &[ChunkObject],
        sizes: &mut HashMap<ChunkObject, u64>,
        report: &mut PruneReport,
    ) -> Result<(), Error> {
        let names: Vec<String> = objects.iter().map(ToString::to_string).collect();
        let held = self.store.delete_allowed(&names).await?;
        for object in objects {
            let size = sizes.remove(object).unwrap_or_default();
            if !held.iter().any(|(held, _)| *held == object.to_string()) {
                report.deleted += 1;
                report.deleted_bytes += size;
            }
        }
        report.note_held(held);
        Ok(())
    }
}
