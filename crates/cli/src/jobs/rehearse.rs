//! Rehearse: restores into private servers, verifies, checks the baseline, and attests the result.

use std::path::PathBuf;

use anyhow::Context as _;
use chrono::Utc;
use repository::{Attestation, AttestationKind, Manifest, Repository, SourceRecord};

use crate::config::Kind;
use crate::context::Context;
use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::jobs::assertions;
use crate::jobs::find::{self, Ask};
use crate::jobs::parts;
use crate::jobs::record::{WrittenByNewer, kind_of, refuse_dump};
use crate::jobs::restore::{self, Restore};
use crate::jobs::sandboxes::Sandbox;
use crate::jobs::series::Series;
use crate::jobs::settings::TargetSettings;
use crate::jobs::stage::NoSuitableServer;
use crate::report::rehearsal::{AssertionOutcome, NotRehearsed, RehearsalReport};
use crate::report::restore::{RestoreReport, TargetOutcome};
use crate::ui::Progress;

/// The baseline to check against.
pub(crate) struct BaselineSettings<'a> {
    /// From the command line.
    pub(crate) file: Option<PathBuf>,
    /// From the command line.
    pub(crate) environment: Option<String>,
    /// Configuration with the sources' own baselines, sandboxes and assertions.
    pub(crate) context: &'a Context,
}

impl BaselineSettings<'_> {
    fn apply(&self, source: &SourceRecord, endpoint: &mut Endpoint) {
        let configured = self.context.config.sources.iter().find(|candidate| candidate.covers(&source.name));
        endpoint.baseline = self.file.clone().or_else(|| {
            configured.and_then(|c| c.baseline.as_ref()).map(|path| self.context.config.folder.join(path))
        });
        endpoint.environment =
            self.environment.clone().or_else(|| configured.and_then(|c| c.environment.clone()));
    }
}

/// Rehearses every source of a snapshot separately: a source that fails does not stop the others.
pub(crate) async fn run(
    repository: &Repository,
    series: &Series,
    snapshot: &str,
    gate: &BaselineSettings<'_>,
    jobs: usize,
    progress: &Progress,
) -> anyhow::Result<RehearsalReport> {
    match attempt(repository, series, snapshot, gate, jobs, progress).await? {
        // With a single source, its error is the command's.
        (report, Some(error)) if report.sources() == 1 => Err(error),
        (report, _) => Ok(report),
    }
}

/// The same, but a source that fails is part of the report; the last such error is returned too.
pub(crate) async fn attempt(
    repository: &Repository,
    series: &Series,
    snapshot: &str,
    gate: &BaselineSettings<'_>,
    jobs: usize,
    progress: &Progress,
) -> anyhow::Result<(RehearsalReport, Option<anyhow::Error>)> {
    let began = std::time::Instant::now();
    let manifest = find::snapshot(repository, series, snapshot, Ask::Whole, progress).await?;
    refuse_dump(&manifest)?;
    let mut report = RehearsalReport {
        restored: RestoreReport::new(std::slice::from_ref(&manifest), Vec::new()),
        assertions: Vec::new(),
        incomplete: Vec::new(),
        failed: Vec::new(),
        damaged: false,
        seconds: 0.0,
        job: manifest.job.clone(),
        age_seconds: (Utc::now() - manifest.taken_at).num_seconds(),
    };
    let mut last = None;
    for source in &manifest.sources {
        match one(repository, series, &manifest, source, gate, jobs, progress).await {
            Ok((outcome, asked)) => {
                report.restored.targets.push(outcome);
                report.assertions.extend(asked);
            }
            Err(error) => {
                let not = NotRehearsed { source: source.name.clone(), why: Failure::of(&error).line() };
                // Both errors are about this host: they say nothing about the snapshot.
                match error.is::<NoSuitableServer>() || error.is::<WrittenByNewer>() {
                    true => report.incomplete.push(not),
                    false => {
                        report.failed.push(not);
                        let cause = error.chain().find_map(|cause| cause.downcast_ref::<repository::Error>());
                        report.damaged |= cause.is_some_and(repository::Error::is_damaged);
                        last = Some(error);
                    }
                }
            }
        }
    }
    report.seconds = began.elapsed().as_secs_f64();
    // A failed rehearsal is attested too: retention and the list of snapshots show it.
    let (kind, details) = (AttestationKind::Rehearsal, serde_json::to_value(&report)?);
    let attestation = match report.is_incomplete() {
        true => Attestation::incomplete(kind, Utc::now(), details),
        false => Attestation::new(kind, report.passed(), Utc::now(), details),
    };
    // A read-only repository can still be rehearsed.
    if let Err(error) = repository.attest(&manifest.id, &attestation).await {
        progress.warn(format!(
            "the result of this rehearsal was not stored, so retention does not see it: {error}"
        ));
    }
    Ok((report, last))
}

async fn one(
    repository: &Repository,
    series: &Series,
    manifest: &Manifest,
    source: &SourceRecord,
    gate: &BaselineSettings<'_>,
    jobs: usize,
    progress: &Progress,
) -> anyhow::Result<(TargetOutcome, Vec<AssertionOutcome>)> {
    progress.note(format!("rehearsing `{}` of {}", source.name, manifest.id));
    let kind = kind_of(source)?;
    let catalog = match kind {
        Kind::Postgres => Some(parts::read_catalog(repository, source).await?),
        Kind::Redis => None,
    };
    let sandbox = Sandbox::start(kind, source, catalog.as_ref(), gate.context).await?;
    let mut target = sandbox.endpoint(&source.name)?;
    if kind == Kind::Postgres {
        gate.apply(source, &mut target);
    }
    let restore = Restore {
        repository,
        snapshot: manifest.id.as_str(),
        series,
        source: Some(&source.name),
        targets: std::slice::from_ref(&target),
        settings: sandbox.settings(jobs),
        progress,
    };
    let outcome = restore::one(&restore, source, &target)
        .await
        .map_err(|error| target.explain(error))
        .with_context(|| format!("the rehearsal of `{}` of {} failed", source.name, manifest.id));
    let outcome = match outcome {
        Ok(outcome) => Ok((outcome, assertions::ask(&gate.context.config, &source.name, &target).await)),
        Err(error) => Err(error),
    };
    sandbox.stop().await;
    outcome
}

/// Settings for a private server. The roles that the snapshot names are created there, so that owners and grants are
/// rehearsed too.
pub(crate) fn private_settings(jobs: usize) -> TargetSettings {
    let mut settings = TargetSettings { create_roles: true, ..TargetSettings::new(jobs) };
    // Nothing is at risk in a private server, and the verification shows the result.
    settings.postgres.untried_extensions = true;
    settings
}
