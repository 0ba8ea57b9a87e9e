//! The manifest, which describes a snapshot.

use std::collections::BTreeSet;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::format::chunk::ChunkObject;
use crate::{ChunkId, CopyTag, Error};

/// Placeholder for part names that are unknown.
const SEALED: &str = "(part unknown: the manifest is encrypted)";

/// Id of a snapshot: the UTC time at which it was begun, and six random digits, so that ids sort by time and two
/// hosts never choose the same one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SnapshotId(String);

impl SnapshotId {
    pub(crate) fn new(at: DateTime<Utc>, random: u32) -> SnapshotId {
        SnapshotId(format!("{}-{:06x}", at.format("%Y%m%dT%H%M%SZ"), random & 0xff_ffff))
    }

    /// Parses an id. Only ids in the generated form are accepted, because an id becomes part of object names.
    pub(crate) fn parse(text: &str) -> Option<SnapshotId> {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (plain && (8..=64).contains(&text.len())).then(|| SnapshotId(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn object(&self) -> String {
        format!("snapshots/{}.json", self.0)
    }

    /// Fails if a manifest is stored under another snapshot's name.
    pub(crate) fn check_object(&self, object: &str) -> Result<(), Error> {
        if object.strip_suffix(".json").and_then(|o| o.rsplit('/').next()) == Some(self.as_str()) {
            Ok(())
        } else {
            Err(Error::Damaged {
                object: object.to_owned(),
                message: format!("it is the manifest of {self}"),
            })
        }
    }

    /// The id of the manifest with this object name; `None` for any other object.
    pub(crate) fn of_manifest(object: &str) -> Option<SnapshotId> {
        SnapshotId::parse(object.strip_prefix("snapshots/")?.strip_suffix(".json")?)
    }

    /// The id of the tombstone with this object name; `None` for any other object.
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

/// A chunk of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRef {
    /// Its id.
    pub id: ChunkId,
    /// Its plain size.
    pub bytes: u32,
    /// Size of its object, compressed.
    pub stored: u32,
    /// Set if the chunk is not stored under its plain name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<CopyTag>,
}

impl ChunkRef {
    /// The object that stores it.
    pub(crate) fn object(&self) -> ChunkObject {
        ChunkObject { id: self.id, copy: self.copy }
    }
}

/// Name and kind of a part, before it is written.
#[derive(Debug, Clone)]
pub struct PartHeader {
    /// Name within the snapshot.
    pub name: String,
    /// Kind of its bytes, such as `postgres/copy`.
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
    /// Name within the snapshot.
    pub name: String,
    /// Kind of its bytes.
    pub kind: String,
    /// Its plain size.
    pub bytes: u64,
    /// The SHA-256 of all its plain bytes, hexadecimal.
    pub sha256: String,
    /// Attributes set by the caller; the repository does not interpret them.
    #[serde(default)]
    pub attributes: Map<String, Value>,
    /// Its chunks, in order.
    pub chunks: Vec<ChunkRef>,
}

/// A source in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SourceRecord {
    /// Name.
    pub name: String,
    /// Kind of server.
    pub kind: String,
    /// The server that was reached.
    pub server: Value,
    /// Details set by the caller.
    pub details: Value,
    /// Its parts.
    pub parts: Vec<Part>,
}

/// A source in a snapshot, as far as it is known without decrypting it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Content {
    /// Name.
    pub name: String,
    /// Kind of server.
    pub kind: String,
    /// Distinguishes this source from another of the same name, in the caller's words. In an encrypted repository it
    /// is a keyed hash until the manifest is decrypted: see [`crate::Repository::identity_as_stored`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
}

impl Content {
    /// For this source, with an unknown identity.
    pub(crate) fn of(source: &SourceRecord) -> Content {
        Content { name: source.name.clone(), kind: source.kind.clone(), identity: None }
    }
}

/// Sizes of a snapshot, in bytes unless stated otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct SnapshotStats {
    /// All parts, plain.
    pub plain_bytes: u64,
    /// Data that no listed snapshot contained before, plain.
    pub new_plain_bytes: u64,
    /// The same as stored: compressed.
    pub stored_bytes: u64,
    /// Number of chunks, with repetitions.
    pub chunks: u64,
    /// Number of chunks written.
    pub new_chunks: u64,
}

/// The sources of a snapshot in an encrypted repository, and what is known of them without decrypting it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sealed {
    /// Each chunk of the snapshot, once.
    pub(crate) chunks: Vec<ChunkRef>,
    /// The sources as JSON, compressed by zstd, as an age file, in base64.
    pub(crate) body: String,
    /// Mark of the recipients of the body; `None` for the repository's original ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) set: Option<CopyTag>,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Manifest {
    /// Format version.
    pub format: u64,
    /// Id.
    pub id: SnapshotId,
    /// Series of the snapshot.
    pub job: String,
    /// When it was begun.
    pub taken_at: DateTime<Utc>,
    /// When the last part was written.
    pub finished_at: DateTime<Utc>,
    /// Program that wrote it.
    pub tool: String,
    /// False if a requested source is missing.
    pub complete: bool,
    /// Sources by name and kind, available while the manifest is sealed. Missing in manifests of the first versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contents: Vec<Content>,
    /// From this snapshot on the series may have other sources, as confirmed by the user.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub new_lineage: bool,
    /// Tags given by the user.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    /// Sources; empty while the manifest is sealed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceRecord>,
    /// The encrypted sources, in an encrypted repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sealed: Option<Box<Sealed>>,
    /// Sizes.
    #[serde(default)]
    pub stats: SnapshotStats,
}

impl Manifest {
    /// Every part with its source.
    pub fn parts(&self) -> impl Iterator<Item = (&SourceRecord, &Part)> {
        self.sources.iter().flat_map(|source| source.parts.iter().map(move |part| (source, part)))
    }

    /// Whether the manifest is not decrypted: then only times, sizes and chunks are known, but no sources.
    pub fn is_sealed(&self) -> bool {
        self.sealed.is_some()
    }

    /// Every chunk of the snapshot, with repetitions.
    pub fn chunks(&self) -> impl Iterator<Item = &ChunkRef> {
        let sealed = self.sealed.iter().flat_map(|sealed| &sealed.chunks);
        self.parts().flat_map(|(_, part)| &part.chunks).chain(sealed)
    }

    /// The same, each with the name of its part, which is unknown while the manifest is sealed.
    pub(crate) fn chunks_by_part(&self) -> impl Iterator<Item = (&str, &ChunkRef)> {
        let sealed = self.sealed.iter().flat_map(|sealed| &sealed.chunks).map(|chunk| (SEALED, chunk));
        let open =
            self.parts().flat_map(|(_, part)| part.chunks.iter().map(|chunk| (part.name.as_str(), chunk)));
        open.chain(sealed)
    }

    /// Checks that the length of each part is that of its chunks together.
    pub(crate) fn check_parts(&self, object: &str) -> Result<(), Error> {
        let damaged = |message: String| Error::Damaged { object: object.to_owned(), message };
        for (_, part) in self.parts() {
            // At most 2^32 per chunk, and a manifest of 2^32 chunks does not fit into memory: no overflow.
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
