//! Baseline checks, as a command and as part of backups, restores and migrations.

pub(crate) mod migrations;

use std::path::Path;

use anyhow::Context as _;
use pgmove::baseline::{Baseline, CheckOutcome, Observed};
use pgmove::{Catalog, Filter};
use repository::Repository;

use crate::config::Kind;
use crate::endpoint::{Connection, Endpoint};
use crate::exit;
use crate::jobs::parts::{read_catalog, source_for};
use crate::report::baseline::{BaselineReport, CaptureReport};
use crate::ui::Progress;

/// The schema to work on.
pub(crate) enum Subject {
    /// Of a live database.
    Live(Box<Endpoint>),
    /// Stored in a snapshot.
    Stored {
        /// Repository with the snapshot.
        repository: Box<Repository>,
        /// Id of the snapshot.
        snapshot: repository::SnapshotId,
        /// Source of the snapshot, if it has several.
        source: Option<String>,
    },
}

impl Subject {
    /// A description of the subject, and its catalog.
    pub(crate) async fn catalog(&self, filter: &Filter) -> anyhow::Result<(String, Catalog)> {
        match self {
            Subject::Live(endpoint) => live_catalog(endpoint, filter).await,
            Subject::Stored { repository, snapshot, source } => {
                let manifest = repository.find(snapshot.as_str()).await?;
                let source = source_for(&manifest, source.as_deref(), Kind::Postgres)?;
                let of = format!("snapshot {}, source `{}`", manifest.id, source.name);
                let catalog = read_catalog(repository, source).await?;
                narrowed(of, catalog, filter)
            }
        }
    }
}

/// Checks a schema against a baseline.
pub(crate) async fn check(
    subject: &Subject,
    file: &Path,
    environment: Option<&str>,
) -> anyhow::Result<BaselineReport> {
    // Read first, so that errors in the baseline show before a server is contacted.
    let baseline = read(file)?;
    let (of, catalog) = subject.catalog(&Filter::default()).await?;
    let verdict = check_observed(&baseline, file, &Observed::from_catalog(&catalog), environment)?;
    Ok(BaselineReport { of, baseline: file.display().to_string(), verdict })
}

/// Writes a baseline from a schema.
pub(crate) async fn capture(subject: &Subject, filter: &Filter) -> anyhow::Result<CaptureReport> {
    let (of, catalog) = subject.catalog(filter).await?;
    let text = pgmove::baseline::capture(&catalog, &of);
    Ok(CaptureReport { of, text })
}

/// Checks a source during a backup: the outcome is recorded and a failure is reported, but the backup is taken.
pub(crate) fn check_source(
    endpoint: &Endpoint,
    catalog: &pgmove::Catalog,
    progress: &Progress,
) -> anyhow::Result<Option<CheckOutcome>> {
    let Some(file) = &endpoint.baseline else { return Ok(None) };
    let observed = Observed::from_catalog(catalog);
    let outcome = read(file)
        .and_then(|baseline| check_observed(&baseline, file, &observed, endpoint.environment.as_deref()));
    let verdict = match outcome {
        Ok(verdict) => verdict,
        Err(error) => {
            progress
                .warn(format!("`{}` was not checked against its schema baseline: {error}", endpoint.name));
            return Ok(None);
        }
    };
    if !verdict.passed {
        progress.warn(format!("`{}` does not meet its schema baseline:\n{verdict}", endpoint.name));
    }
    Ok(Some(verdict))
}

/// Reads the baseline of a target before anything is written, so that errors in it show first.
pub(crate) fn ready(file: Option<&Path>, environment: Option<&str>) -> anyhow::Result<()> {
    match (file.map(|file| (file, read(file))), environment) {
        (Some((file, baseline)), Some(environment)) => {
            baseline?.knows_environment(environment).map_err(|e| unusable(file, &e))
        }
        (Some((_, baseline)), None) => baseline.map(drop),
        (None, _) => Ok(()),
    }
}

/// Checks a target that has a baseline, reading the live server after it was filled.
pub(crate) async fn check_target(
    endpoint: &Endpoint,
    progress: &Progress,
) -> anyhow::Result<Option<CheckOutcome>> {
    let Some(file) = &endpoint.baseline else { return Ok(None) };
    progress.stage("checking the schema baseline", None);
    let (_, catalog) = live_catalog(endpoint, &Filter::default()).await?;
    let observed = Observed::from_catalog(&catalog);
    check_observed(&read(file)?, file, &observed, endpoint.environment.as_deref()).map(Some)
}

async fn live_catalog(endpoint: &Endpoint, filter: &Filter) -> anyhow::Result<(String, Catalog)> {
    let Connection::Postgres(options) = &endpoint.connection else {
        return Err(exit::usage("a schema baseline is for a PostgreSQL database"));
    };
    let session =
        pgmove::connect(options).await.with_context(|| format!("cannot read {}", options.display()))?;
    let whole = Filter::default();
    let catalog = pgmove::catalog::read(session.client(), session.server().version_num, &whole).await?;
    narrowed(session.server().to_string(), catalog, filter)
}

/// The part of a catalog that a filter selects. A filter that matches nothing is a typing error.
fn narrowed(of: String, catalog: Catalog, filter: &Filter) -> anyhow::Result<(String, Catalog)> {
    let unmatched = catalog.unmatched(filter);
    if !unmatched.is_empty() {
        return Err(exit::usage(format!("{of}: {}", unmatched.join("; "))));
    }
    Ok((of, catalog.narrowed(filter)))
}

/// Adds the file name to errors in a baseline.
fn check_observed(
    baseline: &Baseline,
    file: &Path,
    observed: &Observed,
    environment: Option<&str>,
) -> anyhow::Result<CheckOutcome> {
    pgmove::baseline::check(baseline, observed, environment).map_err(|e| unusable(file, &e))
}

fn unusable(file: &Path, error: &pgmove::baseline::BaselineError) -> anyhow::Error {
    exit::usage(format!("{}: {error}", file.display()))
}

fn read(file: &Path) -> anyhow::Result<Baseline> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| exit::usage(format!("cannot read the baseline {}: {e}", file.display())))?;
    Baseline::parse(&text).map_err(|e| unusable(file, &e))
}
