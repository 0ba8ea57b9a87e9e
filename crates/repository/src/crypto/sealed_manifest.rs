//! Sealing of manifests: in an encrypted repository the sources are encrypted; what pruning and listing need stays
//! readable.

use std::collections::{BTreeMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zstd::bulk::Compressor;

use super::crypt::{Crypt, Unpack};
use crate::format::chunk::ChunkObject;
use crate::format::manifest::Sealed;
use crate::{ChunkRef, Content, Error, Manifest, SourceRecord};

/// Manifests are small compared to the data, and are read often, so they are compressed more.
const BODY_LEVEL: i32 = 9;
/// Limit for a decrypted body: bounds the memory that a malicious store can make us allocate.
const LARGEST_BODY: usize = 512 << 20;

/// The encrypted part of a manifest.
#[derive(Serialize)]
struct Body<'a> {
    sources: &'a [SourceRecord],
    identities: BTreeMap<&'a str, &'a str>,
}

#[derive(Deserialize)]
struct OpenBody {
    sources: Vec<SourceRecord>,
    /// Missing in the first versions.
    #[serde(default)]
    identities: BTreeMap<String, String>,
}

impl Manifest {
    /// Parses a stored manifest without decrypting it.
    pub(crate) fn parse(crypt: &Crypt, object: &str, bytes: &[u8]) -> Result<Manifest, Error> {
        let damaged = |message: String| Error::Damaged { object: object.to_owned(), message };
        let manifest: Manifest = crypt.read(object, bytes)?;
        if crypt.is_encrypted() != manifest.is_sealed()
            || (manifest.is_sealed() && !manifest.sources.is_empty())
        {
            return Err(damaged("it is encrypted but the repository is not, or vice versa".to_owned()));
        }
        manifest.check_parts(object)?;
        manifest.id.check_object(object)?;
        Ok(manifest)
    }

    /// The form stored in an encrypted repository.
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

    /// Decrypts a sealed manifest; an open one is unchanged.
    pub(crate) fn open(self, crypt: &Crypt) -> Result<Manifest, Error> {
        let manifest = self.open_if_possible(crypt)?;
        let what = format!("snapshot {}", manifest.id);
        match manifest.is_sealed() {
            true if crypt.can_read() => Err(Error::OtherRecipients { what }),
            true => Err(Error::Locked { what }),
            false => Ok(manifest),
        }
    }

    /// The same, but a manifest that none of the given identities can decrypt stays sealed.
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
        // Prune considers only the chunks in the header, so it must list all of them.
        let header: HashSet<ChunkObject> = sealed.chunks.iter().map(ChunkRef::object).collect();
        if self.chunks().any(|chunk| !header.contains(&chunk.object())) {
            return Err(damaged("its header does not name every chunk of its parts".to_owned()));
        }
        Ok(self)
    }
}
