//! rehearse = restore into servers that the tool starts itself, prove, check the baseline, and attest.

use std::path::PathBuf;

use anyhow::Context as _;
use chrono::Utc;
use repository::{Attestation, AttestationKind, Manifest, Repository, SourceRecord};

use crate::config::{Config, Kind};
use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::jobs::find::{self, Ask};
use crate::jobs::restore::{self, Restore};
use crate::jobs::series::Series;
use crate::jobs::settings::TargetSettings;
use crate::jobs::stage;
use crate::report::restore::RestoreReport;
use crate::ui::Progress;

/// Which baseline a rehearsal is held against.
pub(crate) struct Gate<'a> {
    /// From the command line.
    pub(crate) file: Option<PathBuf>,
    /// From the command line.
    pub(crate) environment: Option<String>,
    /// Where a source's own baseline is found otherwise.
    pub(crate) config: &'a Config,
}

impl Gate<'_> {
    fn apply(&self, source: &SourceRecord, endpoint: &mut Endpoint) {
        let configured = self.config.sources.iter().find(|candidate| candidate.covers(&source.name));
        endpoint.baseline = self.file.clone().or_else(|| {
            configured.and_then(|c| c.baseline.as_ref()).map(|path| self.config.folder.join(path))
        });
        endpoint.environment =
            self.environment.clone().or_else(|| configured.and_then(|c| c.environment.clone()));
    }
}

/// Rehearses every source of one snapshot.
pub(crate) async fn run(
    repository: &Repository,
    series: &Series,
    snapshot: &str,
    gate: &Gate<'_>,
    jobs: usize,
    progress: &Progress,
) -> anyhow::Result<RestoreReport> {
    let manifest = find::snapshot(repository, series, snapshot, Ask::Whole, progress).await?;
    let result = every_source(repository, series, &manifest, gate, jobs, progress).await;
    // A rehearsal that failed is worth knowing too: retention and the list of snapshots show it.
    let (passed, details) = match &result {
        Ok(report) => (report.passed(), serde_json::to_value(report)?),
        Err(error) => (false, serde_json::json!({ "error": Failure::of(error).line() })),
    };
    let attestation = Attestation::new(AttestationKind::Rehearsal, passed, Utc::now(), details);
    repository.attest(&manifest.id, &attestation).await.with_context(|| {
        format!("the rehearsal of {} ended, but its attestation was not stored", manifest.id)
    })?;
    result
}

async fn every_source(
    repository: &Repository,
    series: &Series,
    manifest: &Manifest,
    gate: &Gate<'_>,
    jobs: usize,
    progress: &Progress,
) -> anyhow::Result<RestoreReport> {
    let mut outcomes = Vec::new();
    for source in &manifest.sources {
        progress.note(format!("rehearsing `{}` of {}", source.name, manifest.id));
        let kind = if source.kind == Kind::Redis.as_str() { Kind::Redis } else { Kind::Postgres };
        let private = stage::start_for(kind, source).await?;
        let mut target = private.endpoint(&source.name)?;
        if kind == Kind::Postgres {
            gate.apply(source, &mut target);
        }
        let restore = Restore {
            repository,
            snapshot: manifest.id.as_str(),
            series,
            source: Some(&source.name),
            targets: std::slice::from_ref(&target),
            settings: private_settings(jobs),
            progress,
        };
        let outcome = restore::one(&restore, source, &target)
            .await
            .with_context(|| format!("the rehearsal of `{}` of {} failed", source.name, manifest.id))?;
        outcomes.push(outcome);
        private.stop().await;
    }
    Ok(RestoreReport::new(std::slice::from_ref(manifest), outcomes))
}

/// In a server of our own, the roles that the snapshot names are made: they harm nobody and let owners and grants be
/// rehearsed too.
pub(crate) fn private_settings(jobs: usize) -> TargetSettings {
    let mut settings = TargetSettings { create_roles: true, ..TargetSettings::new(jobs) };
    // Nothing is at risk here, and the proof says how it went.
    settings.postgres.untried_extensions = true;
    settings
}
