//! forget = the repository's snapshots -> retention's plan -> tombstones; then prune, for what was forgotten long ago.

use chrono::Utc;
use repository::{
    Attestation, AttestationKind, PruneOptions, PruneReport, Repository, SnapshotHeader, SnapshotId,
};

use crate::jobs::series;
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
    let listing = repository.headers().await?;
    series::require(job, &listing)?;
    // Whichever clock says less: a snapshot that was taken while this host's was ahead shall take no slot.
    let now = repository.store_clock().await.map_or_else(|_| Utc::now(), |store| store.min(Utc::now()));
    let of_job: Vec<&SnapshotHeader> = listing.headers.iter().filter(|header| header.job == job).collect();
    let mut attested = repository.newest_attestations().await?;
    attested.retain(|id, _| of_job.iter().any(|header| header.id == *id));
    // What a check has found may have been mended since, by the very backup that this run follows.
    let known_bad = repository.known_bad(&attested).await?;
    let series: Vec<_> = of_job
        .into_iter()
        .map(|header| {
            let findings = attested.get(&header.id).map_or(&[][..], Vec::as_slice);
            as_retention_sees_it(header, findings, known_bad.contains(&header.id))
        })
        .collect();
    let guards = retention::Guards {
        unreadable_manifests: listing.unreadable.len(),
        last_deletion_at: repository.last_deletion_at(job, &listing, now).await?,
        max_delete,
    };
    let plan = retention::plan(policy, &series, now, &guards)?;
    for warning in &plan.warnings {
        progress.warn(warning.to_string());
    }
    let applied = !dry_run && plan.refused.is_none();
    if applied {
        let goes = |id: &SnapshotId| plan.removed().any(|entry| entry.id == id.as_str());
        let going: Vec<SnapshotId> =
            listing.headers.iter().map(|header| header.id.clone()).filter(goes).collect();
        repository.forget(&going, now).await?;
    }
    let pruned = if applied { prune(repository, progress).await } else { None };
    Ok(ForgetReport { job: job.to_owned(), policy: policy.clone(), applied, plan, pruned })
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

/// A snapshot and the newest that was attested of it, as the policy sees them. Only a check that read all data counts as one.
fn as_retention_sees_it(
    header: &SnapshotHeader,
    attestations: &[Attestation],
    known_bad: bool,
) -> retention::Snapshot {
    let newest = |kind: AttestationKind| attestations.iter().find(|a| a.kind == kind).map(|a| a.passed);
    let (check, rehearsal) = (newest(AttestationKind::Check), newest(AttestationKind::Rehearsal));
    retention::Snapshot {
        id: header.id.to_string(),
        taken_at: header.taken_at,
        stored_at: header.stored_at,
        sources: header
            .contents
            .as_ref()
            .map(|contents| contents.iter().map(|content| content.name.clone()).collect()),
        complete: header.complete,
        // A failed rehearsal may be the rehearsal's own fault, and condemns nothing.
        known_bad,
        pinned: false,
        checked: check == Some(true),
        rehearsed: rehearsal == Some(true),
        in_progress: false,
    }
}
