//! Inspect: lists a snapshot's manifest and stored catalogs.

use repository::{Repository, SourceRecord};

use crate::config::Kind;
use crate::exit;
use crate::jobs::find::{self, Ask};
use crate::jobs::parts::read_catalog;
use crate::jobs::record::{PostgresDetails, typed};
use crate::jobs::redis::cluster;
use crate::jobs::series::Series;
use crate::report::inspect::{InspectReport, SourceInspection};
use crate::ui::Progress;

/// Inspects a snapshot.
pub(crate) async fn run(
    repository: &Repository,
    series: &Series,
    snapshot: &str,
    source: Option<&str>,
    progress: &Progress,
) -> anyhow::Result<InspectReport> {
    let ask = Ask::named_or_whole(source);
    let manifest = find::snapshot(repository, series, snapshot, ask, progress).await?;
    if let Some(name) = source
        && !manifest.sources.iter().any(|source| source.name == name)
    {
        return Err(exit::usage(format!("snapshot {} has no source `{name}`", manifest.id)));
    }
    let mut sources = Vec::new();
    for record in manifest.sources.iter().filter(|record| source.is_none_or(|name| record.name == name)) {
        if record.kind == Kind::Postgres.as_str() {
            let details: PostgresDetails =
                typed(record.details.clone(), &format!("source `{}`", record.name))?;
            let catalog = read_catalog(repository, record).await?;
            sources.push(SourceInspection::postgres(record, details, &catalog));
        } else {
            sources.push(SourceInspection::other(record));
        }
    }
    Ok(InspectReport::new(&manifest, sources))
}

/// The named source, if it is a Redis source. With `only_redis` it must be one, and the name is optional if there is
/// only one.
pub(crate) async fn redis_source(
    repository: &Repository,
    series: &Series,
    snapshot: &str,
    source: Option<&str>,
    only_redis: bool,
    progress: &Progress,
) -> anyhow::Result<Option<SourceRecord>> {
    if source.is_none() && !only_redis {
        return Ok(None);
    }
    let ask = Ask::named_or(source, Kind::Redis);
    let manifest = find::snapshot(repository, series, snapshot, ask, progress).await?;
    let mut redis: Vec<SourceRecord> =
        manifest.sources.into_iter().filter(|source| source.kind == Kind::Redis.as_str()).collect();
    let names: Vec<String> = redis.iter().map(|source| source.name.clone()).collect();
    redis.retain(|found| source.is_none_or(|name| found.name == name));
    match (redis.len(), only_redis) {
        (1, _) | (_, false) => Ok(redis.pop()),
        (0, true) if source.is_none() => {
            Err(exit::usage(format!("snapshot {} has no Redis source", manifest.id)))
        }
        (0, true) => Err(exit::usage(format!(
            "--keys and --csv are for Redis; the Redis sources of snapshot {} are: {}",
            manifest.id,
            names.join(", ")
        ))),
        (_, true) => Err(exit::usage(format!(
            "snapshot {} has several Redis sources, choose one with --source: {}",
            manifest.id,
            names.join(", ")
        ))),
    }
}

/// Inspects the keys of a stored RDB.
pub(crate) async fn redis(
    repository: &Repository,
    source: &SourceRecord,
    options: redisdump::inspect::InspectOptions,
    on_key: &mut (dyn FnMut(&redisdump::inspect::KeyRecord) + Send),
) -> anyhow::Result<redisdump::inspect::Inspection> {
    let stream = cluster::rdb_stream(repository, &cluster::rdb_parts(source)?);
    Ok(redisdump::inspect::inspect_stream(stream, options, on_key, &|_| ()).await?)
}
