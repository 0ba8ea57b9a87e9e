//! forget = the repository's snapshots -> retention's plan -> tombstones; then prune, for what was forgotten long ago.

use chrono::Utc;
use repository::{Attestation, AttestationKind, Manifest, PruneOptions, PruneReport, Repository, SnapshotId};

use crate::report::forget::ForgetReport;
use crate::ui::Progress;

/// Plans, and unless `dry_run` or the plan is refused, applies the plan.
pub(crate) async fn run(
    repository: &Repository,
    job: &str,
    policy: &retention::Policy,
    max_delete: Option<usize>,
    dry_run: bool,
    progress: &Progress,
) -> anyhow::Result<ForgetReport> {
    let listing = repository.snapshots().await?;
    let mut series = Vec::new();
    for manifest in listing.manifests.iter().filter(|manifest| manifest.job == job) {
        let attestations = repository.attestations(&manifest.id).await?;
        series.push(as_retention_sees_it(manifest, &attestations));
    }
    let guards = retention::Guards {
        unreadable_manifests: listing.unreadable.len(),
        last_deletion_at: repository.last_deletion_at(job).await?,
        max_delete,
    };
    let plan = retention::plan(policy, &series, Utc::now(), &guards)?;
    for warning in &plan.warnings {
        progress.warn(warning.to_string());
    }
    let applied = !dry_run && plan.refused.is_none();
    if applied {
        let goes = |id: &SnapshotId| plan.removed().any(|entry| entry.id == id.as_str());
        let going: Vec<SnapshotId> = listing.manifests.iter().map(|m| m.id.clone()).filter(goes).collect();
        repository.forget(&going, Utc::now()).await?;
    }
    let pruned = if applied { prune(repository, progress).await } else { None };
    Ok(ForgetReport { job: job.to_owned(), applied, plan, pruned })
}

/// Frees what no snapshot needs any more and whose grace is over. A failure costs space, and nothing else: it is told,
/// and the next run tries again.
async fn prune(repository: &Repository, progress: &Progress) -> Option<PruneReport> {
    match repository.prune(&PruneOptions { dry_run: false, now: Utc::now() }).await {
        Ok(report) => Some(report),
        Err(error) => {
            progress.warn(format!(
                "what is no longer needed could not be pruned, and still takes its space: {error}"
            ));
            None
        }
    }
}

/// A manifest and what was attested of it, as the policy sees them. Only a check that read all data counts as one.
fn as_retention_sees_it(manifest: &Manifest, attestations: &[Attestation]) -> retention::Snapshot {
    let newest = |kind: AttestationKind| attestations.iter().rev().find(|a| a.kind == kind).map(|a| a.passed);
    let (check, rehearsal) = (newest(AttestationKind::Check), newest(AttestationKind::Rehearsal));
    retention::Snapshot {
        id: manifest.id.to_string(),
        taken_at: manifest.taken_at,
        complete: manifest.complete,
        // A failed check means damaged data. A failed rehearsal may be the rehearsal's own fault, and condemns nothing.
        known_bad: check == Some(false),
        pinned: false,
        checked: check == Some(true),
        rehearsed: rehearsal == Some(true),
        in_progress: false,
    }
}
