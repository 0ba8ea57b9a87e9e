//! Compare: streams both sides into digests. A snapshot already contains its digests.

use std::path::PathBuf;

use anyhow::Context as _;
use repository::{Manifest, Repository, SourceRecord};

use crate::config::Kind;
use crate::endpoint::{Connection, Endpoint};
use crate::exit;
use crate::jobs::find::{self, Ask};
use crate::jobs::parts::{read_catalog, source_for};
use crate::jobs::record::{PostgresDetails, kind_of, refuse_dump, typed};
use crate::jobs::redis;
use crate::jobs::redis::{cluster, replay};
use crate::jobs::series::Series;
use crate::jobs::settings::REDIS_ONLY;
use crate::report::compare::CompareReport;
use crate::ui::Progress;

/// Default number of differing keys to list.
const KEYS_SHOWN: usize = 20;

/// Maximum number of rows of a table to look up.
const ROWS_SHOWN: usize = 1000;

/// Settings of a comparison.
pub(crate) struct Compare<'a> {
    /// One side.
    pub(crate) left: Side,
    /// The other.
    pub(crate) right: Side,
    /// Repository with the snapshots, if a side is one.
    pub(crate) repository: Option<&'a Repository>,
    /// Series that `latest` refers to.
    pub(crate) series: Series,
    /// Part of the databases to compare.
    pub(crate) filter: pgmove::Filter,
    /// Which keys of the left side to compare, and how they arrive on the right.
    pub(crate) choice: redisdump::KeyChoice,
    /// Skip rows.
    pub(crate) schema_only: bool,
    /// Compare the settings of the databases.
    pub(crate) database_settings: bool,
    /// What to omit from definitions, and how to map roles of the left side.
    pub(crate) render: pgmove::ddl::RenderOptions,
    /// Connections per side.
    pub(crate) jobs: usize,
    /// Lock timeout.
    pub(crate) lock_wait: Option<std::time::Duration>,
    /// Number of differing keys, or of differing rows per table, to list; `None` for the default.
    pub(crate) show: Option<usize>,
    /// Progress display.
    pub(crate) progress: &'a Progress,
}

impl<'a> Compare<'a> {
    /// Compares two servers completely.
    #[cfg(feature = "demo")]
    pub(crate) fn servers(
        left: &Endpoint,
        right: &Endpoint,
        jobs: usize,
        show: usize,
        progress: &'a Progress,
    ) -> Compare<'a> {
        Compare {
            left: Side::Server(Box::new(left.clone())),
            right: Side::Server(Box::new(right.clone())),
            repository: None,
            series: Series::default(),
            filter: pgmove::Filter::default(),
            choice: redisdump::KeyChoice::default(),
            schema_only: false,
            database_settings: false,
            render: pgmove::ddl::RenderOptions::default(),
            jobs,
            lock_wait: pgmove::SourceOptions::default().lock_timeout,
            show: Some(show),
            progress,
        }
    }
}

/// A side of the comparison.
pub(crate) enum Side {
    /// A server.
    Server(Box<Endpoint>),
    /// A source of a snapshot; if none is named, the only one of its kind.
    Snapshot {
        /// Its id, or `latest`.
        snapshot: String,
        /// Name of the source.
        source: Option<String>,
    },
    /// An RDB file.
    File(PathBuf),
}

/// Compares two sides of one kind completely. Neither is written to.
pub(crate) async fn run(compare: Compare<'_>) -> anyhow::Result<CompareReport> {
    let explain = |error, side: &Side| match side {
        Side::Server(server) => server.explain(error),
        Side::Snapshot { .. } | Side::File(_) => error,
    };
    let report = one(&compare).await;
    report.map_err(|error| explain(explain(error, &compare.left), &compare.right))
}

async fn one(compare: &Compare<'_>) -> anyhow::Result<CompareReport> {
    match kind(compare).await? {
        Kind::Postgres if !compare.choice.is_all() => Err(exit::usage(REDIS_ONLY)),
        Kind::Postgres if compare.show.is_some_and(|show| show > ROWS_SHOWN) => {
            Err(exit::usage(format!("--show lists at most {ROWS_SHOWN} rows of each PostgreSQL table")))
        }
        Kind::Postgres => postgres(compare).await,
        Kind::Redis
            if compare.schema_only
                || compare.database_settings
                || !compare.filter.is_all()
                || compare.render != pgmove::ddl::RenderOptions::default() =>
        {
            Err(exit::usage(
                "--schema-only, --table, --no-owner and similar options are for PostgreSQL databases",
            ))
        }
        Kind::Redis => redis(compare).await,
    }
}

/// The kind of both sides: that of the servers, otherwise that of a named source, otherwise PostgreSQL if there is
/// such a source.
async fn kind(compare: &Compare<'_>) -> anyhow::Result<Kind> {
    let mut kinds = Vec::new();
    for side in [&compare.left, &compare.right] {
        match side {
            Side::Server(endpoint) => kinds.push(endpoint.kind()),
            Side::Snapshot { snapshot, source: Some(name) } => {
                let manifest = manifest(compare, snapshot, Ask::Source(name)).await?;
                refuse_dump(&manifest)?;
                let source = manifest.sources.iter().find(|source| source.name == *name);
                let source = source
                    .ok_or_else(|| exit::usage(format!("snapshot {} has no source `{name}`", manifest.id)))?;
                kinds.push(kind_of(source)?);
            }
            Side::Snapshot { .. } => {}
            Side::File(_) => kinds.push(Kind::Redis),
        }
    }
    match kinds.as_slice() {
        [one, other] if one != other => {
            Err(exit::usage("the two sides must be of one kind: both PostgreSQL, or both Redis"))
        }
        [one, ..] => Ok(*one),
        [] => Ok(Kind::Postgres),
    }
}

async fn manifest(compare: &Compare<'_>, snapshot: &str, ask: Ask<'_>) -> anyhow::Result<Manifest> {
    let repository = compare.repository.context("no repository is open")?;
    find::snapshot(repository, &compare.series, snapshot, ask, compare.progress).await
}

/// The manifest and the source that a side refers to.
async fn stored(
    compare: &Compare<'_>,
    snapshot: &str,
    source: Option<&str>,
    kind: Kind,
) -> anyhow::Result<(Manifest, SourceRecord)> {
    let manifest = manifest(compare, snapshot, Ask::named_or(source, kind)).await?;
    let source = source_for(&manifest, source, kind)?.clone();
    Ok((manifest, source))
}

async fn postgres(compare: &Compare<'_>) -> anyhow::Result<CompareReport> {
    let what = if compare.schema_only { "comparing the schemas" } else { "comparing row by row" };
    compare.progress.stage(what, None);
    let sides = (side(compare, &compare.left).await?, side(compare, &compare.right).await?);
    let options = pgmove::CompareOptions {
        jobs: compare.jobs,
        filter: compare.filter.clone(),
        schema_only: compare.schema_only,
        database_settings: compare.database_settings,
        render: compare.render.clone(),
        lock_timeout: compare.lock_wait,
        // Rows may contain data that must not end up in logs: they are listed only on request.
        show_rows: compare.show.unwrap_or(0),
    };
    let note = |event: &pgmove::TableComparison| compare.progress.note(event.to_string());
    let comparison = pgmove::compare_sides(sides.0, sides.1, &options, &note).await?;
    Ok(CompareReport::Postgres(Box::new(comparison)))
}

async fn side<'a>(compare: &Compare<'_>, side: &'a Side) -> anyhow::Result<pgmove::Side<'a>> {
    match side {
        Side::Server(endpoint) => match &endpoint.connection {
            Connection::Postgres(options) => Ok(pgmove::Side::Live(options)),
            Connection::Redis(_) | Connection::Folder(_) => {
                Err(exit::usage("a PostgreSQL database was expected"))
            }
        },
        Side::File(_) => Err(exit::usage("a PostgreSQL database was expected")),
        Side::Snapshot { snapshot, source } => {
            let (manifest, source) = stored(compare, snapshot, source.as_deref(), Kind::Postgres).await?;
            let catalog = read_catalog(compare.repository.context("no repository is open")?, &source).await?;
            let details: PostgresDetails =
                typed(source.details.clone(), &format!("source `{}`", source.name))?;
            if !details.filter.is_all() {
                compare.progress.warn(format!(
                    "source `{}` of snapshot {} is only part of a database: {}",
                    source.name, manifest.id, details.filter
                ));
            }
            Ok(pgmove::Side::Stored(Box::new(pgmove::Stored {
                label: format!("snapshot {}, source {}", manifest.id, source.name),
                catalog,
                tables: details.tables.into_iter().map(|record| (record.table, record.proof)).collect(),
                views: details
                    .materialized_views
                    .into_iter()
                    .filter_map(|record| Some((record.view, record.proof?)))
                    .collect(),
            })))
        }
    }
}

async fn redis(compare: &Compare<'_>) -> anyhow::Result<CompareReport> {
    let progress = compare.progress;
    progress.stage("comparing key by key, both ways", None);
    let task = progress.task("keys", None, "keys");
    let options = redisdump::CompareOptions {
        show: compare.show.unwrap_or(KEYS_SHOWN),
        choice: compare.choice.clone(),
        only_selected: true,
        ..redisdump::CompareOptions::default()
    };
    let on_progress = |at: redisdump::Progress| task.reached(at.bytes, at.keys);
    let connection = |endpoint: &'_ Endpoint| match &endpoint.connection {
        Connection::Redis(options) => Ok((**options).clone()),
        Connection::Postgres(_) | Connection::Folder(_) => Err(exit::usage("a Redis server was expected")),
    };
    let comparison = match (&compare.left, &compare.right) {
        (Side::Server(left), Side::Server(right)) => {
            redisdump::compare(&connection(left)?, &connection(right)?, &options, &on_progress).await?
        }
        (Side::Server(_), Side::Snapshot { .. } | Side::File(_)) if !compare.choice.is_all() => {
            return Err(exit::usage(
                "--key, --db, --rename and --ttl refer to the left side: name the snapshot or the file first",
            ));
        }
        (Side::Snapshot { snapshot, source }, Side::Server(server))
        | (Side::Server(server), Side::Snapshot { snapshot, source }) => {
            let (_, source) = stored(compare, snapshot, source.as_deref(), Kind::Redis).await?;
            let repository = compare.repository.context("no repository is open")?;
            let stream = cluster::rdb_stream(repository, &cluster::rdb_parts(&source)?);
            redisdump::prove(stream, &connection(server)?, &options, &on_progress).await?
        }
        (Side::File(path), Side::Server(server)) | (Side::Server(server), Side::File(path)) => {
            let replay::FileContent::Rdb(rdb) = replay::look(path).await? else {
                return Err(exit::usage(format!(
                    "{} is an append-only file, whose keys are only known after a replay: `dbhaul restore` it into a \
                     server, and compare that one",
                    path.display()
                )));
            };
            let stream = redis::load::file(&rdb);
            let found = redisdump::prove(stream, &connection(server)?, &options, &on_progress).await?;
            redisdump::Comparison { left: rdb.display().to_string(), ..found }
        }
        _ => {
            return Err(exit::usage(
                "two snapshots or files of Redis are not compared with each other: compare each with a server, or restore \
                 one",
            ));
        }
    };
    task.finish();
    Ok(CompareReport::Redis(Box::new(comparison)))
}
