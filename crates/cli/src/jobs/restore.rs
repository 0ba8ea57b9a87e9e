//! Restore: streams repository parts into targets, then verifies.

use anyhow::Context as _;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{StreamExt as _, TryStreamExt as _};
use repository::{Manifest, Part, Repository, SourceRecord};

use crate::config::Kind;
use crate::endpoint::{Connection, Endpoint};
use crate::exit;
use crate::jobs::find::{self, Ask};
use crate::jobs::parts::{narrowed, read_catalog, read_json, source_for};
use crate::jobs::postgres::load::{Piece, RowStream, Rows};
use crate::jobs::postgres::resume::StoredProofs;
use crate::jobs::record::{
    CopyAttributes, PART_AOF, PART_COPY, PART_GLOBALS, PART_STATISTICS, PostgresDetails, typed,
};
use crate::jobs::redis::acl::Users;
use crate::jobs::redis::{cluster, data_folder};
use crate::jobs::series::Series;
use crate::jobs::settings::{REDIS_ONLY, RESUME_POSTGRES, TargetSettings};
use crate::jobs::{baseline, replacing};
use crate::jobs::{postgres, redis};
use crate::report::restore::{PostgresOutcome, RestoreReport, TargetOutcome};
use crate::ui::Progress;

/// Settings of a restore.
pub(crate) struct Restore<'a> {
    /// Repository to read.
    pub(crate) repository: &'a Repository,
    /// Snapshot to restore.
    pub(crate) snapshot: &'a str,
    /// Series that `latest` refers to.
    pub(crate) series: &'a Series,
    /// Source to restore; `None` if each target takes the only source of its kind.
    pub(crate) source: Option<&'a str>,
    /// Servers to fill.
    pub(crate) targets: &'a [Endpoint],
    /// How to fill the targets.
    pub(crate) settings: TargetSettings,
    /// Progress display.
    pub(crate) progress: &'a Progress,
}

/// The snapshot and source for each target.
pub(crate) fn pairs<'a>(
    restore: &Restore<'a>,
    manifests: &'a [Manifest],
) -> anyhow::Result<Vec<(&'a Manifest, &'a SourceRecord, &'a Endpoint)>> {
    let mut pairs = Vec::new();
    for (manifest, target) in manifests.iter().zip(restore.targets) {
        pairs.push((manifest, source_for(manifest, restore.source, target.kind())?, target));
    }
    if restore.settings.access && !pairs.iter().any(|(_, source, _)| source.kind == Kind::Redis.as_str()) {
        return Err(exit::usage(
            "--with-acl is for a Redis or Valkey server, and none of the targets is one",
        ));
    }
    let resumes = restore.settings.postgres.existing == pgmove::Existing::Resume;
    if resumes && !restore.targets.iter().all(|target| target.kind() == Kind::Postgres) {
        return Err(exit::usage(RESUME_POSTGRES));
    }
    let redis = restore.targets.iter().any(|target| target.kind() == Kind::Redis);
    if !restore.settings.redis.choice.is_all() && !redis {
        return Err(exit::usage(REDIS_ONLY));
    }
    Ok(pairs)
}

/// Restores into the targets one by one.
pub(crate) async fn run(restore: Restore<'_>) -> anyhow::Result<RestoreReport> {
    let manifests = manifests(&restore).await?;
    // Assigned for all targets before the first is changed.
    let pairs = pairs(&restore, &manifests)?;
    let mut outcomes = Vec::new();
    for (manifest, source, target) in pairs {
        let outcome = one(&restore, source, target)
            .await
            .map_err(|error| target.explain(error))
            .with_context(|| {
                let done: Vec<String> = outcomes.iter().map(|o: &TargetOutcome| o.source.clone()).collect();
                let before = if done.is_empty() {
                    String::new()
                } else {
                    format!(" (restored before it: {})", done.join(", "))
                };
                format!(
                    "source `{}` of {} was not restored into {}{before}",
                    source.name,
                    manifest.id,
                    target.shown()
                )
            })?;
        outcomes.push(outcome);
    }
    Ok(RestoreReport::new(&manifests, outcomes))
}

/// The snapshot for each target. They differ if `latest` selects another one for each source.
pub(crate) async fn manifests(restore: &Restore<'_>) -> anyhow::Result<Vec<Manifest>> {
    let mut manifests: Vec<Manifest> = Vec::new();
    for target in restore.targets {
        let ask = Ask::named_or(restore.source, target.kind());
        let Restore { repository, series, snapshot, progress, .. } = restore;
        manifests.push(find::snapshot(repository, series, snapshot, ask, progress).await?);
    }
    if manifests.windows(2).any(|pair| pair.first().map(|m| &m.id) != pair.last().map(|m| &m.id)) {
        let of = |manifest: &Manifest| {
            format!("{} ({})", manifest.id, manifest.taken_at.format("%Y-%m-%d %H:%M UTC"))
        };
        let all: Vec<String> = manifests.iter().map(of).collect();
        restore.progress.warn(format!(
            "the newest snapshots of the sources were taken at different times: {}; to restore one point in time, name a snapshot",
            all.join(", ")
        ));
    }
    Ok(manifests)
}

/// Restores a source into a target.
pub(crate) async fn one(
    restore: &Restore<'_>,
    source: &SourceRecord,
    target: &Endpoint,
) -> anyhow::Result<TargetOutcome> {
    match &target.connection {
        Connection::Postgres(options) => postgres(restore, source, target, options).await,
        Connection::Folder(_) => {
            Err(exit::usage("a data folder cannot be a target; restore into a running server"))
        }
        Connection::Redis(options) => redis(restore, source, options).await,
    }
}

async fn redis(
    restore: &Restore<'_>,
    source: &SourceRecord,
    options: &redisdump::ConnectOptions,
) -> anyhow::Result<TargetOutcome> {
    let (settings, progress) = (&restore.settings, restore.progress);
    let users = match settings.access {
        true => Some(Users::tried(redis::acl::stored(restore.repository, source).await?, options).await?),
        false => None,
    };
    let mut outcome = if source.parts.iter().any(|part| part.kind == PART_AOF) {
        data_folder::replay(restore.repository, source, options, settings, progress).await?
    } else {
        let parts = cluster::rdb_parts(source)?;
        let open = || cluster::rdb_stream(restore.repository, &parts);
        redis::load::fill_and_prove(
            source.name.as_str(),
            open,
            known_keys(source),
            options,
            settings,
            progress,
        )
        .await?
    };
    if let Some(users) = users {
        users.make(&mut outcome).await?;
    }
    Ok(outcome)
}

/// Number of keys in a captured RDB, as recorded in the manifest.
pub(crate) fn known_keys(source: &SourceRecord) -> Option<u64> {
    let databases = source.details.get("databases")?.as_object()?;
    databases.values().map(|database| database.get("keys")?.as_u64()).sum()
}

/// The stored catalog of a database, filtered.
pub(crate) async fn described(
    restore: &Restore<'_>,
    source: &SourceRecord,
    endpoint: &Endpoint,
) -> anyhow::Result<(pgmove::Catalog, PostgresDetails)> {
    let mut catalog = read_catalog(restore.repository, source).await?;
    let details: PostgresDetails = typed(source.details.clone(), &format!("source `{}`", source.name))?;
    if !details.filter.is_all() {
        restore.progress.warn(format!(
            "source `{}` of this snapshot is only part of a database: {}",
            source.name, details.filter
        ));
    }
    catalog.assume_settings(&details.state.settings);
    if !endpoint.filter.is_all() {
        catalog = narrowed(catalog, &endpoint.filter)?;
    }
    Ok((catalog, details))
}

/// The roles and tablespaces stored with a database.
pub(crate) async fn stored_globals(
    restore: &Restore<'_>,
    source: &SourceRecord,
) -> anyhow::Result<pgmove::globals::Globals> {
    let Some(part) = source.parts.iter().find(|part| part.kind == PART_GLOBALS) else {
        return Err(exit::usage(format!(
            "source `{}` of this snapshot has no roles: it was taken without --globals",
            source.name
        )));
    };
    read_json(restore.repository, part).await
}

async fn postgres(
    restore: &Restore<'_>,
    source: &SourceRecord,
    endpoint: &Endpoint,
    options: &pgmove::ConnectOptions,
) -> anyhow::Result<TargetOutcome> {
    let (settings, progress) = (&restore.settings, restore.progress);
    let (catalog, details) = described(restore, source, endpoint).await?;
    let rows = StoredRows::new(restore.repository, source)?;
    if settings.globals {
        let globals = stored_globals(restore, source).await?;
        postgres::load::globals(options, &globals, progress).await?;
    }

    let (target, mut plan) = postgres::load::prepare(options, &catalog, settings).await?;
    progress.note(format!("restoring `{}` into {}", source.name, target.server()));
    for warning in plan.warnings() {
        progress.warn(warning.to_string());
    }
    let expected: Vec<_> = details.tables.into_iter().map(|record| (record.table, record.proof)).collect();
    let resumed =
        postgres::resume::settle(&target, &mut plan, &StoredProofs(&expected), settings, progress).await?;
    let (kept, resumed) = resumed.unzip();
    postgres::statistics::use_in(&mut plan, &target, &catalog, &rows, settings).await?;
    let wanted = expected.iter().filter(|(table, _)| plan.takes(table) && !plan.keeps(table));
    let coming = pgmove::RowCount { rows: wanted.map(|(_, proof)| proof.rows).sum(), exact: true };
    replacing::postgres(options, &catalog, &plan, settings, async { Ok(coming) }, progress).await?;
    let mut read_back = postgres::load::fill(&target, &plan, &catalog, &rows, settings, progress).await?;
    read_back.extend(kept.into_iter().flatten());

    let tables = match settings.proof && settings.postgres.sections.data {
        true => Some(postgres::load::prove(&target, &plan, &expected, &read_back, settings, progress).await?),
        false => None,
    };
    let views =
        postgres::load::prove_views(&target, &plan, &catalog, &details.materialized_views, settings).await?;
    plan.forget_script();
    let schema = postgres::load::prove_schema(&target, &plan, &catalog, settings, progress).await?;
    if settings.run_jobs {
        postgres::load::start_jobs(&target, &plan, tables.as_deref(), schema.as_ref(), progress).await?;
    }
    let verdict = baseline::check_target(endpoint, progress).await?;
    let failures = target.failures();
    let proven = PostgresOutcome { resumed, tables, views, schema, baseline: verdict, failures };
    Ok(TargetOutcome::postgres(&source.name, target.server(), proven))
}

/// Rows of a snapshot's PostgreSQL source.
pub(crate) struct StoredRows<'a> {
    repository: &'a Repository,
    parts: Vec<(&'a Part, CopyAttributes)>,
    /// Snapshots of the first versions lack it, and those of servers before 18.
    statistics: Option<&'a Part>,
}

impl<'a> StoredRows<'a> {
    pub(crate) fn new(
        repository: &'a Repository,
        source: &'a SourceRecord,
    ) -> anyhow::Result<StoredRows<'a>> {
        let mut parts = Vec::new();
        for part in source.parts.iter().filter(|part| part.kind == PART_COPY) {
            let value = serde_json::Value::Object(part.attributes.clone());
            parts.push((part, typed(value, &format!("part `{}`", part.name))?));
        }
        let statistics = source.parts.iter().find(|part| part.kind == PART_STATISTICS);
        Ok(StoredRows { repository, parts, statistics })
    }
}

impl Rows for StoredRows<'_> {
    fn pieces(&self) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = self
            .parts
            .iter()
            .enumerate()
            .map(|(at, (part, described))| Piece { at, table: described.table.clone(), bytes: part.bytes })
            .collect();
        pieces.sort_by_key(|piece| std::cmp::Reverse(piece.bytes));
        pieces
    }

    fn statistics(&self) -> BoxFuture<'_, anyhow::Result<pgmove::Statistics>> {
        async move {
            match self.statistics {
                Some(part) => read_json(self.repository, part).await,
                None => Ok(pgmove::Statistics::default()),
            }
        }
        .boxed()
    }

    fn open<'b>(&'b self, piece: &'b Piece) -> BoxFuture<'b, anyhow::Result<RowStream<'b>>> {
        async move {
            let (part, _) = self.parts.get(piece.at).context("a piece that its source does not know")?;
            Ok(self.repository.read_part(part).map_err(anyhow::Error::new).boxed())
        }
        .boxed()
    }
}
