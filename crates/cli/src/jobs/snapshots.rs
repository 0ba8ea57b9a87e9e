//! snapshots = the repository's manifests and what is attested of each.

use repository::{AttestationKind, Repository};

use crate::report::snapshots::{SnapshotRow, SnapshotsReport};

/// Lists every snapshot, oldest first.
pub(crate) async fn run(repository: &Repository, job: Option<&str>) -> anyhow::Result<SnapshotsReport> {
    let listing = repository.snapshots().await?;
    let mut rows = Vec::new();
    for manifest in listing.manifests.iter().filter(|manifest| job.is_none_or(|job| manifest.job == job)) {
        let attestations = repository.attestations(&manifest.id).await?;
        let newest = |kind: AttestationKind| {
            attestations.iter().filter(|a| a.kind == kind).max_by_key(|a| a.at).map(|a| (a.at, a.passed))
        };
        rows.push(SnapshotRow::new(
            manifest,
            newest(AttestationKind::Check),
            newest(AttestationKind::Rehearsal),
        ));
    }
    Ok(SnapshotsReport { snapshots: rows, unreadable: listing.unreadable })
}
