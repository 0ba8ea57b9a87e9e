//! snapshots = the repository's manifests and what is attested of each.

use repository::{AttestationKind, Manifest, Repository};

use crate::report::snapshots::{SnapshotRow, SnapshotsReport};

/// Lists every snapshot, oldest first.
pub(crate) async fn run(repository: &Repository, job: Option<&str>) -> anyhow::Result<SnapshotsReport> {
    let attested = repository.newest_attestations().await?;
    let mut rows = Vec::new();
    let visit = |manifest: Manifest| {
        if job.is_some_and(|job| manifest.job != job) {
            return;
        }
        let newest = |kind: AttestationKind| {
            let found = attested.get(&manifest.id).and_then(|found| found.iter().find(|a| a.kind == kind));
            found.map(|a| (a.at, a.passed))
        };
        let row =
            SnapshotRow::new(&manifest, newest(AttestationKind::Check), newest(AttestationKind::Rehearsal));
        rows.push((manifest.taken_at, manifest.id, row));
    };
    let unreadable = repository.visit_snapshots(visit).await?;
    rows.sort_by(|(a, a_id, _), (b, b_id, _)| (a, a_id).cmp(&(b, b_id)));
    Ok(SnapshotsReport { snapshots: rows.into_iter().map(|(_, _, row)| row).collect(), unreadable })
}
