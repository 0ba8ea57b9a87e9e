//! The manifest: what a snapshot is.

use std::collections::BTreeSet;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::format::chunk::ChunkObject;
use crate::{ChunkId, CopyTag, Error};

/// In a part's place where parts cannot be known.
const SEALED: &str = "(part unknown: the manifest is encrypted)";

/// A snapshot's name: the UTC time at which it was run_clock, and six random digits, so that names sort by time and two
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

    /// A manifest that lies under another's name is damage.
    pub(crate) fn check_object(&self, object: &str) -> Result<(), Error> {
        if object.strip_suffix(".json").and_then(|o| o.rsplit('/').next()) == Some(self.as_str()) {
            Ok(())
        } else {
            Err(Error::Damaged { object: object.to_owned(), message: format!("it calls itself {self}") })
        }
    }

    /// The snapshot whose manifest has this name; `None` for the name of any other object.
    pub(crate) fn of_manifest(object: &str) -> Option<SnapshotId> {
        SnapshotId::parse(object.strip_prefix("snapshots/")?.strip_suffix(".json")?)
    }

    /// The snapshot whose tombstone has this name; `None` for the name of any other object.
    pub(crate) fn of_tombstone(object: &str) -> Option<SnapshotId> {
        SnapshotId::parse(object.strip_prefix("tombstones/")?.strip_suffix(".json")?)
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

/// What a snapshot holds of one source, as far as it can be known without opening it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Content {
    /// The source's name.
    pub name: String,
    /// What kind of server it is.
    pub kind: String,
    /// What tells this source from another one of the same name, in its maker's words. In an encrypted repository a keyed
    /// hash stands in its place until the manifest is opened: see [`crate::Repository::identity_as_stored`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
}

impl Content {
    /// Of this source, with nothing known that tells it from another of its name.
    pub(crate) fn of(source: &SourceRecord) -> Content {
        Content { name: source.name.clone(), kind: source.kind.clone(), identity: None }
    }
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

/// The sources of a snapshot in an encrypted repository, and what can be known of them without opening it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sealed {
    /// Each chunk of the snapshot once.
    pub(crate) chunks: Vec<ChunkRef>,
    /// The sources as JSON, compressed by zstd, as an age file, in base64.
    pub(crate) body: String,
    /// The mark of the recipients that the body is encrypted to; none for those of the repository's beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) set: Option<CopyTag>,
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
    /// When it was run_clock.
    pub taken_at: DateTime<Utc>,
    /// When the last part was written.
    pub finished_at: DateTime<Utc>,
    /// The tool that made it.
    pub tool: String,
    /// False when a source that was asked for is missing.
    pub complete: bool,
    /// The sources by name and kind, also while the manifest is sealed. Manifests of the first versions lack it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contents: Vec<Content>,
    /// From here on the series may be of other sources than before: somebody said that it is meant to be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub new_lineage: bool,
    /// Tags given by the user.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    /// The servers; empty while the manifest is sealed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceRecord>,
    /// What stands in the place of the sources where the repository is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sealed: Option<Box<Sealed>>,
    /// Sizes.
    #[serde(default)]
    pub stats: SnapshotStats,
}

impl Manifest {
    /// Every part with the source it belongs to.
    pub fn parts(&self) -> impl Iterator<Item = (&SourceRecord, &Part)> {
        self.sources.iter().flat_map(|source| source.parts.iter().map(move |part| (source, part)))
    }

    /// True when this is only what can be known without an identity: times, sizes and chunks, and no sources.
    pub fn is_sealed(&self) -> bool {
        self.sealed.is_some()
    }

    /// Every chunk that the snapshot needs, some more than once.
    pub fn chunks(&self) -> impl Iterator<Item = &ChunkRef> {
        let sealed = self.sealed.iter().flat_map(|sealed| &sealed.chunks);
        self.parts().flat_map(|(_, part)| &part.chunks).chain(sealed)
    }

    /// The same, each with the name of its part, which is not known while the manifest is sealed.
    pub(crate) fn chunks_by_part(&self) -> impl Iterator<Item = (&str, &ChunkRef)> {
        let sealed = self.sealed.iter().flat_map(|sealed| &sealed.chunks).map(|chunk| (SEALED, chunk));
        let open =
            self.parts().flat_map(|(_, part)| part.chunks.iter().map(|chunk| (part.name.as_str(), chunk)));
        open.chain(sealed)
    }

    /// A part is as long as its chunks together.
    pub(crate) fn check_parts(&self, object: &str) -> Result<(), Error> {
        let damaged = |message: String| Error::Damaged { object: object.to_owned(), message };
        for (_, part) in self.parts() {
            // At most 2^32 a chunk, and a manifest of 2^32 chunks would not fit into memory: this cannot overflow.
            let sum: u64 = part.chunks.iter().map(|chunk| u64::from(chunk.bytes)).sum();
            if sum != part.bytes {
                return Err(damaged(format!(
                    "part `{}` is {} bytes, its chunks {sum}",
                    part.name, part.bytes
                )));
            }
        }
        Ok(())
    }
}
