//! restore = repository parts -> copy-in streams, then proof.

use anyhow::Context as _;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{StreamExt as _, TryStreamExt as _};
use repository::{Manifest, Part, Repository, SourceRecord};

use crate::config::Kind;
use crate::endpoint::{Connection, Endpoint};
use crate::exit;
use crate::jobs::access::{self, Users};
use crate::jobs::fill::{self, Piece, RowStream, Rows};
use crate::jobs::find::{self, Ask};
use crate::jobs::record::{
    CopyAttributes, PART_AOF, PART_CATALOG, PART_COPY, PART_GLOBALS, PART_RDB, PostgresDetails, kind_of,
    typed,
};
use crate::jobs::series::Series;
use crate::jobs::settings::TargetSettings;
use crate::jobs::{baseline, cluster, data_folder, keys, replacing};
use crate::report::restore::{Proven, RestoreReport, TargetOutcome};
use crate::ui::Progress;

/// Settings of one restore.
pub(crate) struct Restore<'a> {
    /// Where from.
    pub(crate) repository: &'a Repository,
    /// Which snapshot.
    pub(crate) snapshot: &'a str,
    /// Whose snapshots `latest` means.
    pub(crate) series: &'a Series,
    /// Which of its sources, when one is named; else each target takes the only source of its kind.
    pub(crate) source: Option<&'a str>,
    /// Where to.
    pub(crate) targets: &'a [Endpoint],
    /// How targets are filled.
    pub(crate) settings: TargetSettings,
    /// Shows what goes on.
    pub(crate) progress: &'a Progress,
}

/// Restores into every target, one after the other.
pub(crate) async fn run(restore: Restore<'_>) -> anyhow::Result<RestoreReport> {
    let manifests = manifests(&restore).await?;
    // Which source goes where is settled for all targets before the first is touched.
    let mut pairs = Vec::new();
    for (manifest, target) in manifests.iter().zip(restore.targets) {
        pairs.push((manifest, source_for(manifest, restore.source, target.kind())?, target));
    }
    if restore.settings.access && !pairs.iter().any(|(_, source, _)| source.kind == Kind::Redis.as_str()) {
        return Err(exit::usage(
            "--with-acl is for a Redis or Valkey server, and none of the targets is one",
        ));
    }
    let mut outcomes = Vec::new();
    for (manifest, source, target) in pairs {
        let outcome = one(&restore, source, target).await.with_context(|| {
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

/// The snapshot that each target is restored from. They differ where `latest` is another one for each source.
async fn manifests(restore: &Restore<'_>) -> anyhow::Result<Vec<Manifest>> {
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
            "the newest snapshots of the sources are of different moments: {}; to restore one moment, name a snapshot",
            all.join(", ")
        ));
    }
    Ok(manifests)
}

/// Restores one source into one target.
pub(crate) async fn one(
    restore: &Restore<'_>,
    source: &SourceRecord,
    target: &Endpoint,
) -> anyhow::Result<TargetOutcome> {
    match &target.connection {
        Connection::Postgres(options) => postgres(restore, source, target, options).await,
        Connection::Folder(_) => {
            Err(exit::usage("a data folder is only read from; restore into a running server"))
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
        true => Some(Users::tried(access::stored(restore.repository, source).await?, options).await?),
        false => None,
    };
    let mut outcome = if source.parts.iter().any(|part| part.kind == PART_AOF) {
        data_folder::replay(restore.repository, source, options, settings, progress).await?
    } else {
        let parts = cluster::rdb_parts(source)?;
        let open = || cluster::rdb_stream(restore.repository, &parts);
        keys::fill_and_prove(source.name.as_str(), open, known_keys(source), options, settings, progress)
            .await?
    };
    if let Some(users) = users {
        users.make(&mut outcome).await?;
    }
    Ok(outcome)
}

/// How many keys a captured RDB holds, by what was noted with it.
fn known_keys(source: &SourceRecord) -> Option<u64> {
    let databases = source.details.get("databases")?.as_object()?;
    databases.values().map(|database| database.get("keys")?.as_u64()).sum()
}

async fn postgres(
    restore: &Restore<'_>,
    source: &SourceRecord,
    endpoint: &Endpoint,
    options: &pgmove::ConnectOptions,
) -> anyhow::Result<TargetOutcome> {
    let (settings, progress) = (&restore.settings, restore.progress);
    let mut catalog = read_catalog(restore.repository, source).await?;
    let details: PostgresDetails = typed(source.details.clone(), &format!("source `{}`", source.name))?;
    if !details.filter.is_all() {
        progress.warn(format!(
            "source `{}` of this snapshot is not a whole database, only: {}",
            source.name, details.filter
        ));
    }
    catalog.assume_settings(&details.state.settings);
    if !endpoint.filter.is_all() {
        catalog = narrowed(catalog, &endpoint.filter)?;
    }
    let rows = StoredRows::new(restore.repository, source)?;
    if settings.globals {
        let Some(part) = source.parts.iter().find(|part| part.kind == PART_GLOBALS) else {
            return Err(exit::usage(format!(
                "source `{}` of this snapshot holds no roles: it was taken without --globals",
                source.name
            )));
        };
        fill::globals(options, &read_json(restore.repository, part).await?, progress).await?;
    }

    let (target, plan) = fill::prepare(options, &catalog, settings).await?;
    progress.note(format!("restoring `{}` into {}", source.name, target.server()));
    for warning in plan.warnings() {
        progress.warn(warning);
    }
    let wanted = details.tables.iter().filter(|record| plan.takes(&record.table));
    let coming = pgmove::RowCount { rows: wanted.map(|record| record.proof.rows).sum(), exact: true };
    replacing::postgres(options, &catalog, settings, async { Ok(coming) }, progress).await?;
    let read_back = fill::fill(&target, &plan, &catalog, &rows, settings, progress).await?;

    let expected: Vec<_> = details.tables.into_iter().map(|record| (record.table, record.proof)).collect();
    let tables = match settings.proof && settings.postgres.sections.data {
        true => Some(fill::prove(&target, &plan, &expected, &read_back, settings, progress).await?),
        false => None,
    };
    let views = fill::prove_views(&target, &plan, &catalog, &details.materialized_views, settings).await?;
    let schema = fill::prove_schema(&target, &plan, &catalog, settings, progress).await?;
    fill::start_jobs(&target, &plan, tables.as_deref(), schema.as_ref(), progress).await?;
    let verdict = baseline::verdict_for_target(endpoint, progress).await?;
    let proven = Proven { tables, views, schema, baseline: verdict, failures: target.failures() };
    Ok(TargetOutcome::postgres(&source.name, target.server(), proven))
}

/// The part of a stored catalog that is wanted. Rows are stored as they are: no condition can choose among them now.
pub(crate) fn narrowed(catalog: pgmove::Catalog, filter: &pgmove::Filter) -> anyhow::Result<pgmove::Catalog> {
    if let Some(table) = filter.conditions.keys().next() {
        return Err(exit::usage(format!(
            "--where {table}=… chooses rows while they are read from a server, and a snapshot's are stored already: \
             use it with backup or migrate"
        )));
    }
    let unmatched = catalog.unmatched(filter);
    if !unmatched.is_empty() {
        return Err(exit::usage(format!("the snapshot lacks what is asked for: {}", unmatched.join("; "))));
    }
    Ok(catalog.narrowed(filter))
}

/// The rows of a snapshot's PostgreSQL source.
struct StoredRows<'a> {
    repository: &'a Repository,
    parts: Vec<(&'a Part, CopyAttributes)>,
}

impl<'a> StoredRows<'a> {
    fn new(repository: &'a Repository, source: &'a SourceRecord) -> anyhow::Result<StoredRows<'a>> {
        let mut parts = Vec::new();
        for part in source.parts.iter().filter(|part| part.kind == PART_COPY) {
            let value = serde_json::Value::Object(part.attributes.clone());
            parts.push((part, typed(value, &format!("part `{}`", part.name))?));
        }
        Ok(StoredRows { repository, parts })
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

    fn open<'b>(&'b self, piece: &'b Piece) -> BoxFuture<'b, anyhow::Result<RowStream<'b>>> {
        async move {
            let (part, _) = self.parts.get(piece.at).context("a piece that its source does not know")?;
            Ok(self.repository.read_part(part).map_err(anyhow::Error::new).boxed())
        }
        .boxed()
    }
}

/// The catalog that was stored with a PostgreSQL source.
pub(crate) async fn read_catalog(
    repository: &Repository,
    source: &SourceRecord,
) -> anyhow::Result<pgmove::Catalog> {
    read_json(repository, only_part(source, PART_CATALOG)?).await
}

/// A part that is a JSON document.
pub(crate) async fn read_json<T: serde::de::DeserializeOwned>(
    repository: &Repository,
    part: &Part,
) -> anyhow::Result<T> {
    let bytes = match repository.read_whole(part).await {
        Err(error @ repository::Error::TooLarge { .. }) => {
            return Err(anyhow::Error::new(error).context(
                "the snapshot holds a document that is too large: either the repository was damaged or forged, or \
                 `max-in-memory` under [repository] in dbhaul.toml must be raised",
            ));
        }
        other => other?,
    };
    serde_json::from_slice(&bytes)
        .with_context(|| format!("part `{}` is not as this version of dbhaul knows it", part.name))
}

/// The snapshot's source for a target of this kind.
pub(crate) fn source_for<'a>(
    manifest: &'a Manifest,
    named: Option<&str>,
    kind: Kind,
) -> anyhow::Result<&'a SourceRecord> {
    let listed =
        || manifest.sources.iter().map(|s| format!("{} ({})", s.name, s.kind)).collect::<Vec<_>>().join(", ");
    if let Some(name) = named {
        let Some(source) = manifest.sources.iter().find(|source| source.name == name) else {
            return Err(exit::usage(format!(
                "snapshot {} has no source `{name}`; it has: {}",
                manifest.id,
                listed()
            )));
        };
        if kind_of(source)? != kind {
            return Err(exit::usage(format!(
                "source `{name}` is of kind {}, and the target is of kind {}",
                source.kind,
                kind.as_str()
            )));
        }
        return Ok(source);
    }
    let mut candidates = manifest.sources.iter().filter(|source| source.kind == kind.as_str());
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(exit::usage(format!(
            "snapshot {} has no source of kind {}; it has: {}",
            manifest.id,
            kind.as_str(),
            listed()
        ))),
        (Some(_), Some(_)) => Err(exit::usage(format!(
            "snapshot {} has several sources of kind {}: choose with --source NAME --to URL among {}",
            manifest.id,
            kind.as_str(),
            listed()
        ))),
    }
}

/// The one part of this kind.
pub(crate) fn only_part<'a>(source: &'a SourceRecord, kind: &str) -> anyhow::Result<&'a Part> {
    if kind == PART_RDB && source.parts.iter().any(|part| part.kind == PART_AOF) {
        return Err(exit::usage(format!(
            "source `{}` of this snapshot is an append-only file, whose keys are known only by running it: `restore` and \
             `rehearse` do that; then look into, compare or export the server that holds them",
            source.name
        )));
    }
    source.parts.iter().find(|part| part.kind == kind).with_context(|| {
        format!("source `{}` has no part of kind {kind}: the manifest is not whole", source.name)
    })
}
