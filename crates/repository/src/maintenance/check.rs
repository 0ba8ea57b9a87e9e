//! Checks that every listed snapshot is intact: by listing objects, or by reading all or a portion of the data.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt as _};
use serde::{Deserialize, Serialize};

use crate::format::chunk::ChunkObject;
use crate::maintenance::attest::Stored;
use crate::maintenance::check_report::{CheckReport, DataRead, Fault, FaultKind, Portion};
use crate::maintenance::forget::Tombstone;
use crate::maintenance::prune::marks::MarkFile;
use crate::maintenance::quarantine::ListFile;
use crate::progress::Phase;
use crate::snapshot::chunk_set::{ChunkSet, ChunkSetBuilder};
use crate::snapshot::journal::Journal;
use crate::store::failure_budget::FailureBudget;
use crate::{Attestation, AttestationKind, ChunkRef, Error, Repository, SnapshotId, Unreadable};

/// Number of chunks to read in parallel.
const READERS: usize = 4;
/// Maximum number of faults to attest on a snapshot.
const MAX_ATTESTED_FAULTS: usize = 1000;
/// Where the last portion check ended.
const CURSOR: &str = "checks/cursor.json";

/// Options of a check.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// Read, decrypt, decompress and hash every chunk, instead of only checking that it exists.
    pub read_data: bool,
    /// The caller's clock, for attestations.
    pub now: DateTime<Utc>,
}

/// Which data to read.
#[derive(Debug, Clone, Copy)]
enum Reading {
    Nothing,
    Everything,
    Portion(Portion),
}

/// `checks/cursor.json`
#[derive(Debug, Serialize, Deserialize)]
struct Cursor {
    format: u64,
    /// The chunk at which the next portion check starts; it need not exist.
    next: crate::ChunkId,
}

impl Repository {
    /// Checks every listed snapshot. With `read_data`, attests the result on each.
    pub async fn check(&self, options: &CheckOptions) -> Result<CheckReport, Error> {
        let reading = if options.read_data { Reading::Everything } else { Reading::Nothing };
        self.check_reading(reading, options.now).await
    }

    /// Checks every listed snapshot, and reads a portion of the data: the next chunks, in the order of their ids,
    /// after those that the last portion check read. Ten checks of 10 % thus read everything. Only damage is
    /// attested: an intact portion does not prove a snapshot intact.
    pub async fn check_portion(&self, portion: Portion, now: DateTime<Utc>) -> Result<CheckReport, Error> {
        self.check_reading(Reading::Portion(portion), now).await
    }

    async fn check_reading(&self, reading: Reading, now: DateTime<Utc>) -> Result<CheckReport, Error> {
        let reads = !matches!(reading, Reading::Nothing);
        if reads && !self.crypt.can_read() {
            return Err(Error::Locked { what: "the data".to_owned() });
        }
        let mut report = CheckReport::new(self.address(), reads);
        self.observer.began(Phase::Manifests, None, None);
        let (mut builder, mut ids) = (ChunkSetBuilder::default(), BTreeSet::new());
        let mut closed = Vec::new();
        report.unreadable = self
            .visit_manifests_with(FailureBudget::tolerant(), reads, |manifest| {
                self.observer.advanced(0, 1);
                builder.add(manifest.chunks());
                if reads && manifest.is_sealed() {
                    closed.push(manifest.id.clone());
                }
                // By time, as snapshots are listed.
                ids.insert((manifest.taken_at, manifest.id));
            })
            .await?;
        let needed = builder.finish();
        report.chunks = needed.objects().count() as u64;

        let mut wrong = BTreeMap::new();
        let doubtful = self.locate_chunks(&needed, &mut wrong, &mut report).await?;
        let mut chosen = match reading {
            Reading::Nothing => Vec::new(),
            Reading::Everything => present(&needed, &wrong).collect(),
            Reading::Portion(portion) => self.select_portion(portion, &needed, &wrong, &mut report).await,
        };
        if !matches!(reading, Reading::Everything) {
            chosen.extend(doubtful);
        }
        self.read_all(chosen, &mut wrong, &mut report).await?;
        self.observer.ended();
        self.attribute_faults(wrong, ids, &closed, &mut report).await?;
        self.check_documents(&mut report).await?;
        report.not_restorable = self.not_restorable().await?;
        report.strays.extend(self.stray_manifests().await?);
        report.strays.extend(self.store.strays().await?);
        report.strays.sort();
        if reads {
            let whole = matches!(reading, Reading::Everything);
            report.not_attested = self.attest_all(&report, whole, now).await.err().map(|e| e.to_string());
        }
        if let (Reading::Portion(_), Some(read)) = (reading, &report.data) {
            let cursor = Cursor { format: crate::FORMAT, next: read.next };
            let noted = self.store.put(CURSOR, self.crypt.seal(CURSOR, &cursor).into()).await;
            report.not_attested = report.not_attested.or(noted.err().map(|e| e.to_string()));
        }
        Ok(report)
    }

    /// Checks that every chunk exists. Returns those with a size that no manifest states: two hosts may have packed a
    /// chunk differently at the same time, so another size alone is not damage.
    async fn locate_chunks(
        &self,
        needed: &ChunkSet,
        wrong: &mut BTreeMap<ChunkObject, FaultKind>,
        report: &mut CheckReport,
    ) -> Result<Vec<ChunkRef>, Error> {
        self.observer.began(Phase::Listing, None, None);
        let mut seen = vec![false; needed.entries().len()];
        let mut doubtful = Vec::new();
        self.store
            .visit("chunks", |meta| {
                self.observer.advanced(0, 1);
                let object = ChunkObject::parse(meta.location.as_ref());
                match object.and_then(|object| needed.find(&object)) {
                    Some((at, entries)) => {
                        if let Some(seen) = seen.get_mut(at) {
                            *seen = true;
                        }
                        let fits = entries.iter().any(|chunk| u64::from(chunk.stored) == meta.size);
                        if let Some(chunk) = entries.first().filter(|_| !fits) {
                            doubtful.push((*chunk, meta.size));
                        }
                    }
                    None => {
                        report.unreferenced += 1;
                        report.unreferenced_bytes += meta.size;
                    }
                }
            })
            .await?;
        for (at, chunk) in needed.objects() {
            if seen.get(at) != Some(&true) {
                wrong.insert(chunk.object(), FaultKind::Missing);
            }
        }
        if self.crypt.can_read() {
            return Ok(doubtful.into_iter().map(|(chunk, _)| chunk).collect());
        }
        for (chunk, size) in doubtful {
            let message = format!(
                "it has {size} bytes instead of {}, and without an identity it cannot be read to see why",
                chunk.stored
            );
            wrong.insert(chunk.object(), FaultKind::Damaged { message });
        }
        Ok(Vec::new())
    }

    /// The chunks for a portion check, from where the last one ended.
    async fn select_portion(
        &self,
        portion: Portion,
        needed: &ChunkSet,
        wrong: &BTreeMap<ChunkObject, FaultKind>,
        report: &mut CheckReport,
    ) -> Vec<ChunkRef> {
        let stored = |chunk: &ChunkRef| u64::from(chunk.stored);
        let total: u64 = present(needed, wrong).map(|chunk| stored(&chunk)).sum();
        let target = portion.of(total);
        // An unreadable cursor only affects the order: start over.
        let cursor = match self.store.get(CURSOR).await {
            Ok(Some(bytes)) => self.crypt.read::<Cursor>(CURSOR, &bytes).ok(),
            _ => None,
        };
        let start = cursor.map(|cursor| cursor.next);
        let from = start.unwrap_or(crate::ChunkId::from_bytes([0; 32]));
        let behind = present(needed, wrong).filter(|chunk| chunk.id >= from);
        let before = present(needed, wrong).filter(|chunk| chunk.id < from);
        let (mut chosen, mut bytes, mut next) = (Vec::new(), 0, from);
        for chunk in behind.chain(before) {
            if bytes >= target {
                next = chunk.id;
                break;
            }
            bytes += stored(&chunk);
            chosen.push(chunk);
        }
        report.data = Some(DataRead {
            portion,
            chunks: chosen.len() as u64,
            stored_bytes: bytes,
            of_stored_bytes: total,
            from,
            next,
        });
        chosen
    }

    async fn read_all(
        &self,
        chosen: Vec<ChunkRef>,
        wrong: &mut BTreeMap<ChunkObject, FaultKind>,
        report: &mut CheckReport,
    ) -> Result<(), Error> {
        let mut failures = FailureBudget::tolerant();
        if !chosen.is_empty() {
            let bytes = chosen.iter().map(|chunk| u64::from(chunk.stored)).sum();
            self.observer.began(Phase::Reading, Some(bytes), Some(chosen.len() as u64));
        }
        let mut reads = stream::iter(chosen)
            .map(|chunk| async move { (chunk, self.read_chunk(chunk).await) })
            .buffer_unordered(READERS);
        while let Some((chunk, read)) = reads.next().await {
            self.observer.advanced(u64::from(chunk.stored), 1);
            let kind = match read {
                Ok(_) => {
                    report.bytes_read += u64::from(chunk.bytes);
                    failures.reset();
                    continue;
                }
                Err(Error::Damaged { message, .. }) => FaultKind::Damaged { message },
                Err(Error::OtherRecipients { .. }) => FaultKind::OtherRecipients,
                Err(error @ Error::Store { .. }) => FaultKind::Unreadable { message: failures.spend(error)? },
                Err(other) => return Err(other),
            };
            if !matches!(kind, FaultKind::Unreadable { .. }) {
                failures.reset();
            }
            wrong.insert(chunk.object(), kind);
        }
        Ok(())
    }

    /// Attributes each fault to snapshots and parts, for which the manifests are read again. For manifests that stay
    /// sealed only that is recorded, unless their chunks are proven to be damaged.
    async fn attribute_faults(
        &self,
        wrong: BTreeMap<ChunkObject, FaultKind>,
        ids: BTreeSet<(DateTime<Utc>, SnapshotId)>,
        closed: &[SnapshotId],
        report: &mut CheckReport,
    ) -> Result<(), Error> {
        let mut touches: BTreeMap<ChunkObject, BTreeSet<String>> = BTreeMap::new();
        let mut damaged = BTreeSet::new();
        let mut unknown: BTreeSet<SnapshotId> = closed.iter().cloned().collect();
        if !wrong.is_empty() {
            self.visit_manifests_with(FailureBudget::tolerant(), true, |manifest| {
                for (part, chunk) in manifest.chunks_by_part() {
                    if let Some(kind) = wrong.get(&chunk.object()) {
                        touches.entry(chunk.object()).or_default().insert(format!("{}: {part}", manifest.id));
                        let such = if kind.is_proven() { &mut damaged } else { &mut unknown };
                        if !such.contains(&manifest.id) {
                            such.insert(manifest.id.clone());
                        }
                    }
                }
            })
            .await?;
        }
        let ids = ids.into_iter().map(|(_, id)| id);
        let (broken, others): (Vec<_>, Vec<_>) = ids.partition(|id| damaged.contains(id));
        (report.unknown, report.whole) = others.into_iter().partition(|id| unknown.contains(id));
        report.broken = broken;
        report.unreadable.extend(closed.iter().map(|id| Unreadable {
            name: id.object(),
            error: Error::OtherRecipients { what: format!("snapshot {id}") }.to_string(),
            other_format: None,
        }));
        report.unreadable.sort_by(|a, b| a.name.cmp(&b.name));
        report.faults = wrong
            .into_iter()
            .map(|(object, kind)| Fault {
                chunk: object.id,
                object: object.to_string(),
                kind,
                touches: touches.remove(&object).unwrap_or_default().into_iter().collect(),
            })
            .collect();
        Ok(())
    }

    /// Checks documents other than manifests.
    async fn check_documents(&self, report: &mut CheckReport) -> Result<(), Error> {
        report.unreadable.extend(self.check_config().await?);
        let mut failures = FailureBudget::tolerant();
        for prefix in ["attestations", "checks", "journals", "marks", "quarantine", "tombstones"] {
            for meta in self.store.list(prefix).await? {
                let name = meta.location.to_string();
                if !name.ends_with(".json") {
                    continue;
                }
                if prefix == "tombstones" && SnapshotId::of_tombstone(&name).is_none() {
                    report.strays.push(name);
                    continue;
                }
                let error = match self.store.get(&name).await {
                    Ok(None) => continue,
                    Ok(Some(bytes)) => {
                        failures.reset();
                        self.check_document(prefix, &name, &bytes, meta.last_modified)
                            .err()
                            .map(|error| error.to_string())
                    }
                    Err(error @ Error::Store { .. }) => Some(failures.spend(error)?),
                    Err(error) => Some(error.to_string()),
                };
                report.unreadable.extend(error.map(|error| Unreadable { name, error, other_format: None }));
            }
        }
        Ok(())
    }

    /// A document under another's name is damage too, so each is parsed as what its name says.
    fn check_document(
        &self,
        prefix: &str,
        name: &str,
        bytes: &[u8],
        written: DateTime<Utc>,
    ) -> Result<(), Error> {
        match prefix {
            "attestations" => Stored::parse(&self.crypt, name, bytes).map(drop),
            "checks" => self.crypt.read::<Cursor>(name, bytes).map(drop),
            "journals" => self.crypt.read::<Journal>(name, bytes).map(drop),
            "marks" => self.crypt.read::<MarkFile>(name, bytes).map(drop),
            "quarantine" => self.crypt.read::<ListFile>(name, bytes).map(drop),
            _ => Tombstone::parse(&self.crypt, name, bytes, written).map(drop),
        }
    }

    async fn attest_all(&self, report: &CheckReport, whole: bool, at: DateTime<Utc>) -> Result<(), Error> {
        let passed = report.whole.iter().filter(|_| whole).map(|id| (id, true));
        let blamed = report.blamed();
        for (id, passed) in passed.chain(report.broken.iter().map(|id| (id, false))) {
            let details = serde_json::json!({ "read-data": true });
            let faults = blamed.get(id.as_str()).cloned().unwrap_or_default();
            // With an incomplete list, a snapshot could be taken for repaired although it is not.
            let faults = if faults.len() > MAX_ATTESTED_FAULTS { Vec::new() } else { faults };
            let attestation =
                Attestation { kind: AttestationKind::Check, passed, incomplete: false, at, details, faults };
            self.attest(id, &attestation).await?;
        }
        Ok(())
    }
}

/// One entry for each existing chunk.
fn present<'a>(
    needed: &'a ChunkSet,
    wrong: &'a BTreeMap<ChunkObject, FaultKind>,
) -> impl Iterator<Item = ChunkRef> + 'a {
    needed.objects().map(|(_, chunk)| *chunk).filter(|chunk| !wrong.contains_key(&chunk.object()))
}
