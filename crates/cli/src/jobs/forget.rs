//! Forget: applies retention's plan to the repository as tombstones, then prunes what was forgotten long ago.

use chrono::{DateTime, Utc};
use repository::{
    Attestation, AttestationKind, Headers, PruneOptions, PruneReport, Repository, SnapshotHeader, SnapshotId,
};

use crate::exit;
use crate::failure;
use crate::jobs::{pin, record, series};
use crate::report::forget::{ForgetReport, NamedReport};
use crate::ui::Progress;

/// Plans, and applies the plan unless `dry_run` is set or the plan is refused.
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
    let now = now(repository).await;
    let series = as_series(repository, job, &listing, Some(policy)).await?;
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
        let is_removed = |id: &SnapshotId| plan.removed().any(|entry| entry.id == id.as_str());
        let removed: Vec<SnapshotId> =
            listing.headers.iter().map(|header| header.id.clone()).filter(is_removed).collect();
        repository.forget(&removed, now).await?;
    }
    let pruned = if applied { prune(repository, progress).await } else { None };
    Ok(ForgetReport { job: job.to_owned(), policy: policy.clone(), applied, plan, pruned })
}

/// The snapshots of a job, as retention sees them.
async fn as_series(
    repository: &Repository,
    job: &str,
    listing: &Headers,
    policy: Option<&retention::Policy>,
) -> anyhow::Result<Vec<retention::Snapshot>> {
    let of_job: Vec<&SnapshotHeader> = listing.headers.iter().filter(|header| header.job == job).collect();
    let mut attested = repository.newest_attestations().await?;
    attested.retain(|id, _| of_job.iter().any(|header| header.id == *id));
    // A later backup may have repaired what a check found damaged.
    let known_bad = repository.known_bad(&attested).await?;
    let pins = pin::Pins::read(repository, policy).await?;
    let series = of_job
        .into_iter()
        .map(|header| {
            let findings = attested.get(&header.id).map_or(&[][..], Vec::as_slice);
            let seen = as_retention_sees_it(header, findings, known_bad.contains(&header.id));
            retention::Snapshot { pinned: pins.keep(&header.id, &header.tags), ..seen }
        })
        .collect();
    Ok(series)
}

/// What protects a snapshot from removal by name. Each can be overridden by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Guard {
    /// The newest snapshot of a source
    Newest,
    /// The newest snapshot of a source that passed a check
    Checked,
    /// The newest snapshot of a source that passed a rehearsal
    Rehearsed,
    /// A pinned snapshot
    Pinned,
}

impl Guard {
    fn of(reason: retention::Reason) -> Option<Guard> {
        match reason {
            retention::Reason::Newest => Some(Guard::Newest),
            retention::Reason::Checked => Some(Guard::Checked),
            retention::Reason::Rehearsed => Some(Guard::Rehearsed),
            retention::Reason::Pinned => Some(Guard::Pinned),
            _ => None,
        }
    }
}

/// Forgets these snapshots, all or none. A protected one is refused unless its guard is overridden.
pub(crate) async fn named(
    repository: &Repository,
    wanted: &[String],
    allowed: &[Guard],
    policy: Option<&retention::Policy>,
    dry_run: bool,
) -> anyhow::Result<NamedReport> {
    let mut ids: Vec<SnapshotId> = Vec::new();
    for name in wanted {
        let id = repository.resolve(name).await?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let listing = repository.headers().await?;
    let now = now(repository).await;
    let removed: Vec<&SnapshotHeader> =
        listing.headers.iter().filter(|header| ids.contains(&header.id)).collect();
    let mut jobs: Vec<&str> = removed.iter().map(|header| header.job.as_str()).collect();
    jobs.sort_unstable();
    jobs.dedup();
    let mut refused = Vec::new();
    for job in jobs {
        let series = as_series(repository, job, &listing, policy).await?;
        for entry in retention::protected(&series, now) {
            let reasons = entry
                .reasons
                .iter()
                .filter(|because| Guard::of(because.reason).is_some_and(|guard| !allowed.contains(&guard)));
            let reasons: Vec<String> = reasons.map(ToString::to_string).collect();
            if !reasons.is_empty() && removed.iter().any(|header| header.id.as_str() == entry.id) {
                refused.push(format!("{} of job `{job}`: {}", entry.id, reasons.join(", ")));
            }
        }
    }
    if !refused.is_empty() {
        let error = exit::refused(format!(
            "these snapshots are protected; nothing was removed:\n  {}",
            refused.join("\n  ")
        ));
        return Err(failure::hint(
            error,
            "to remove them all the same, pass --allow newest (checked, rehearsed, pinned)",
        ));
    }
    if !dry_run {
        repository.forget(&ids, now).await?;
    }
    Ok(NamedReport { applied: !dry_run, snapshots: ids })
}

/// The earlier of both clocks, so that a snapshot taken while this host's clock was ahead does not count as past.
async fn now(repository: &Repository) -> DateTime<Utc> {
    repository.store_clock().await.map_or_else(|_| Utc::now(), |store| store.min(Utc::now()))
}

/// Deletes unreferenced data whose grace period is over. A failure only costs space: it is reported, and the next run
/// tries again.
async fn prune(repository: &Repository, progress: &Progress) -> Option<PruneReport> {
    match repository.prune(&PruneOptions { dry_run: false, now: Utc::now() }).await {
        Ok(report) => Some(report),
        Err(error) => {
            progress.warn(format!("unreferenced data was not pruned, and still takes up space: {error}"));
            None
        }
    }
}

/// A snapshot with its newest attestations, as retention sees it. Only a check that read all data counts.
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
        // A failed rehearsal may be the fault of this host, so it does not condemn the snapshot.
        known_bad,
        pinned: false,
        checked: check == Some(true),
        rehearsed: rehearsal == Some(true),
        in_progress: false,
        foreign: record::holds_dump(header),
    }
}
