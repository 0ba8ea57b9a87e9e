//! forget = the repository's snapshots -> retention's plan -> tombstones.

use chrono::Utc;
use repository::Repository;

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
        let going: Vec<String> = plan.removed().map(|entry| entry.id.clone()).collect();
        if !going.is_empty() {
            repository.forget(&going).await?;
        }
    }
    Ok(ForgetReport { job: job.to_owned(), applied, plan })
}
