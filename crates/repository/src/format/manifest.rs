//! The manifest: what a snapshot is.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::format::chunk::ChunkObject;
use zstd::bulk::Compressor;

use crate::crypto::crypt::{Crypt, Unpack};
use crate::{ChunkId, CopyTag, Error};

/// Manifests are small beside what they describe, and shorter ones are read at every start.
const BODY_LEVEL: i32 = 9;
/// No body is larger when it is plain: what a hostile store can make us allocate.
const LARGEST_BODY: usize = 512 << 20;

/// In a part's place where parts cannot be known.
const SEALED: &str = "(part unknown: the manifest is encrypted)";

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

    /// A manifest that lies under another's name is damage.
    pub(crate) fn check_object(&self, object: &str) -> Result<(), Error> {
        if object.strip_suffix(".json").and_then(|o| o.rsplit('/').next()) == Some(self.as_str()) {
            Ok(())
        } else {
            Err(Error::Damaged { object: object.to_owned(), message: format!("it calls itself {self}") })
        }
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
    /// When it was begun.
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
    /// Words that somebody gave it.
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

    /// Reads a stored manifest, and leaves it sealed if it is.
    pub(crate) fn parse(crypt: &Crypt, object: &str, bytes: &[u8]) -> Result<Manifest, Error> {
        let damaged = |message: String| Error::Damaged { object: object.to_owned(), message };
        let manifest: Manifest = crypt.read(object, bytes)?;
        if crypt.is_encrypted() != manifest.is_sealed()
            || (manifest.is_sealed() && !manifest.sources.is_empty())
        {
            return Err(damaged(
                "it is encrypted where the repository is not, or the other way round".to_owned(),
            ));
        }
        manifest.check_parts(object)?;
        manifest.id.check_object(object)?;
        Ok(manifest)
    }

    /// A part is as long as its chunks together.
    fn check_parts(&self, object: &str) -> Result<(), Error> {
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

    /// As it is stored in an encrypted repository.
    pub(crate) fn seal(&self, crypt: &Crypt) -> Result<Manifest, Error> {
        let failed = |message: String| Error::Damaged { object: self.id.object(), message };
        let mut chunks: Vec<ChunkRef> = self.chunks().copied().collect();
        chunks.sort_unstable_by_key(ChunkRef::object);
        chunks.dedup_by_key(|chunk| chunk.object());
        let identities = self.contents.iter().filter_map(|c| Some((c.name.as_str(), c.identity.as_deref()?)));
        let body = Body { sources: &self.sources, identities: identities.collect() };
        let body = serde_json::to_vec(&body).map_err(|e| failed(e.to_string()))?;
        let body = Compressor::new(BODY_LEVEL)
            .and_then(|mut compressor| crypt.pack(&body, &mut compressor))
            .map_err(|e| failed(e.to_string()))?;
        let sealed = Some(Box::new(Sealed { chunks, body: STANDARD.encode(body), set: crypt.sets().tag() }));
        let hashed = |content: &Content| {
            let identity = content.identity.as_ref().map(|identity| crypt.identity_as_stored(identity));
            Content { identity, ..content.clone() }
        };
        let contents = self.contents.iter().map(hashed).collect();
        Ok(Manifest { sources: Vec::new(), contents, sealed, ..self.clone() })
    }

    /// Opens a sealed manifest; one that is open stays as it is.
    pub(crate) fn open(self, crypt: &Crypt) -> Result<Manifest, Error> {
        let manifest = self.open_if_possible(crypt)?;
        let what = format!("snapshot {}", manifest.id);
        match manifest.is_sealed() {
            true if crypt.can_read() => Err(Error::OtherRecipients { what }),
            true => Err(Error::Locked { what }),
            false => Ok(manifest),
        }
    }

    /// The same; one that nothing opens which was given stays sealed.
    pub(crate) fn open_if_possible(mut self, crypt: &Crypt) -> Result<Manifest, Error> {
        let Some(sealed) = self.sealed.take() else { return Ok(self) };
        let object = self.id.object();
        let damaged = |message: String| Error::Damaged { object: object.clone(), message };
        let body = STANDARD.decode(&sealed.body).map_err(|e| damaged(e.to_string()))?;
        let body = match crypt.unpack_at_most(&body, LARGEST_BODY) {
            Ok(body) => body,
            Err(Unpack::Locked | Unpack::OtherRecipients) => {
                return Ok(Manifest { sealed: Some(sealed), ..self });
            }
            Err(Unpack::Damaged(message)) => return Err(damaged(message)),
        };
        let body: OpenBody = serde_json::from_slice(&body).map_err(|e| damaged(e.to_string()))?;
        self.sources = body.sources;
        let mut identities = body.identities;
        for content in &mut self.contents {
            content.identity = identities.remove(&content.name);
        }
        self.check_parts(&object)?;
        // What the header does not name, prune would take for needless.
        let header: HashSet<ChunkObject> = sealed.chunks.iter().map(ChunkRef::object).collect();
        if self.chunks().any(|chunk| !header.contains(&chunk.object())) {
            return Err(damaged("its header does not name every chunk of its parts".to_owned()));
        }
        Ok(self)
    }
}

/// What a sealed manifest holds.
#[derive(Serialize)]
struct Body<'a> {
    sources: &'a [SourceRecord],
    identities: BTreeMap<&'a str, &'a str>,
}

#[derive(Deserialize)]
struct OpenBody {
    sources: Vec<SourceRecord>,
    /// Absent in the first versions.
    #[serde(default)]
    identities: BTreeMap<String, String>,
}
