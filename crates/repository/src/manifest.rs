//! The manifest: what a snapshot is.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::chunk::ChunkObject;
use crate::{ChunkId, CopyTag, Error};

/// A snapshot's name: the UTC time at which it was begun, and six random digits, so that names sort by time and two
/// hosts never choose the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SnapshotId(String);

impl SnapshotId {
    pub(crate) fn new(at: DateTime<Utc>, random: u32) -> SnapshotId {
        SnapshotId(format!("{}-{:06x}", at.format("%Y%m%dT%H%M%SZ"), random & 0xff_ffff))
    }

    /// Reads a name; only what could have been made here is accepted, since it becomes part of object names.
    pub(crate) fn parse(text: &str) -> Option<SnapshotId> {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (plain && (8..=64).contains(&text.len())).then(|| SnapshotId(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn object(&self) -> String {
        format!("snapshots/{}.json", self.0)
    }

    pub(crate) fn tombstone(&self) -> String {
        format!("tombstones/{}.json", self.0)
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One chunk of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRef {
    /// Its name.
    pub id: ChunkId,
    /// Its plain size.
    pub bytes: u32,
    /// The size of its object: compressed.
    pub stored: u32,
    /// Set when the chunk does not lie under its plain name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<CopyTag>,
}

impl ChunkRef {
    /// The object it lies in.
    pub(crate) fn object(&self) -> ChunkObject {
        ChunkObject { id: self.id, copy: self.copy }
    }
}

/// What a part is, before it is written.
#[derive(Debug, Clone)]
pub struct PartHeader {
    /// Its name within the snapshot.
    pub name: String,
    /// What its bytes are, such as `postgres/copy`.
    pub kind: String,
}

impl PartHeader {
    /// A part of this name and kind.
    pub fn new(name: impl Into<String>, kind: impl Into<String>) -> PartHeader {
        PartHeader { name: name.into(), kind: kind.into() }
    }
}

/// A named stream of bytes in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Part {
    /// Its name within the snapshot.
    pub name: String,
    /// What its bytes are.
    pub kind: String,
    /// Its plain size.
    pub bytes: u64,
    /// The SHA-256 of all its plain bytes, hexadecimal.
    pub sha256: String,
    /// What its maker says of it; the repository does not look inside.
    #[serde(default)]
    pub attributes: Map<String, Value>,
    /// Its chunks, in order.
    pub chunks: Vec<ChunkRef>,
}

/// What a snapshot holds of one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SourceRecord {
    /// The source's name.
    pub name: String,
    /// What kind of server it is.
    pub kind: String,
    /// Which server was really reached.
    pub server: Value,
    /// What its maker says of it.
    pub details: Value,
    /// Its parts.
    pub parts: Vec<Part>,
}

/// Sizes of a snapshot, in bytes unless said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct SnapshotStats {
    /// All parts, plain.
    pub plain_bytes: u64,
    /// What no listed snapshot held before, plain.
    pub new_plain_bytes: u64,
    /// The same as stored: compressed.
    pub stored_bytes: u64,
    /// Chunks, counted each time they occur.
    pub chunks: u64,
    /// Chunks that were written.
    pub new_chunks: u64,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Manifest {
    /// The format's version.
    pub format: u64,
    /// The snapshot's name.
    pub id: SnapshotId,
    /// The series it belongs to.
    pub job: String,
    /// When it was begun.
    pub taken_at: DateTime<Utc>,
    /// When the last part was written.
    pub finished_at: DateTime<Utc>,
    /// The tool that made it.
    pub tool: String,
    /// False when a source that was asked for is missing.
    pub complete: bool,
    /// The servers.
    pub sources: Vec<SourceRecord>,
    /// Sizes.
    #[serde(default)]
    pub stats: SnapshotStats,
}

impl Manifest {
    /// Every part with the source it belongs to.
    pub fn parts(&self) -> impl Iterator<Item = (&SourceRecord, &Part)> {
        self.sources.iter().flat_map(|source| source.parts.iter().map(move |part| (source, part)))
    }

    pub(crate) fn parse(object: &str, bytes: &[u8]) -> Result<Manifest, Error> {
        let damaged = |message: String| Error::Damaged { object: object.to_owned(), message };
        let manifest: Manifest = crate::document::read(object, bytes)?;
        if object.strip_suffix(".json").and_then(|o| o.rsplit('/').next()) != Some(manifest.id.as_str()) {
            return Err(damaged(format!("it calls itself {}", manifest.id)));
        }
        for (_, part) in manifest.parts() {
            // At most 2^32 a chunk, and a manifest of 2^32 chunks would not fit into memory: this cannot overflow.
            let sum: u64 = part.chunks.iter().map(|chunk| u64::from(chunk.bytes)).sum();
            if sum != part.bytes {
                return Err(damaged(format!(
                    "part `{}` is {} bytes, its chunks {sum}",
                    part.name, part.bytes
                )));
            }
        }
        Ok(manifest)
    }
}
