//! Determines which snapshots are known to be damaged. A check attests its findings; a later backup with the same
//! data may have repaired them, and a repaired snapshot must not be treated as lost.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};

use crate::format::chunk::ChunkObject;
use crate::maintenance::attest::beginning;
use crate::{Attestation, AttestationKind, ChunkRef, Error, Repository, SnapshotId};

/// Results for chunks so far: object, time since when, and state.
type CheckedChunks = HashMap<(ChunkObject, DateTime<Utc>), bool>;

impl Repository {
    /// Among these newest findings ([`Repository::newest_attestations`]), the snapshots known to be damaged: the
    /// check failed, and not every faulty chunk is intact by now. Each of those is checked again: read, or, if data
    /// cannot be read here, tested whether it was written after the finding.
    ///
    /// A repair does not prove a snapshot intact: the rest of it was not checked since.
    pub async fn known_bad(
        &self,
        newest: &BTreeMap<SnapshotId, Vec<Attestation>>,
    ) -> Result<BTreeSet<SnapshotId>, Error> {
        let mut results = CheckedChunks::new();
        let mut bad = BTreeSet::new();
        for (id, findings) in newest {
            let check = findings.iter().find(|finding| finding.kind == AttestationKind::Check);
            if let Some(check) = check.filter(|check| !check.passed)
                && !self.is_repaired(id, check, &mut results).await?
            {
                bad.insert(id.clone());
            }
        }
        Ok(bad)
    }

    /// Chunks that the newest check of a listed snapshot found missing or damaged, with the time of the finding.
    /// Writers reuse none of them. If a failed check did not list its faults, they reuse no chunk of the snapshot.
    pub(crate) async fn damaged_by_checks(&self) -> Result<HashMap<ChunkObject, DateTime<Utc>>, Error> {
        let mut damaged_by_checks: HashMap<ChunkObject, DateTime<Utc>> = HashMap::new();
        for (id, check, noted) in self.failed_checks().await? {
            let blamed: Option<Vec<ChunkObject>> =
                check.faults.iter().map(|name| ChunkObject::parse(name)).collect();
            let objects = match blamed.filter(|blamed| !blamed.is_empty()) {
                Some(blamed) => blamed,
                None => match self.manifest(&id).await {
                    Ok(Some(manifest)) => manifest.chunks().map(ChunkRef::object).collect(),
                    Err(error @ Error::Store { .. }) => return Err(error),
                    Ok(None) | Err(_) => continue,
                },
            };
            for object in objects {
                let at = damaged_by_checks.entry(object).or_insert(noted);
                *at = (*at).max(noted);
            }
        }
        Ok(damaged_by_checks)
    }

    async fn is_repaired(
        &self,
        id: &SnapshotId,
        check: &Attestation,
        results: &mut CheckedChunks,
    ) -> Result<bool, Error> {
        let blamed: HashSet<ChunkObject> =
            check.faults.iter().filter_map(|name| ChunkObject::parse(name)).collect();
        if blamed.is_empty() || blamed.len() != check.faults.len() {
            return Ok(false);
        }
        let Some(at) = self.noted_at(id, check).await? else { return Ok(false) };
        let manifest = match self.manifest(id).await {
            Ok(Some(manifest)) => manifest,
            Ok(None) => return Ok(true),
            Err(error @ Error::Store { .. }) => return Err(error),
            Err(_) => return Ok(false),
        };
        let mut named: HashMap<ChunkObject, ChunkRef> = HashMap::new();
        for chunk in manifest.chunks().filter(|chunk| blamed.contains(&chunk.object())) {
            named.insert(chunk.object(), *chunk);
        }
        for (object, chunk) in named {
            let sound = match results.get(&(object, at)) {
                Some(sound) => *sound,
                None => {
                    let sound = self.is_sound(chunk, at).await?;
                    results.insert((object, at), sound);
                    sound
                }
            };
            if !sound {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The time of a finding, by the store's clock.
    async fn noted_at(&self, id: &SnapshotId, finding: &Attestation) -> Result<Option<DateTime<Utc>>, Error> {
        let beginning = beginning(id, finding);
        let listed = self.store.list(&format!("attestations/{id}")).await?;
        let such = listed.iter().filter(|meta| meta.location.as_ref().starts_with(&beginning));
        Ok(such.map(|meta| meta.last_modified).max())
    }

    async fn is_sound(&self, chunk: ChunkRef, blamed_at: DateTime<Utc>) -> Result<bool, Error> {
        match self.read_chunk(chunk).await {
            Ok(_) => Ok(true),
            // If it cannot be read here, it counts as repaired if it was written after the finding.
            Err(Error::Locked { .. } | Error::OtherRecipients { .. }) => {
                let written = self.store.written_at(&chunk.object().to_string()).await?;
                Ok(written.is_some_and(|written| written > blamed_at))
            }
            // If the store fails to return it, nothing proves that it was repaired.
            Err(_) => Ok(false),
        }
    }
}
