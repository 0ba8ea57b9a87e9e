//! The schema baseline as a check of its own, and as the gate of backups, restores and migrations.

use std::path::Path;

use anyhow::Context as _;
use pgmove::baseline::{Baseline, Observed, Verdict};
use repository::Repository;

use crate::config::Kind;
use crate::endpoint::{Connection, Endpoint};
use crate::exit;
use crate::jobs::find;
use crate::jobs::restore::{read_catalog, source_for};
use crate::report::baseline::BaselineReport;
use crate::ui::Progress;

/// Checks a live database.
pub(crate) async fn check_live(
    endpoint: &Endpoint,
    file: &Path,
    environment: Option<&str>,
) -> anyhow::Result<BaselineReport> {
    let Connection::Postgres(options) = &endpoint.connection else {
        return Err(exit::usage("a schema baseline is checked against a PostgreSQL database"));
    };
    let baseline = read(file)?;
    let (server, observed) = observe(options).await?;
    let verdict =
        pgmove::baseline::check(&baseline, &observed, environment).map_err(|e| exit::usage(e.to_string()))?;
    Ok(BaselineReport { of: server, baseline: file.display().to_string(), verdict })
}

/// Checks the schema that is stored in a snapshot.
pub(crate) async fn check_snapshot(
    repository: &Repository,
    snapshot: &str,
    source: Option<&str>,
    file: &Path,
    environment: Option<&str>,
) -> anyhow::Result<BaselineReport> {
    let baseline = read(file)?;
    let manifest = find::snapshot(repository, snapshot).await?;
    let source = source_for(&manifest, source, Kind::Postgres)?;
    let catalog = read_catalog(repository, source).await?;
    let observed = Observed::from_catalog(&catalog);
    let verdict =
        pgmove::baseline::check(&baseline, &observed, environment).map_err(|e| exit::usage(e.to_string()))?;
    let of = format!("snapshot {}, source `{}`", manifest.id, source.name);
    Ok(BaselineReport { of, baseline: file.display().to_string(), verdict })
}

/// A backup's gate: the verdict is recorded and a failed one is told, but the backup is taken all the same.
pub(crate) fn verdict_for_source(
    endpoint: &Endpoint,
    catalog: &pgmove::Catalog,
    progress: &Progress,
) -> anyhow::Result<Option<Verdict>> {
    let Some(file) = &endpoint.baseline else { return Ok(None) };
    let verdict = pgmove::baseline::check(
        &read(file)?,
        &Observed::from_catalog(catalog),
        endpoint.environment.as_deref(),
    )
    .map_err(|e| exit::usage(e.to_string()))?;
    if !verdict.passed {
        progress.warn(format!("`{}` does not meet its schema baseline:\n{verdict}", endpoint.name));
    }
    Ok(Some(verdict))
}

/// A target's gate, when the target has a baseline: read from the live server after it was filled.
pub(crate) async fn verdict_for_target(
    endpoint: &Endpoint,
    progress: &Progress,
) -> anyhow::Result<Option<Verdict>> {
    let Some(file) = &endpoint.baseline else { return Ok(None) };
    progress.stage("checking the schema baseline", None);
    let report = check_live(endpoint, file, endpoint.environment.as_deref()).await?;
    Ok(Some(report.verdict))
}

async fn observe(options: &pgmove::ConnectOptions) -> anyhow::Result<(String, Observed)> {
    let session =
        pgmove::connect(options).await.with_context(|| format!("cannot read {}", options.display()))?;
    let observed = Observed::read(session.client(), session.server().version_num).await?;
    Ok((session.server().to_string(), observed))
}

fn read(file: &Path) -> anyhow::Result<Baseline> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| exit::usage(format!("cannot read the baseline {}: {e}", file.display())))?;
    Baseline::parse(&text).map_err(|e| exit::usage(format!("{}: {e}", file.display())))
}
