//! Prune: removing what no snapshot needs, beside running backups, and without locks.
//!
//! Chunks that nothing names are *marked*, and deleted by a later run, once the mark is older than the grace by the
//! store's own clock and a listing of all manifests made since then still does not name them. A writer reads the marks
//! when it begins: it never re-uses a marked object, never writes to a marked name (it chooses another), and refuses
//! to commit when it ran for nearly the grace. So a writer that began after the mark does not touch the object; one
//! that began before it has committed by the time of the listing, or never will. The rules are numbered in
//! `docs/repository-format.md`.

pub(crate) mod leftovers;
pub(crate) mod now;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};

use crate::format::chunk::ChunkObject;
use crate::maintenance::forget::{Tombstone, snapshot_of};
use crate::progress::Phase;
use crate::snapshot::chunk_set::{Gather, Gathered};
use crate::snapshot::deadline::Begun;
use crate::store::fetch::Fetched;
use crate::{Error, Repository, SnapshotId};

/// Objects that one mark names: keeps each mark small enough to be read and rewritten in one go.
const PER_MARK: usize = 10_000;
/// What a mark that is done has beside it.
pub(crate) const DONE: &[u8] = b"{}\n";

/// How to prune.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// Only say what would be done: nothing is written, and nothing deleted.
    pub dry_run: bool,
    /// The caller's clock; asked only by a dry run, which cannot ask the store's without writing.
    pub now: DateTime<Utc>,
}

/// What prune did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PruneReport {
    /// Nothing was done.
    pub dry_run: bool,
    /// Forgotten snapshots that cannot be brought back any more.
    pub expired: Vec<SnapshotId>,
    /// Chunks that were marked for a later run.
    pub marked: u64,
    /// Their size in the store.
    pub marked_bytes: u64,
    /// Chunks that were marked by earlier runs, and whose grace is not over.
    pub waiting: u64,
    /// Their size in the store.
    pub waiting_bytes: u64,
    /// Chunks that only snapshots need which were forgotten and can still be brought back.
    pub forgotten: u64,
    /// Their size in the store.
    pub forgotten_bytes: u64,
    /// Chunks that were deleted.
    pub deleted: u64,
    /// Their size in the store.
    pub deleted_bytes: u64,
    /// Chunks that were marked, and are needed again.
    pub spared: u64,
    /// Findings about snapshots that are gone, and what processes left behind that died: removed, once older than the
    /// grace.
    pub leftovers: u64,
    /// The run became too slow to be sure of its listing and stopped; the next one goes on.
    pub stopped_early: bool,
    /// Objects that the store did not let go, by an object lock or a retention rule: a later run tries again.
    pub held: u64,
    /// The store's own words about one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_because: Option<String>,
    /// Documents for which there was no room. What they would have said is found anew by the next run.
    pub unwritten: u64,
}

/// `marks/<name>.json`
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct MarkFile {
    format: u64,
    /// Names of objects.
    objects: Vec<String>,
}

/// Tombstones whose grace period is over.
#[derive(Default)]
struct Spent {
    /// How they will be.
    rewritten: Vec<(String, Vec<u8>)>,
    /// Those that will not be needed even so.
    removed: Vec<String>,
}

/// What tombstones within the grace hold.
#[derive(Default)]
struct Held {
    chunks: Gather,
    tombstones: HashSet<String>,
}

/// What must stay: for a listed snapshot, or for one that can be brought back.
struct Needed {
    listed: Gathered,
    held: Gathered,
}

impl Needed {
    fn contains(&self, object: &ChunkObject) -> bool {
        self.listed.contains(object) || self.held.contains(object)
    }
}

/// Marks that were written.
pub(crate) struct Marked {
    pub(crate) marks: Vec<String>,
    /// Objects, the last of those that were given, for which there was no room.
    pub(crate) left: usize,
}

/// A mark as it lies in the store.
struct Mark {
    object: String,
    written: DateTime<Utc>,
    objects: Vec<ChunkObject>,
    /// When everything under it had been deleted.
    done: Option<DateTime<Utc>>,
}

impl Mark {
    fn done_object(&self) -> String {
        format!("{}.done", self.object)
    }
}

impl Repository {
    /// Deletes what was marked long enough ago, and marks what nothing needs now.
    ///
    /// A manifest or tombstone that cannot be read ends it before anything is done: it may name any chunk.
    pub async fn prune(&self, options: &PruneOptions) -> Result<PruneReport, Error> {
        let mut report = PruneReport { dry_run: options.dry_run, ..PruneReport::default() };
        let begun = Begun::now();
        let now = if options.dry_run { options.now } else { self.store.clock().await? };
        self.observer.began(Phase::Manifests, None, None);
        let marks = self.marks().await?;

        // From here on: names are gathered after `now`, so that every mark which is due at `now` is older than the
        // grace by the time of the listing. Tombstones before and after manifests: one that is brought back meanwhile
        // keeps its tombstone, so that a snapshot which moves is seen as one of the two, however often it moves.
        let (mut named, mut held) = (Gather::default(), Held::default());
        self.tombstones(now, None, &mut held, &mut report).await?;
        let mut listed = HashSet::new();
        let unreadable = self
            .visit_manifests(false, |manifest| {
                self.observer.advanced(0, 1);
                named.add(manifest.chunks());
                listed.insert(manifest.id.tombstone());
            })
            .await?;
        if let Some(unreadable) = unreadable.into_iter().next() {
            return Err(unreadable.into_error("nothing was pruned, since it may name any chunk"));
        }
        let spent = self.tombstones(now, Some(&listed), &mut held, &mut report).await?;
        let needed = Needed { listed: named.finish(), held: held.chunks.finish() };
        listed.extend(held.tombstones);
        // What a backup under way or an interrupted one has written is not marked, so that the next one can re-use it;
        // what was marked before is deleted all the same, for nobody re-uses that.
        let mut journaled = Gather::default();
        self.tend_journals(now, options.dry_run, &mut journaled).await?;
        let journaled = journaled.finish();
        let mut quarantine = self.quarantine().await?;

        let marked: HashSet<ChunkObject> = marks
            .iter()
            .filter(|mark| mark.done.is_none())
            .flat_map(|mark| mark.objects.iter().copied())
            .collect();
        let mut sizes: HashMap<ChunkObject, u64> = HashMap::new();
        let mut unmarked: Vec<(ChunkObject, u64)> = Vec::new();
        self.observer.began(Phase::Listing, None, None);
        self.store
            .visit("chunks", |meta| {
                self.observer.advanced(0, 1);
                // What is not called like a chunk was not put there by us, and is left alone.
                let Some(object) = ChunkObject::parse(meta.location.as_ref()) else { return };
                quarantine.iter_mut().for_each(|list| list.see(&object, meta.last_modified));
                if marked.contains(&object) {
                    sizes.insert(object, meta.size);
                } else if needed.listed.contains(&object) {
                    // A listed snapshot's: nothing to say.
                } else if needed.held.contains(&object) {
                    report.forgotten += 1;
                    report.forgotten_bytes += meta.size;
                } else if !journaled.contains(&object) {
                    report.marked += 1;
                    report.marked_bytes += meta.size;
                    unmarked.push((object, meta.size));
                }
            })
            .await?;

        let grace = TimeDelta::from_std(self.grace).unwrap_or(TimeDelta::MAX);
        let margin = TimeDelta::from_std(self.margin()).unwrap_or(TimeDelta::MAX);
        for mark in &marks {
            match mark.done {
                // Other runs may still be deleting under this mark for a margin after it was done: until then
                // writers must go on shunning its names.
                Some(done) if now - done > margin * 2 && !options.dry_run => {
                    self.store.delete(&mark.object).await?;
                    self.store.delete(&mark.done_object()).await?;
                }
                Some(_) => {}
                None => {
                    let due = now - mark.written > grace;
                    if due && !self.sweep(mark, &needed, &mut sizes, begun, &mut report).await? {
                        report.stopped_early = true;
                        self.spend(spent, &mut report).await?;
                        return Ok(report);
                    }
                }
            }
        }
        self.observer.ended();
        // From here on it is written, now that there is room for it, if there was anything to free.
        self.spend(spent, &mut report).await?;
        // What is left of them belongs to marks that are not due.
        report.waiting = sizes.len() as u64;
        report.waiting_bytes = sizes.values().sum();
        self.tidy(now, options.dry_run, &listed, &mut report).await?;
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

    /// Marks these objects, as many as there is room for.
    pub(crate) async fn mark(&self, objects: &[ChunkObject], now: DateTime<Utc>) -> Result<Marked, Error> {
        let mut marked = Marked { marks: Vec::new(), left: objects.len() };
        for (number, objects) in objects.chunks(PER_MARK).enumerate() {
            let random = uuid::Uuid::new_v4().as_fields().0;
            let object = format!("marks/{}-{random:08x}-{number}.json", now.format("%Y%m%dT%H%M%SZ"));
            let count = objects.len();
            let objects = objects.iter().map(ToString::to_string).collect();
            let mark = self.crypt.seal(&object, &MarkFile { format: crate::FORMAT, objects });
            match self.store.put(&object, mark.into()).await {
                Err(error) if error.is_no_room() => break,
                other => other?,
            }
            marked.left -= count;
            marked.marks.push(object);
        }
        Ok(marked)
    }

    /// Writes the tombstones whose grace period is over. The next run does it for those for which there is no room: what
    /// they hold is not held any more, for nobody can bring it back.
    async fn spend(&self, spent: Spent, report: &mut PruneReport) -> Result<(), Error> {
        for (object, bytes) in spent.rewritten {
            self.put_if_room(&object, bytes.into(), report).await?;
        }
        for object in spent.removed {
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

    /// Deletes what is under a mark that is due. False when the run has become too slow to go on.
    async fn sweep(
        &self,
        mark: &Mark,
        needed: &Needed,
        sizes: &mut HashMap<ChunkObject, u64>,
        begun: Begun,
        report: &mut PruneReport,
    ) -> Result<bool, Error> {
        let (mut going, mut swept) = (Vec::new(), HashMap::new());
        for object in &mark.objects {
            // Taken out, so that a second mark of the same object counts it no second time.
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
            if begun.elapsed() > self.margin() {
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
        // What is held is tried again as long as the mark is not done.
        if all {
            self.put_if_room(&mark.done_object(), bytes::Bytes::from_static(DONE), report).await?;
        }
        Ok(true)
    }

    /// Adds what tombstones within the grace name. Gives how those will be that are older, if it is given which snapshots are
    /// listed: a listed one may be forgotten again at this moment, under the same name, and its tombstone is left alone.
    /// One that is not listed so long after it was forgotten never will be again, as long as its tombstone is there.
    async fn tombstones(
        &self,
        now: DateTime<Utc>,
        listed: Option<&HashSet<String>>,
        held: &mut Held,
        report: &mut PruneReport,
    ) -> Result<Spent, Error> {
        let grace = TimeDelta::from_std(self.grace).unwrap_or(TimeDelta::MAX);
        let mut spent: BTreeMap<String, Vec<(DateTime<Utc>, String)>> = BTreeMap::new();
        let mut over = Vec::new();
        let mut tombstones = std::pin::pin!(self.store.fetch("tombstones").await?);
        while let Some(Fetched { object, meta, bytes, .. }) = tombstones.next().await {
            // What is not called like one is none.
            if snapshot_of(&object).is_none() {
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
                    held.chunks.add(manifest.chunks());
                    held.tombstones.insert(object);
                }
                None if listed.is_some_and(|listed| listed.contains(&object)) => {}
                None => spent.entry(tombstone.job).or_default().push((tombstone.forgotten_at, object)),
            }
        }
        report.expired.sort();
        if listed.is_none() || report.dry_run {
            return Ok(Spent::default());
        }
        // One spent tombstone a series is enough to tell when it was last thinned.
        let mut removed = Vec::new();
        for mut series in spent.into_values() {
            series.sort();
            series.pop();
            removed.extend(series.into_iter().map(|(_, object)| object));
        }
        Ok(Spent { rewritten: over, removed })
    }

    /// The objects that prune has marked: a writer re-uses none of them, and writes to none of their names.
    pub(crate) async fn marked(&self) -> Result<HashSet<ChunkObject>, Error> {
        Ok(self.marks().await?.into_iter().flat_map(|mark| mark.objects).collect())
    }

    async fn marks(&self) -> Result<Vec<Mark>, Error> {
        let listed = self.store.list("marks").await?;
        let done: HashMap<String, DateTime<Utc>> = listed
            .iter()
            .filter_map(|meta| {
                Some((meta.location.as_ref().strip_suffix(".done")?.to_owned(), meta.last_modified))
            })
            .collect();
        let mut marks = Vec::new();
        let mut fetched = std::pin::pin!(self.store.fetch_listed(listed));
        while let Some(Fetched { object, meta, bytes, .. }) = fetched.next().await {
            // Removed meanwhile: its work was over long before.
            let Some(bytes) = bytes? else { continue };
            let damaged = |message: String| Error::Damaged { object: object.clone(), message };
            let file: MarkFile = self.crypt.read(&object, &bytes)?;
            let objects = file
                .objects
                .iter()
                .map(|name| ChunkObject::parse(name).ok_or_else(|| damaged(format!("`{name}` is no chunk"))))
                .collect::<Result<_, _>>()?;
            let done = done.get(&object).copied();
            marks.push(Mark { object, written: meta.last_modified, objects, done });
        }
        marks.sort_by(|a, b| a.object.cmp(&b.object));
        Ok(marks)
    }
}

impl PruneReport {
    /// Notes objects that the store did not let go.
    pub(crate) fn note_held(&mut self, held: impl IntoIterator<Item = (String, Error)>) {
        for (_, error) in held {
            self.held += 1;
            self.held_because.get_or_insert_with(|| error.to_string());
        }
    }

    /// True when all was done that could be done by now.
    pub fn is_done(&self) -> bool {
        self.held == 0 && self.unwritten == 0 && !self.stopped_early
    }
}

impl fmt::Display for PruneReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (delete, mark) = if self.dry_run { ("to delete", "to mark") } else { ("deleted", "marked") };
        for id in &self.expired {
            writeln!(f, "snapshot {id} can no longer be brought back: its grace is over")?;
        }
        writeln!(
            f,
            "{} chunks {delete} ({} bytes), {} {mark} for a later run ({} bytes), {} waiting ({} bytes), {} needed again",
            self.deleted,
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
                "{} chunks ({} bytes) are held by forgotten snapshots that can still be brought back",
                self.forgotten, self.forgotten_bytes
            )?;
        }
        if self.dry_run {
            writeln!(
                f,
                "so this would free {} bytes now, {} bytes once the grace is over, and {} bytes one grace after the last \
                 forgotten snapshot can be brought back",
                self.deleted_bytes,
                self.marked_bytes + self.waiting_bytes,
                self.forgotten_bytes
            )?;
        }
        if self.leftovers > 0 {
            let remove = if self.dry_run { "to remove" } else { "removed" };
            writeln!(
                f,
                "{} leftovers {remove} of processes that died and of snapshots that are gone",
                self.leftovers
            )?;
        }
        if let Some(because) = &self.held_because {
            writeln!(
                f,
                "{} objects are held by the store, and stay until it lets them go: {because}",
                self.held
            )?;
        }
        if self.unwritten > 0 {
            writeln!(
                f,
                "there was no room for {} documents: what they would have marked or noted is left to a later run",
                self.unwritten
            )?;
        }
        if self.stopped_early {
            writeln!(f, "stopped early, since its listing grew old; run it again to go on")?;
        }
        Ok(())
    }
}
