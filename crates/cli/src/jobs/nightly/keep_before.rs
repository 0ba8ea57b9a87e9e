//! Protects the snapshots before a suspicious one, which still contain the missing data: they are pinned in the
//! repository, so that retention on any host keeps them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use repository::{Attestation, AttestationKind, Manifest, Repository, SnapshotHeader, SnapshotId};

use crate::jobs::nightly::plausibility::{self, Limits, SourceCounts, Suspicion};
use crate::jobs::nightly::state::SnapshotCounts;
use crate::jobs::{record, series};
use crate::ui::Progress;

/// A new snapshot, to compare with those before it.
pub(crate) struct Comparison<'a> {
    /// Repository with the snapshots.
    pub(crate) repository: &'a Repository,
    /// Job of the snapshot.
    pub(crate) job: &'a str,
    /// Id of the snapshot.
    pub(crate) snapshot: &'a str,
    /// Its counts.
    pub(crate) now: &'a BTreeMap<String, SourceCounts>,
    /// This host's record of the previous snapshot, for encrypted manifests.
    pub(crate) remembered: &'a SnapshotCounts,
    /// Limits of what may shrink.
    pub(crate) limits: Limits<'a>,
    /// Progress display.
    pub(crate) progress: &'a Progress,
}

/// Result of the comparison, and the snapshots that were pinned.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) suspicions: Vec<Suspicion>,
    pub(crate) pinned: Vec<SnapshotId>,
}

impl Comparison<'_> {
    /// Compares, attests the finding on the snapshot, and pins the newest earlier snapshots that are not suspicious
    /// themselves. A pin that a user removed is not set again.
    pub(crate) async fn run(&self, now: DateTime<Utc>) -> anyhow::Result<Findings> {
        let headers = self.repository.headers().await?.headers;
        let before: Vec<&SnapshotHeader> = headers
            .iter()
            .rev()
            .filter(|header| header.job == self.job && header.id.as_str() != self.snapshot)
            .filter(|header| !series::is_future(header, now) && !record::holds_dump(header))
            .collect();
        let mut manifests: BTreeMap<SnapshotId, Option<Manifest>> = BTreeMap::new();
        let mut findings = Findings::default();
        for (source, counts) in self.now {
            let previous = before.iter().find(|header| header.holds(source) == Some(true));
            let held = match previous {
                Some(header) => {
                    if !manifests.contains_key(&header.id) {
                        let found = self.repository.find(header.id.as_str()).await.ok();
                        manifests.insert(header.id.clone(), found);
                    }
                    self.held(source, header, manifests.get(&header.id).and_then(Option::as_ref))
                }
                None => None,
            };
            if let (Some(previous), None) = (previous, &held) {
                self.progress.note(format!(
                    "source `{source}` was not compared with snapshot {}, which cannot be read on this host",
                    previous.id
                ));
            }
            findings.suspicions.extend(plausibility::suspicions(source, held.as_ref(), counts, self.limits));
        }
        let passed = findings.suspicions.is_empty();
        // Pin before attesting: a run that dies in between must not leave a suspicion without its pin.
        if !passed {
            findings.pinned = self.keep(&findings.suspicions, &before, now).await?;
        }
        let own = headers.iter().find(|header| header.id.as_str() == self.snapshot);
        if let Some(own) = own {
            let details = serde_json::json!({ "suspicions": findings.suspicions });
            let attestation = Attestation::new(AttestationKind::Plausibility, passed, now, details);
            self.repository.attest(&own.id, &attestation).await?;
        }
        Ok(findings)
    }

    fn held(
        &self,
        source: &str,
        header: &SnapshotHeader,
        manifest: Option<&Manifest>,
    ) -> Option<SourceCounts> {
        let read = manifest.and_then(|manifest| manifest.sources.iter().find(|held| held.name == source));
        let remembered = || {
            let is_it = self.remembered.snapshot == header.id.as_str();
            self.remembered.sources.get(source).filter(|_| is_it).cloned()
        };
        read.map(SourceCounts::of).or_else(remembered)
    }

    async fn keep(
        &self,
        suspicions: &[Suspicion],
        before: &[&SnapshotHeader],
        now: DateTime<Utc>,
    ) -> anyhow::Result<Vec<SnapshotId>> {
        let attested = self.repository.newest_attestations().await?;
        let known_bad = self.repository.known_bad(&attested).await?;
        let trusted = |header: &SnapshotHeader| {
            let findings = attested.get(&header.id).map_or(&[][..], Vec::as_slice);
            let doubted = findings.iter().any(|a| a.kind == AttestationKind::Plausibility && !a.passed);
            !doubted && !known_bad.contains(&header.id)
        };
        let pins = self.repository.pins().await?;
        let mut pinned = Vec::new();
        for source in suspicions.iter().map(|suspicion| &suspicion.source) {
            let wanted = before.iter().find(|header| header.holds(source) == Some(true) && trusted(header));
            let Some(header) = wanted.filter(|header| !pinned.contains(&header.id)) else { continue };
            if !pins.contains_key(&header.id) {
                self.repository.pin(&header.id, true, now).await?;
                pinned.push(header.id.clone());
            }
        }
        Ok(pinned)
    }
}
