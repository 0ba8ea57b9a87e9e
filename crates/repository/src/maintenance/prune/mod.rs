//! Prune: deletes unreferenced data while backups run, without locks.
//!
//! Unreferenced chunks are *marked*. A later run deletes them once the mark is older than the grace period, by the
//! store's own clock, and a new listing of all manifests still does not reference them. A writer reads the marks when
//! it starts: it never reuses a marked object, never writes to a marked name (it chooses another), and refuses to
//! commit if it ran for nearly the grace period. So a writer that started after the mark does not touch the object;
//! one that started before it has committed by the time of the listing, or never will. The rules are numbered in
//! `docs/repository-format.md`.

pub(crate) mod leftovers;
pub(crate) mod marks;
pub(crate) mod now;
pub(crate) mod report;

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;

use self::marks::{DONE, Mark};
use self::report::PruneReport;
use crate::format::chunk::ChunkObject;
use crate::maintenance::forget::Tombstone;
use crate::maintenance::quarantine::QuarantineList;
use crate::progress::Phase;
use crate::snapshot::chunk_set::{ChunkSet, ChunkSetBuilder};
use crate::snapshot::deadline::RunClock;
use crate::store::fetch::Fetched;
use crate::{Error, Repository, SnapshotId};

/// Options of a prune.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// Only report what would be done: write and delete nothing.
    pub dry_run: bool,
    /// The caller's clock; used only by a dry run, which cannot query the store's without writing.
    pub now: DateTime<Utc>,
}

/// Tombstones whose grace period is over.
#[derive(Default)]
struct ExpiredTombstones {
    /// Their new contents.
    rewritten: Vec<(String, Vec<u8>)>,
    /// Those that are no longer needed at all.
    removed: Vec<String>,
}

/// What tombstones within the grace period reference.
#[derive(Default)]
struct Retained {
    chunks: ChunkSetBuilder,
    tombstones: HashSet<String>,
}

/// What must stay: referenced by a listed snapshot, or by one that can be undeleted.
struct Needed {
    listed: ChunkSet,
    retained: ChunkSet,
}

/// Existing chunks that no listed snapshot references.
#[derive(Default)]
struct Listed {
    /// Those under pending marks, with their sizes.
    sizes: HashMap<ChunkObject, u64>,
    /// Those to mark.
    unmarked: Vec<(ChunkObject, u64)>,
}

impl Needed {
    fn contains(&self, object: &ChunkObject) -> bool {
        self.listed.contains(object) || self.retained.contains(object)
    }
}

impl Repository {
    /// Deletes what was marked long enough ago, and marks what is unreferenced now.
    ///
    /// An unreadable manifest or tombstone ends it before anything is changed: it may reference any chunk.
    pub async fn prune(&self, options: &PruneOptions) -> Result<PruneReport, Error> {
        let mut report = PruneReport { dry_run: options.dry_run, ..PruneReport::default() };
        let run_clock = RunClock::start();
        let now = if options.dry_run { options.now } else { self.store.clock().await? };
        self.observer.began(Phase::Manifests, None, None);
        let marks = self.marks().await?;

        // Names are collected after `now`, so that every mark which is due at `now` is older than the grace period at
        // the time of the listing. Tombstones are read before and after manifests: an undeleted snapshot keeps its
        // tombstone, so that one which moves is seen in one of the two, however often it moves.
        let (mut named, mut retained) = (ChunkSetBuilder::default(), Retained::default());
        self.tombstones(now, None, &mut retained, &mut report).await?;
        let mut listed = HashSet::new();
        let unreadable = self
            .visit_manifests(false, |manifest| {
                self.observer.advanced(0, 1);
                named.add(manifest.chunks());
                listed.insert(manifest.id.tombstone());
            })
            .await?;
        if let Some(unreadable) = unreadable.into_iter().next() {
            return Err(unreadable.into_error("nothing was pruned, because it may reference any chunk"));
        }
        let expired = self.tombstones(now, Some(&listed), &mut retained, &mut report).await?;
        let needed = Needed { listed: named.finish(), retained: retained.chunks.finish() };
        listed.extend(retained.tombstones);
        // Chunks written by a running or interrupted backup are not marked, so that the next one can reuse them. What
        // was marked before is deleted anyway, because nothing reuses it.
        let mut journaled = ChunkSetBuilder::default();
        self.expire_journals(now, options.dry_run, &mut journaled).await?;
        let journaled = journaled.finish();
        let mut quarantine = self.quarantine().await?;

        let Listed { mut sizes, mut unmarked } =
            self.list_chunks(&marks, &needed, &journaled, &mut quarantine, &mut report).await?;
        if !self.sweep_marks(&marks, now, &needed, &mut sizes, run_clock, &mut report).await? {
            report.stopped_early = true;
            self.write_expired(expired, &mut report).await?;
            return Ok(report);
        }
        self.observer.ended();
        // Written only now, when deletions may have freed space.
        self.write_expired(expired, &mut report).await?;
        // The remaining ones belong to marks that are not due.
        report.waiting = sizes.len() as u64;
        report.waiting_bytes = sizes.values().sum();
        self.remove_leftovers(now, options.dry_run, &listed, &mut report).await?;
        if !options.dry_run {
            self.release(&quarantine).await?;
            unmarked.sort_unstable();
            let objects: Vec<ChunkObject> = unmarked.iter().map(|(object, _)| *object).collect();
            let left = self.mark(&objects, now).await?.left;
            if left > 0 {
                report.unwritten += 1;
                report.marked -= left as u64;
                report.marked_bytes -= unmarked.iter().rev().take(left).map(|(_, size)| size).sum::<u64>();
            }
            self.store.keep_reserve().await;
        }
        Ok(report)
    }

    /// Lists the chunks and classifies them; counts those of forgotten snapshots and those to mark.
    async fn list_chunks(
        &self,
        marks: &[Mark],
        needed: &Needed,
        journaled: &ChunkSet,
        quarantine: &mut [QuarantineList],
        report: &mut PruneReport,
    ) -> Result<Listed, Error> {
        let marked: HashSet<ChunkObject> = marks
            .iter()
            .filter(|mark| mark.done.is_none())
            .flat_map(|mark| mark.objects.iter().copied())
            .collect();
        let mut listed = Listed::default();
        self.observer.began(Phase::Listing, None, None);
        self.store
            .visit("chunks", |meta| {
                self.observer.advanced(0, 1);
                // Other objects do not belong to the repository and are left alone.
                let Some(object) = ChunkObject::parse(meta.location.as_ref()) else { return };
                quarantine.iter_mut().for_each(|list| list.see(&object, meta.last_modified));
                if marked.contains(&object) {
                    listed.sizes.insert(object, meta.size);
                } else if needed.listed.contains(&object) {
                    // Referenced by a listed snapshot.
                } else if needed.retained.contains(&object) {
                    report.forgotten += 1;
                    report.forgotten_bytes += meta.size;
                } else if !journaled.contains(&object) {
                    report.marked += 1;
                    report.marked_bytes += meta.size;
                    listed.unmarked.push((object, meta.size));
                }
            })
            .await?;
        Ok(listed)
    }

    /// Deletes objects under marks older than the grace period, and marks that were executed long ago. Returns false
    /// if the run has become too slow to continue.
    async fn sweep_marks(
        &self,
        marks: &[Mark],
        now: DateTime<Utc>,
        needed: &Needed,
        sizes: &mut HashMap<ChunkObject, u64>,
        run_clock: RunClock,
        report: &mut PruneReport,
    ) -> Result<bool, Error> {
        let grace = TimeDelta::from_std(self.grace).unwrap_or(TimeDelta::MAX);
        let margin = TimeDelta::from_std(self.margin()).unwrap_or(TimeDelta::MAX);
        for mark in marks {
            match mark.done {
                // Other runs may still be deleting under this mark for a margin after it was executed: until then
                // writers must keep avoiding its names.
                Some(done) if now - done > margin * 2 && !report.dry_run => {
                    self.store.delete(&mark.object).await?;
                    self.store.delete(&mark.done_object()).await?;
                }
                Some(_) => {}
                None => {
                    let due = now - mark.written > grace;
                    if due && !self.sweep(mark, needed, sizes, run_clock, report).await? {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Writes the expired tombstones. If there is no space, the next run does it: their chunks are no longer
    /// retained, because the snapshots can no longer be undeleted.
    async fn write_expired(&self, expired: ExpiredTombstones, report: &mut PruneReport) -> Result<(), Error> {
        for (object, bytes) in expired.rewritten {
            self.put_if_room(&object, bytes.into(), report).await?;
        }
        for object in expired.removed {
            match self.store.delete(&object).await {
                Err(error) if error.is_refused_by_store() => report.note_held([(object, error)]),
                other => other?,
            }
        }
        Ok(())
    }

    pub(crate) async fn put_if_room(
        &self,
        object: &str,
        bytes: bytes::Bytes,
        report: &mut PruneReport,
    ) -> Result<(), Error> {
        match self.store.put(object, bytes).await {
            Err(error) if error.is_no_room() => report.unwritten += 1,
            other => other?,
        }
        Ok(())
    }

    /// Deletes objects under a due mark. Returns false if the run has become too slow to continue.
    async fn sweep(
        &self,
        mark: &Mark,
        needed: &Needed,
        sizes: &mut HashMap<ChunkObject, u64>,
        run_clock: RunClock,
        report: &mut PruneReport,
    ) -> Result<bool, Error> {
        let (mut going, mut swept) = (Vec::new(), HashMap::new());
        for object in &mark.objects {
            // Removed, so that a second mark of the same object does not count it again.
            let Some(size) = sizes.remove(object) else { continue };
            if needed.contains(object) {
                report.spared += 1;
            } else {
                report.deleted += 1;
                report.deleted_bytes += size;
                swept.insert(*object, size);
                going.push(object.to_string());
            }
        }
        if report.dry_run {
            return Ok(true);
        }
        if !going.is_empty() {
            self.observer.began(Phase::Deleting, None, Some(going.len() as u64));
        }
        let mut all = true;
        for batch in going.chunks(self.store.deletions_at_once()) {
            if run_clock.elapsed() > self.margin() {
                return Ok(false);
            }
            let held = self.store.delete_allowed(batch).await?;
            all &= held.is_empty();
            for (object, _) in &held {
                report.deleted -= 1;
                let size = ChunkObject::parse(object).and_then(|object| swept.get(&object));
                report.deleted_bytes -= size.copied().unwrap_or_default();
            }
            report.note_held(held);
            self.observer.advanced(0, batch.len() as u64);
        }
        // What the store refuses to delete is retried as long as the mark is pending.
        if all {
            self.put_if_room(&mark.done_object(), bytes::Bytes::from_static(DONE), report).await?;
        }
        Ok(true)
    }

    /// Adds what tombstones within the grace period reference. If the listed snapshots are given, returns the new
    /// contents of older tombstones. The tombstone of a listed snapshot is left alone, because the snapshot may be
    /// forgotten again at this moment under the same name. A snapshot that is not listed so long after it was
    /// forgotten never will be again, as long as its tombstone exists.
    async fn tombstones(
        &self,
        now: DateTime<Utc>,
        listed: Option<&HashSet<String>>,
        retained: &mut Retained,
        report: &mut PruneReport,
    ) -> Result<ExpiredTombstones, Error> {
        let grace = TimeDelta::from_std(self.grace).unwrap_or(TimeDelta::MAX);
        let mut expired: BTreeMap<String, Vec<(DateTime<Utc>, String)>> = BTreeMap::new();
        let mut over = Vec::new();
        let mut tombstones = std::pin::pin!(self.store.fetch("tombstones").await?);
        while let Some(Fetched { object, meta, bytes, .. }) = tombstones.next().await {
            // Other objects are not tombstones.
            if SnapshotId::of_tombstone(&object).is_none() {
                continue;
            }
            let Some(bytes) = bytes? else { continue };
            let mut tombstone = Tombstone::parse(&self.crypt, &object, &bytes, meta.last_modified)?;
            if let Some(manifest) = tombstone.manifest.take_if(|_| now - meta.last_modified > grace) {
                if listed.is_none_or(|listed| listed.contains(&object)) {
                    continue;
                }
                report.expired.push(manifest.id);
                over.push((object.clone(), self.crypt.seal(&object, &tombstone)));
            }
            match &tombstone.manifest {
                Some(manifest) => {
                    retained.chunks.add(manifest.chunks());
                    retained.tombstones.insert(object);
                }
                None if listed.is_some_and(|listed| listed.contains(&object)) => {}
                None => expired.entry(tombstone.job).or_default().push((tombstone.forgotten_at, object)),
            }
        }
        report.expired.sort();
        if listed.is_none() || report.dry_run {
            return Ok(ExpiredTombstones::default());
        }
        // One expired tombstone per series is enough to record when it was last thinned.
        let mut removed = Vec::new();
        for mut series in expired.into_values() {
            series.sort();
            series.pop();
            removed.extend(series.into_iter().map(|(_, object)| object));
        }
        Ok(ExpiredTombstones { rewritten: over, removed })
    }
}
