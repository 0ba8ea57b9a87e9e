//! The report of a check.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::error::count;
use crate::{ByteSize, ChunkId, SnapshotId, Unreadable};

/// How much of the data to read.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Portion {
    /// Basis points (0.01 %) of the stored bytes, up to 10,000.
    BasisPoints(u16),
    /// Number of stored bytes.
    Bytes(u64),
}

impl Portion {
    /// The portion of a total; at least one byte.
    pub(crate) fn of(self, total: u64) -> u64 {
        match self {
            Portion::BasisPoints(points) => (u128::from(total) * u128::from(points)).div_ceil(10_000) as u64,
            Portion::Bytes(bytes) => bytes.min(total),
        }
        .max(1)
    }
}

impl fmt::Display for Portion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Portion::BasisPoints(points) => write!(f, "{} %", f64::from(*points) / 100.0),
            Portion::Bytes(bytes) => write!(f, "{bytes} bytes"),
        }
    }
}

/// `10%`, `2.5%`, `5GiB`, `500MB` or a number of bytes.
impl FromStr for Portion {
    type Err = String;

    fn from_str(text: &str) -> Result<Portion, String> {
        let wrong = || format!("`{text}` is not a portion: expected a percentage (10%) or a size (5GiB)");
        let Some(percent) = text.trim_end().strip_suffix('%') else {
            return text.parse().map(|ByteSize(bytes)| Portion::Bytes(bytes)).map_err(|_| wrong());
        };
        let number: f64 = percent.trim_end().parse().map_err(|_| wrong())?;
        if !(number > 0.0 && number <= 100.0) {
            return Err(wrong());
        }
        // At least the smallest portion: zero would not be a check.
        Ok(Portion::BasisPoints(((number * 100.0).round() as u16).max(1)))
    }
}

/// The data read by a portion check.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DataRead {
    /// The requested portion.
    pub portion: Portion,
    /// Number of chunks read.
    pub chunks: u64,
    /// Their size in the store.
    pub stored_bytes: u64,
    /// Stored size of all data.
    pub of_stored_bytes: u64,
    /// Id of the first chunk read. Ids are unrelated to content, so that all snapshots are covered.
    pub from: ChunkId,
    /// Id at which the next portion check starts.
    pub next: ChunkId,
}

/// Kind of a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "fault")]
pub enum FaultKind {
    /// The object does not exist.
    Missing,
    /// The object is damaged.
    Damaged {
        /// The kind of damage.
        message: String,
    },
    /// None of the given identities decrypts it. It was encrypted to other recipients, or its header is damaged,
    /// which looks the same.
    OtherRecipients,
    /// The store failed to return it, possibly temporarily.
    Unreadable {
        /// Error of the store.
        message: String,
    },
}

impl FaultKind {
    /// Whether it is certain that the store does not have the chunk. Only such faults are attested and repaired.
    pub fn is_proven(&self) -> bool {
        matches!(self, FaultKind::Missing | FaultKind::Damaged { .. })
    }
}

/// A fault, with the snapshots it affects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Fault {
    /// The chunk.
    pub chunk: ChunkId,
    /// The object that stores it.
    pub object: String,
    /// The kind of fault.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Affected snapshots and parts, as `snapshot: part`.
    pub touches: Vec<String>,
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct CheckReport {
    /// Address of the repository.
    pub repository: String,
    /// Whether data was read, all of it or a portion.
    pub read_data: bool,
    /// The portion, if only a portion was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<DataRead>,
    /// Snapshots found intact, as far as they were checked.
    pub whole: Vec<SnapshotId>,
    /// Damaged snapshots.
    pub broken: Vec<SnapshotId>,
    /// Snapshots whose state cannot be determined here: part of them is encrypted to other recipients, or the store
    /// failed to return it.
    pub unknown: Vec<SnapshotId>,
    /// Snapshots that no current recipient can restore alone, because recipients changed after their data was
    /// written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_restorable: Vec<SnapshotId>,
    /// Manifests and other documents that cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// Faults.
    pub faults: Vec<Fault>,
    /// Number of distinct chunks that snapshots reference.
    pub chunks: u64,
    /// Plain bytes read.
    pub bytes_read: u64,
    /// Number of chunks that no snapshot references.
    pub unreferenced: u64,
    /// Their size in the store.
    pub unreferenced_bytes: u64,
    /// Files whose names do not belong to a repository; they are ignored.
    pub strays: Vec<String>,
    /// Why the result could not be attested, if so.
    pub not_attested: Option<String>,
}

impl CheckReport {
    pub(crate) fn new(repository: String, read_data: bool) -> CheckReport {
        CheckReport {
            repository,
            read_data,
            data: None,
            whole: Vec::new(),
            broken: Vec::new(),
            unknown: Vec::new(),
            not_restorable: Vec::new(),
            unreadable: Vec::new(),
            faults: Vec::new(),
            chunks: 0,
            bytes_read: 0,
            unreferenced: 0,
            unreferenced_bytes: 0,
            strays: Vec::new(),
            not_attested: None,
        }
    }

    /// Proven faults by snapshot, as object names.
    pub(crate) fn blamed(&self) -> BTreeMap<&str, Vec<String>> {
        let mut blamed: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for fault in self.faults.iter().filter(|fault| fault.kind.is_proven()) {
            // Several parts of a snapshot may need a chunk; they are adjacent.
            let mut snapshots: Vec<&str> =
                fault.touches.iter().filter_map(|touched| touched.split(": ").next()).collect();
            snapshots.dedup();
            for id in snapshots {
                blamed.entry(id).or_default().push(fault.object.clone());
            }
        }
        blamed
    }

    /// Whether nothing is wrong.
    pub fn passed(&self) -> bool {
        self.faults.is_empty() && self.unreadable.is_empty()
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            let what = match &fault.kind {
                FaultKind::Missing => "is missing".to_owned(),
                FaultKind::Damaged { message } => format!("is damaged: {message}"),
                FaultKind::OtherRecipients => {
                    "cannot be decrypted with any of the given identities: it was encrypted for other recipients, or its header \
                     is damaged"
                        .to_owned()
                }
                FaultKind::Unreadable { message } => format!("could not be read: {message}"),
            };
            writeln!(f, "{} {what}", fault.object)?;
            for touched in &fault.touches {
                writeln!(f, "  referenced by {touched}")?;
            }
        }
        for id in &self.not_restorable {
            writeln!(f, "snapshot {id} cannot be restored by any current recipient alone")?;
        }
        for damaged in &self.unreadable {
            writeln!(f, "{} cannot be read: {}", damaged.name, damaged.error)?;
        }
        for name in &self.strays {
            writeln!(f, "{name} is not an object of the repository, and was ignored")?;
        }
        for id in &self.broken {
            writeln!(f, "snapshot {id} is DAMAGED")?;
        }
        for id in &self.unknown {
            writeln!(f, "snapshot {id}: not all of it could be read, so its state is unknown")?;
        }
        if !self.passed() {
            for id in &self.whole {
                writeln!(f, "snapshot {id} is intact")?;
            }
        }
        let how = match &self.data {
            Some(read) => format!(
                "{} of them read, {} of {} stored bytes, from id {:.8}; the next check of a portion continues at {:.8}",
                read.chunks,
                read.stored_bytes,
                read.of_stored_bytes,
                read.from.to_string(),
                read.next.to_string()
            ),
            None if self.read_data => "all data read".to_owned(),
            None => "names and sizes checked, data not read".to_owned(),
        };
        let unknown = match self.unknown.len() {
            0 => String::new(),
            number => format!("{number} unknown, "),
        };
        writeln!(
            f,
            "{}: {} intact, {} damaged, {unknown}{} unreadable; {} ({how}), {} unreferenced",
            self.repository,
            count(self.whole.len() as u64, "snapshot"),
            self.broken.len(),
            count(self.unreadable.len() as u64, "document"),
            count(self.chunks, "chunk"),
            self.unreferenced
        )?;
        if let Some(why) = &self.not_attested {
            writeln!(f, "the result could not be recorded in the repository: {why}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_are_read_as_people_write_them() {
        let cases = [
            ("10%", Portion::BasisPoints(1000)),
            ("2.5 %", Portion::BasisPoints(250)),
            ("0.001%", Portion::BasisPoints(1)),
            ("5GiB", Portion::Bytes(5 << 30)),
            ("500MB", Portion::Bytes(500_000_000)),
            ("12", Portion::Bytes(12)),
        ];
        for (text, portion) in cases {
            assert_eq!(text.parse(), Ok(portion), "{text}");
        }
        for text in ["", "%", "0%", "101%", "-1", "5XB", "NaN%", "ten"] {
            assert!(text.parse::<Portion>().is_err(), "{text}");
        }
        assert_eq!(Portion::BasisPoints(1000).of(1001), 101);
        assert_eq!(Portion::Bytes(5).of(3), 3);
    }
}
