//! Snapshots: lists the repository's manifests with their attestations.

use chrono::{DateTime, Utc};
use repository::{AttestationKind, Manifest, Repository};

use crate::jobs::{pin, series};
use crate::report::snapshots::{Dated, SnapshotRow, SnapshotsReport};

/// Lists every snapshot, oldest first.
pub(crate) async fn run(
    repository: &Repository,
    job: Option<&str>,
    policy: Option<&retention::Policy>,
) -> anyhow::Result<SnapshotsReport> {
    let attested = repository.newest_attestations().await?;
    let pins = pin::Pins::read(repository, policy).await?;
    let mut rows = Vec::new();
    let mut jobs = std::collections::BTreeSet::new();
    let now = Utc::now();
    let visit = |manifest: Manifest, stored_at: DateTime<Utc>| {
        jobs.insert(manifest.job.clone());
        if job.is_some_and(|job| manifest.job != job) {
            return;
        }
        let newest = |kind: AttestationKind| {
            let found = attested.get(&manifest.id).and_then(|found| found.iter().find(|a| a.kind == kind));
            found.cloned()
        };
        let (check, rehearsal) = (newest(AttestationKind::Check), newest(AttestationKind::Rehearsal));
        let row = SnapshotRow::new(
            &manifest,
            pins.keep(&manifest.id, &manifest.tags),
            Dated::of(&manifest, stored_at, now),
            check,
            rehearsal,
        );
        rows.push((manifest.taken_at, manifest.id, row));
    };
    let unreadable = repository.visit_snapshots(visit).await?;
    if let Some(job) = job.filter(|job| !jobs.is_empty() && !jobs.contains(*job)) {
        return Err(series::unknown(job, &jobs.iter().map(String::as_str).collect::<Vec<_>>()));
    }
    rows.sort_by(|(a, a_id, _), (b, b_id, _)| (a, a_id).cmp(&(b, b_id)));
    Ok(SnapshotsReport { snapshots: rows.into_iter().map(|(_, _, row)| row).collect(), unreadable })
}
