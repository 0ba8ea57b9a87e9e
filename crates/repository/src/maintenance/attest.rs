//! Attestations: results of checks and rehearsals of a snapshot. Each is an object of its own, written once. The
//! result is public; the details may name tables and quote errors, and are encrypted like a manifest's
//! body in an encrypted repository.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt as _};
use serde::{Deserialize, Serialize};
use zstd::bulk::Compressor;

use crate::crypto::crypt::Crypt;
use crate::{Error, Repository, SnapshotId};

/// Compression level of details, which are small.
const LEVEL: i32 = 9;
/// Limit for decrypted details: bounds the memory that a malicious store can make us allocate.
const LARGEST_DETAILS: usize = 64 << 20;

/// Kind of an attestation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttestationKind {
    /// Every byte of the snapshot was read from the store.
    Check,
    /// The snapshot was restored into private servers and compared.
    Rehearsal,
    /// The snapshot was compared with the previous one: nothing shrank suspiciously, it is not empty, and its schema
    /// meets the baseline. Unknown to the first versions.
    Plausibility,
}

impl AttestationKind {
    /// The kind in an object name.
    fn word(self) -> &'static str {
        match self {
            AttestationKind::Check => "check",
            AttestationKind::Rehearsal => "rehearsal",
            AttestationKind::Plausibility => "plausibility",
        }
    }

    /// Extracts the kind from an object name.
    fn in_name(name: &str) -> &str {
        name.split('-').nth(1).unwrap_or_default()
    }
}

/// A finding about a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Attestation {
    /// The kind.
    pub kind: AttestationKind,
    /// Whether it passed.
    pub passed: bool,
    /// Part of it could not be done, and the rest passed: neither passed nor failed. It does not replace an earlier
    /// finding. Unknown to the first versions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
    /// Time of the finding.
    pub at: DateTime<Utc>,
    /// Details. Null if they are encrypted and no given identity decrypts them.
    pub details: serde_json::Value,
    /// Chunk objects that a check found missing or damaged, to determine later whether all of them were repaired.
    /// Empty if there were too many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

impl Attestation {
    /// A finding without faulty chunks.
    pub fn new(
        kind: AttestationKind,
        passed: bool,
        at: DateTime<Utc>,
        details: serde_json::Value,
    ) -> Attestation {
        Attestation { kind, passed, incomplete: false, at, details, faults: Vec::new() }
    }

    /// A finding that neither passed nor failed.
    pub fn incomplete(kind: AttestationKind, at: DateTime<Utc>, details: serde_json::Value) -> Attestation {
        Attestation { incomplete: true, ..Attestation::new(kind, false, at, details) }
    }
}

/// `attestations/<snapshot>/<time>-<kind>-<random>.json`
#[derive(Serialize, Deserialize)]
pub(crate) struct Stored {
    format: u64,
    /// The snapshot, so that the finding proves nothing about another one whose folder it is moved to. Missing in the
    /// first versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    snapshot: Option<SnapshotId>,
    #[serde(flatten)]
    attestation: Attestation,
    /// The details in an encrypted repository: JSON, compressed by zstd, as an age file, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
}

impl Stored {
    pub(crate) fn parse(crypt: &Crypt, object: &str, bytes: &[u8]) -> Result<Stored, Error> {
        let stored: Stored = crypt.read(object, bytes)?;
        match &stored.snapshot {
            Some(id) if object.split('/').nth(1) != Some(id.as_str()) => Err(Error::Damaged {
                object: object.to_owned(),
                message: format!("it is about snapshot {id}"),
            }),
            _ => Ok(stored),
        }
    }

    fn seal(crypt: &Crypt, id: &SnapshotId, attestation: &Attestation) -> std::io::Result<Stored> {
        let mut attestation = attestation.clone();
        let sealed = if crypt.is_encrypted() {
            let details = serde_json::to_vec(&attestation.details.take())?;
            Some(STANDARD.encode(crypt.pack(&details, &mut Compressor::new(LEVEL)?)?))
        } else {
            None
        };
        Ok(Stored { format: crate::FORMAT, snapshot: Some(id.clone()), attestation, sealed })
    }

    /// The finding, with its details if they can be decrypted here.
    fn open(self, crypt: &Crypt) -> Attestation {
        let open = |sealed: String| {
            let packed = STANDARD.decode(sealed).ok()?;
            let details = crypt.unpack_at_most(&packed, LARGEST_DETAILS).ok()?;
            serde_json::from_slice(&details).ok()
        };
        match self.sealed.filter(|_| crypt.is_encrypted()) {
            Some(sealed) => Attestation { details: open(sealed).unwrap_or_default(), ..self.attestation },
            None => self.attestation,
        }
    }
}

/// The prefix of such an attestation's object name.
pub(crate) fn beginning(id: &SnapshotId, attestation: &Attestation) -> String {
    format!("attestations/{id}/{}-{}-", attestation.at.format("%Y%m%dT%H%M%SZ"), attestation.kind.word())
}

/// Number of attestations to read in parallel.
const READS: usize = 8;

/// Splits an attestation's object name into snapshot and file.
fn split(object: &str) -> Option<(&str, &str)> {
    object.strip_prefix("attestations/")?.split_once('/')
}

impl Repository {
    /// Adds a finding to a snapshot.
    pub async fn attest(&self, id: &SnapshotId, attestation: &Attestation) -> Result<(), Error> {
        let random = uuid::Uuid::new_v4().as_fields().0;
        let object = format!("{}{random:08x}.json", beginning(id, attestation));
        let stored = Stored::seal(&self.crypt, id, attestation).map_err(|e| Error::Damaged {
            object: object.clone(),
            message: format!("it cannot be written: {e}"),
        })?;
        self.store.put(&object, self.crypt.seal(&object, &stored).into()).await
    }

    /// The newest finding of each kind for every snapshot: one listing, and few reads. An unreadable one is ignored,
    /// and an incomplete one counts only if there is no other.
    pub async fn newest_attestations(&self) -> Result<BTreeMap<SnapshotId, Vec<Attestation>>, Error> {
        let mut names: BTreeMap<(SnapshotId, String), Vec<String>> = BTreeMap::new();
        for meta in self.store.list("attestations").await? {
            let object = meta.location.to_string();
            let Some((id, name)) = split(&object) else { continue };
            let Some(id) = SnapshotId::parse(id) else { continue };
            let kind = AttestationKind::in_name(name).to_owned();
            names.entry((id, kind)).or_default().push(object);
        }
        let mut reads = stream::iter(names)
            .map(|((id, _), mut objects)| async move {
                // Names start with the time in seconds; within a second, the documents are compared.
                objects.sort();
                let mut newest: Option<(String, Attestation)> = None;
                let mut incomplete: Option<Attestation> = None;
                while let Some(object) = objects.pop() {
                    let second = split(&object).and_then(|(_, name)| name.split('-').next()).unwrap_or("");
                    if newest.as_ref().is_some_and(|(known, _)| known != second) {
                        break;
                    }
                    let bytes = self.store.get(&object).await?;
                    let Some(Ok(stored)) = bytes.map(|bytes| Stored::parse(&self.crypt, &object, &bytes))
                    else {
                        continue;
                    };
                    if stored.attestation.incomplete {
                        if incomplete.as_ref().is_none_or(|known| known.at < stored.attestation.at) {
                            incomplete = Some(stored.open(&self.crypt));
                        }
                    } else if newest.as_ref().is_none_or(|(_, known)| known.at < stored.attestation.at) {
                        newest = Some((second.to_owned(), stored.open(&self.crypt)));
                    }
                }
                let found = newest.map(|(_, attestation)| attestation).or(incomplete);
                Ok::<_, Error>(found.map(|attestation| (id, attestation)))
            })
            .buffer_unordered(READS);
        let mut found: BTreeMap<SnapshotId, Vec<Attestation>> = BTreeMap::new();
        while let Some(read) = reads.next().await {
            if let Some((id, attestation)) = read? {
                found.entry(id).or_default().push(attestation);
            }
        }
        Ok(found)
    }

    /// The snapshots whose newest check failed, with that finding and its time by the store's clock.
    pub(crate) async fn failed_checks(&self) -> Result<Vec<(SnapshotId, Attestation, DateTime<Utc>)>, Error> {
        let mut checks: BTreeMap<SnapshotId, Vec<(String, DateTime<Utc>)>> = BTreeMap::new();
        for meta in self.store.list("attestations").await? {
            let object = meta.location.to_string();
            let Some((id, name)) = split(&object) else { continue };
            let Some(id) = SnapshotId::parse(id).filter(|_| name.contains("-check-")) else { continue };
            checks.entry(id).or_default().push((object, meta.last_modified));
        }
        let mut reads = stream::iter(checks)
            .map(|(id, mut objects)| async move {
                // By the store's clock, because hosts' clocks may differ by more than the time between two checks.
                objects.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
                while let Some((object, noted)) = objects.pop() {
                    let bytes = self.store.get(&object).await?;
                    let stored = bytes.map(|bytes| Stored::parse(&self.crypt, &object, &bytes));
                    if let Some(Ok(stored)) = stored {
                        return Ok::<_, Error>(Some((id, stored.attestation, noted)));
                    }
                }
                Ok(None)
            })
            .buffer_unordered(READS);
        let mut failed = Vec::new();
        while let Some(newest) = reads.next().await {
            failed.extend(newest?.filter(|(_, check, _)| !check.passed));
        }
        Ok(failed)
    }

    /// All findings about a snapshot, oldest first. An unreadable one is ignored: it proves nothing.
    pub async fn attestations(&self, id: &SnapshotId) -> Result<Vec<Attestation>, Error> {
        let mut found = Vec::new();
        for meta in self.store.list(&format!("attestations/{id}")).await? {
            let bytes = self.store.get(meta.location.as_ref()).await?;
            if let Some(Ok(stored)) =
                bytes.map(|bytes| Stored::parse(&self.crypt, meta.location.as_ref(), &bytes))
            {
                found.push(stored.open(&self.crypt));
            }
        }
        found.sort_by_key(|attestation: &Attestation| attestation.at);
        Ok(found)
    }
}
