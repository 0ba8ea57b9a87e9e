//! rehearse = restore into servers that the tool starts itself, prove, check the baseline, and attest.

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
use crate::jobs::stage::Lacking;
use crate::report::rehearsal::{AssertionOutcome, NotRehearsed, RehearsalReport};
use crate::report::restore::{RestoreReport, TargetOutcome};
use crate::ui::Progress;

/// Which baseline a rehearsal is held against.
pub(crate) struct Gate<'a> {
    /// From the command line.
    pub(crate) file: Option<PathBuf>,
    /// From the command line.
    pub(crate) environment: Option<String>,
    /// Where a source's own baseline is found otherwise, and its sandbox and assertions.
    pub(crate) context: &'a Context,
}

impl Gate<'_> {
    fn apply(&self, source: &SourceRecord, endpoint: &mut Endpoint) {
        let configured = self.context.config.sources.iter().find(|candidate| candidate.covers(&source.name));
        endpoint.baseline = self.file.clone().or_else(|| {
            configured.and_then(|c| c.baseline.as_ref()).map(|path| self.context.config.folder.join(path))
        });
        endpoint.environment =
            self.environment.clone().or_else(|| configured.and_then(|c| c.environment.clone()));
    }
}

/// Rehearses every source of one snapshot, each by itself: what becomes of one says nothing of the others.
pub(crate) async fn run(
    repository: &Repository,
    series: &Series,
    snapshot: &str,
    gate: &Gate<'_>,
    jobs: usize,
    progress: &Progress,
) -> anyhow::Result<RehearsalReport> {
    match attempt(repository, series, snapshot, gate, jobs, progress).await? {
        // With one source its error is the command's.
        (report, Some(error)) if report.sources() == 1 => Err(error),
        (report, _) => Ok(report),
    }
}

/// The same; a source that fails is in the report, and the last such error stands beside it.
pub(crate) async fn attempt(
    repository: &Repository,
    series: &Series,
    snapshot: &str,
    gate: &Gate<'_>,
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
                // Neither says anything of the snapshot: what the rehearsal would have shown is not known.
                match error.is::<Lacking>() || error.is::<WrittenByNewer>() {
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
    // A rehearsal that failed is worth knowing too: retention and the list of snapshots show it.
    let (kind, details) = (AttestationKind::Rehearsal, serde_json::to_value(&report)?);
    let attestation = match report.is_incomplete() {
        true => Attestation::incomplete(kind, Utc::now(), details),
        false => Attestation::new(kind, report.passed(), Utc::now(), details),
    };
    // A repository that may only be read can be rehearsed all the same.
    if let Err(error) = repository.attest(&manifest.id, &attestation).await {
        progress.warn(format!(
            "the result of this rehearsal was not stored, and retention will not know of it: {error}"
        ));
    }
    Ok((report, last))
}

async fn one(
    repository: &Repository,
    series: &Series,
    manifest: &Manifest,
    source: &SourceRecord,
    gate: &Gate<'_>,
    jobs: usize,
    progress: &Progress,
) -> anyhow::Result<(TargetOutcome, Vec<AssertionOutcome>)> {
    progress.note(format!("rehearsing `{}` of {}", source.name, manifest.id));
    let kind = kind_of(source)?;
    let extensions = match kind {
        Kind::Postgres => parts::read_catalog(repository, source).await?.extensions,
        Kind::Redis => Vec::new(),
    };
    let names: Vec<String> = extensions.into_iter().map(|extension| extension.meta.name).collect();
    let sandbox = Sandbox::start(kind, source, &names, gate.context).await?;
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
        .with_context(|| format!("the rehearsal of `{}` of {} failed", source.name, manifest.id));
    let outcome = match outcome {
        Ok(outcome) => Ok((outcome, assertions::ask(&gate.context.config, &source.name, &target).await)),
        Err(error) => Err(error),
    };
    sandbox.stop().await;
    outcome
}

/// In a server of our own, the roles that the snapshot names are made: they harm nobody and let owners and grants be
/// rehearsed too.
pub(crate) fn private_settings(jobs: usize) -> TargetSettings {
    let mut settings = TargetSettings { create_roles: true, ..TargetSettings::new(jobs) };
    // Nothing is at risk here, and the proof says how it went.
    settings.postgres.untried_extensions = true;
    settings
}
