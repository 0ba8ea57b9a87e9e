//! What a check found, and how much it read.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::error::count;
use crate::{ByteSize, ChunkId, SnapshotId, Unreadable};

/// How much of the data a check reads.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Portion {
    /// So many hundredths of a percent of the stored bytes, up to 10,000.
    BasisPoints(u16),
    /// So many stored bytes.
    Bytes(u64),
}

impl Portion {
    /// Of so many bytes; never nothing.
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
        // At least the smallest portion: nothing at all would be no check.
        Ok(Portion::BasisPoints(((number * 100.0).round() as u16).max(1)))
    }
}

/// What was read by a check of a portion.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DataRead {
    /// What was asked for.
    pub portion: Portion,
    /// Chunks that were read.
    pub chunks: u64,
    /// Their size in the store.
    pub stored_bytes: u64,
    /// The size of all that could have been read.
    pub of_stored_bytes: u64,
    /// The reading began at this id; ids are in no relation to content, so that every snapshot is met.
    pub from: ChunkId,
    /// The next check of a portion begins at this one.
    pub next: ChunkId,
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
    /// No identity that was given opens it. It was encrypted to other recipients; or the bytes at its beginning that hold
    /// its key are damaged, which looks the same.
    OtherRecipients,
    /// The store could not give it. It may at another time.
    Unreadable {
        /// The store's own words.
        message: String,
    },
}

impl FaultKind {
    /// True when it is certain that the store does not hold the chunk. Only that is noted on snapshots, and repaired.
    pub fn is_proven(&self) -> bool {
        matches!(self, FaultKind::Missing | FaultKind::Damaged { .. })
    }
}

/// A fault, and whom it touches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Fault {
    /// The chunk.
    pub chunk: ChunkId,
    /// The object that it lies in.
    pub object: String,
    /// What is wrong with it.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Snapshots and parts that need it, as `snapshot: part`.
    pub touches: Vec<String>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct CheckReport {
    /// The repository's place.
    pub repository: String,
    /// Whether data was read, all of it or a portion.
    pub read_data: bool,
    /// How much, where it was a portion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<DataRead>,
    /// Snapshots that are whole, as far as was looked.
    pub whole: Vec<SnapshotId>,
    /// Snapshots that are not.
    pub broken: Vec<SnapshotId>,
    /// Snapshots of which that cannot be said here: something of them was encrypted to other recipients, or the store
    /// could not give it.
    pub unknown: Vec<SnapshotId>,
    /// Snapshots that no current recipient can restore alone: recipients changed after their data was written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_restorable: Vec<SnapshotId>,
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
    /// Files that are not called like anything of a repository; nothing was made of them.
    pub strays: Vec<String>,
    /// Why the finding could not be noted in the repository, if it could not.
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

    /// The proven faults of each snapshot, as names of objects.
    pub(crate) fn blamed(&self) -> BTreeMap<&str, Vec<String>> {
        let mut blamed: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for fault in self.faults.iter().filter(|fault| fault.kind.is_proven()) {
            // Several parts of a snapshot may need one chunk; they stand one after another.
            let mut snapshots: Vec<&str> =
                fault.touches.iter().filter_map(|touched| touched.split(": ").next()).collect();
            snapshots.dedup();
            for id in snapshots {
                blamed.entry(id).or_default().push(fault.object.clone());
            }
        }
        blamed
    }

    /// True when nothing is wrong.
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
