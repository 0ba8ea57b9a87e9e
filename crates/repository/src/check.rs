//! Checking that every listed snapshot is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt as _};
use serde::Serialize;

use crate::chunk::ChunkObject;
use crate::{Attestation, AttestationKind, ChunkId, ChunkRef, Error, Repository, SnapshotId, Unreadable};

/// Chunks that are read at the same time.
const READERS: usize = 4;

/// How thorough a check is.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// Read, decompress and hash every chunk, instead of looking whether it is there.
    pub read_data: bool,
    /// The caller's clock, for attestations.
    pub now: DateTime<Utc>,
}

/// What is wrong with a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "fault")]
pub enum FaultKind {
    /// The store has no such object.
    Missing,
    /// It is there, and is not what it should be.
    Damaged {
        /// How it differs.
        message: String,
    },
}

/// A fault, and whom it touches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Fault {
    /// The chunk.
    pub chunk: ChunkId,
    /// What is wrong with it.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Snapshots and parts that need it, as `snapshot: part`.
    pub touches: Vec<String>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CheckReport {
    /// The repository's place.
    pub repository: String,
    /// Whether data was read.
    pub read_data: bool,
    /// Snapshots that are whole.
    pub whole: Vec<SnapshotId>,
    /// Snapshots that are not.
    pub broken: Vec<SnapshotId>,
    /// Manifests and other documents that cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// Different chunks that the snapshots need.
    pub chunks: u64,
    /// Plain bytes that were read.
    pub bytes_read: u64,
    /// Chunks that no snapshot needs.
    pub unreferenced: u64,
    /// Their size in the store.
    pub unreferenced_bytes: u64,
    /// Why the finding could not be noted in the repository, if it could not.
    pub not_attested: Option<String>,
}

impl CheckReport {
    /// True when nothing is wrong.
    pub fn passed(&self) -> bool {
        self.faults.is_empty() && self.unreadable.is_empty()
    }
}

impl Repository {
    /// Checks every listed snapshot. With `read_data`, notes the finding on each.
    pub async fn check(&self, options: &CheckOptions) -> Result<CheckReport, Error> {
        let listing = self.snapshots().await?;
        let mut needed: BTreeMap<ChunkObject, ChunkRef> = BTreeMap::new();
        for manifest in &listing.manifests {
            needed.extend(manifest.chunks().map(|chunk| (chunk.object(), *chunk)));
        }
        let mut wrong: BTreeMap<ChunkObject, FaultKind> =
            needed.keys().map(|object| (*object, FaultKind::Missing)).collect();
        let (mut unreferenced, mut unreferenced_bytes) = (0, 0);
        let mut doubtful = Vec::new();
        self.store
            .visit("chunks", |meta| {
                let object = ChunkObject::parse(meta.location.as_ref());
                match object.and_then(|object| Some((object, needed.get(&object)?))) {
                    Some((object, chunk)) => {
                        wrong.remove(&object);
                        // Two hosts may have compressed the same chunk differently, so another size is no proof.
                        if options.read_data || u64::from(chunk.stored) != meta.size {
                            doubtful.push(*chunk);
                        }
                    }
                    None => {
                        unreferenced += 1;
                        unreferenced_bytes += meta.size;
                    }
                }
            })
            .await?;

        let mut bytes_read = 0;
        let mut reads = stream::iter(doubtful)
            .map(|chunk| async move { (chunk, self.read_chunk(chunk).await) })
            .buffer_unordered(READERS);
        while let Some((chunk, read)) = reads.next().await {
            match read {
                Ok(_) => bytes_read += u64::from(chunk.bytes),
                Err(Error::Damaged { message, .. }) => {
                    wrong.insert(chunk.object(), FaultKind::Damaged { message });
                }
                Err(other) => return Err(other),
            }
        }
        drop(reads);

        let mut touches: BTreeMap<ChunkObject, Vec<String>> = BTreeMap::new();
        let (mut whole, mut broken) = (Vec::new(), Vec::new());
        for manifest in &listing.manifests {
            let mut hurt = BTreeSet::new();
            for (part, chunk) in manifest.chunks_by_part() {
                if wrong.contains_key(&chunk.object()) && hurt.insert((part, chunk.object())) {
                    touches.entry(chunk.object()).or_default().push(format!("{}: {part}", manifest.id));
                }
            }
            if hurt.is_empty() { whole.push(manifest.id.clone()) } else { broken.push(manifest.id.clone()) }
        }
        let faults: Vec<Fault> = wrong
            .into_iter()
            .map(|(object, kind)| Fault {
                chunk: object.id,
                kind,
                touches: touches.remove(&object).unwrap_or_default(),
            })
            .collect();
        let mut unreadable = listing.unreadable;
        for prefix in ["attestations", "marks", "tombstones"] {
            for meta in self.store.list(prefix).await? {
                let name = meta.location.to_string();
                if !name.ends_with(".json") {
                    continue;
                }
                let Some(bytes) = self.store.get(&name).await? else { continue };
                if let Err(error) = self.crypt.unseal(&name, &bytes) {
                    unreadable.push(Unreadable { name, error: error.to_string() });
                }
            }
        }
        let mut report = CheckReport {
            repository: self.place(),
            read_data: options.read_data,
            chunks: needed.len() as u64,
            unreferenced,
            unreferenced_bytes,
            whole,
            broken,
            unreadable,
            faults,
            bytes_read,
            not_attested: None,
        };
        if options.read_data {
            report.not_attested = self.attest_all(&report, options.now).await.err().map(|e| e.to_string());
        }
        Ok(report)
    }

    async fn attest_all(&self, report: &CheckReport, at: DateTime<Utc>) -> Result<(), Error> {
        let marked =
            report.whole.iter().map(|id| (id, true)).chain(report.broken.iter().map(|id| (id, false)));
        for (id, passed) in marked {
            let details = serde_json::json!({ "read-data": true });
            let attestation = Attestation { kind: AttestationKind::Check, passed, at, details };
            self.attest(id, &attestation).await?;
        }
        Ok(())
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            let what = match &fault.kind {
                FaultKind::Missing => "is missing".to_owned(),
                FaultKind::Damaged { message } => format!("is damaged: {message}"),
            };
            writeln!(f, "chunk {} {what}", fault.chunk)?;
            for touched in &fault.touches {
                writeln!(f, "  needed by {touched}")?;
            }
        }
        for damaged in &self.unreadable {
            writeln!(f, "{} cannot be read: {}", damaged.name, damaged.error)?;
        }
        for id in &self.broken {
            writeln!(f, "snapshot {id} is NOT whole")?;
        }
        let how = if self.read_data { "all data read" } else { "looked at, not read: --read-data reads it" };
        writeln!(
            f,
            "{}: {} snapshots whole, {} not, {} documents unreadable; {} chunks ({how}), {} unreferenced",
            self.repository,
            self.whole.len(),
            self.broken.len(),
            self.unreadable.len(),
            self.chunks,
            self.unreferenced
        )?;
        if let Some(why) = &self.not_attested {
            writeln!(f, "the finding could not be noted in the repository: {why}")?;
        }
        Ok(())
    }
}
