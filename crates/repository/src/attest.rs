//! Attestations: what a check or a rehearsal proved about a snapshot. Each is an object of its own, written once.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt as _};
use serde::{Deserialize, Serialize};

use crate::crypt::Crypt;
use crate::{Error, Repository, SnapshotId};

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttestationKind {
    /// Every byte of the snapshot was read back from the store.
    Check,
    /// The snapshot was restored into private servers and compared.
    Rehearsal,
}

/// One finding about one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Attestation {
    /// What was done.
    pub kind: AttestationKind,
    /// Whether it held.
    pub passed: bool,
    /// When.
    pub at: DateTime<Utc>,
    /// What was found.
    pub details: serde_json::Value,
}

/// `attestations/<snapshot>/<time>-<kind>-<random>.json`
#[derive(Serialize, Deserialize)]
pub(crate) struct Stored {
    format: u64,
    /// Which snapshot it is about, so that it proves nothing of another whose folder it is found in. The first versions
    /// of the tool did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    snapshot: Option<SnapshotId>,
    #[serde(flatten)]
    attestation: Attestation,
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
}

/// Attestations that are read at the same time.
const READS: usize = 8;

/// The snapshot and the file of an attestation's name.
fn split(object: &str) -> Option<(&str, &str)> {
    object.strip_prefix("attestations/")?.split_once('/')
}

impl Repository {
    /// Adds a finding to a snapshot.
    pub async fn attest(&self, id: &SnapshotId, attestation: &Attestation) -> Result<(), Error> {
        let kind = match attestation.kind {
            AttestationKind::Check => "check",
            AttestationKind::Rehearsal => "rehearsal",
        };
        let random = uuid::Uuid::new_v4().as_fields().0;
        let at = attestation.at.format("%Y%m%dT%H%M%SZ");
        let object = format!("attestations/{id}/{at}-{kind}-{random:08x}.json");
        let stored =
            Stored { format: crate::FORMAT, snapshot: Some(id.clone()), attestation: attestation.clone() };
        self.store.put(&object, self.crypt.seal(&object, &stored).into()).await
    }

    /// The newest finding of each kind about every snapshot that has any: one listing, and few documents to read. One
    /// that cannot be read counts as none, and the one before it is taken.
    pub async fn newest_attestations(&self) -> Result<BTreeMap<SnapshotId, Vec<Attestation>>, Error> {
        let mut names: BTreeMap<(SnapshotId, bool), Vec<String>> = BTreeMap::new();
        for meta in self.store.list("attestations").await? {
            let object = meta.location.to_string();
            let Some((id, name)) = split(&object) else { continue };
            let Some(id) = SnapshotId::parse(id) else { continue };
            names.entry((id, name.contains("-rehearsal-"))).or_default().push(object);
        }
        let mut reads = stream::iter(names)
            .map(|((id, _), mut objects)| async move {
                // Names begin with the time, to the second: of one second's the documents themselves decide.
                objects.sort();
                let mut newest: Option<(String, Attestation)> = None;
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
                    if newest.as_ref().is_none_or(|(_, known)| known.at < stored.attestation.at) {
                        newest = Some((second.to_owned(), stored.attestation));
                    }
                }
                Ok::<_, Error>(newest.map(|(_, attestation)| (id, attestation)))
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

    /// Every finding about a snapshot, oldest first. One that cannot be read counts as none: it proves nothing.
    pub async fn attestations(&self, id: &SnapshotId) -> Result<Vec<Attestation>, Error> {
        let mut found = Vec::new();
        for meta in self.store.list(&format!("attestations/{id}")).await? {
            let bytes = self.store.get(meta.location.as_ref()).await?;
            if let Some(Ok(stored)) =
                bytes.map(|bytes| Stored::parse(&self.crypt, meta.location.as_ref(), &bytes))
            {
                found.push(stored.attestation);
            }
        }
        found.sort_by_key(|attestation: &Attestation| attestation.at);
        Ok(found)
    }
}
