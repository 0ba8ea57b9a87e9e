//! Plan: determines what a restore or a migration would do, without writing to the target.

use std::collections::BTreeSet;

use anyhow::Context as _;
use futures::stream::TryStreamExt as _;
use repository::SourceRecord;

use crate::endpoint::{Connection, Endpoint};
use crate::exit;
use crate::jobs::migrate::{LiveRows, Migrate, refuse_itself};
use crate::jobs::postgres::load::{FREEZE_FROM, Piece, Rows};
use crate::jobs::postgres::source::open_source;
use crate::jobs::postgres::statistics;
use crate::jobs::redis::cluster;
use crate::jobs::redis::load::{RdbStream, may_be_full};
use crate::jobs::restore::{Restore, StoredRows, described, known_keys, manifests, pairs, stored_globals};
use crate::jobs::settings::TargetSettings;
use crate::report::plan::{
    Copying, ExistingData, PlanReport, PostgresPlan, RedisPlan, StatisticsPlan, TablePlan, TargetActions,
    TargetPlan,
};
use crate::worded::Worded;

/// The plan of a restore.
pub(crate) async fn of_restore(restore: Restore<'_>) -> anyhow::Result<PlanReport> {
    let manifests = manifests(&restore).await?;
    let mut targets = Vec::new();
    for (manifest, source, target) in pairs(&restore, &manifests)? {
        let plan = match &target.connection {
            Connection::Postgres(options) => stored_postgres(&restore, source, target, options).await,
            Connection::Redis(options) => stored_redis(&restore, source, options).await,
            Connection::Folder(_) => {
                Err(exit::usage("a data folder cannot be a target: name a running server"))
            }
        };
        targets.push(plan.with_context(|| {
            format!("source `{}` of {} cannot be restored into {}", source.name, manifest.id, target.shown())
        })?);
    }
    let ids: std::collections::BTreeSet<String> =
        manifests.iter().map(|manifest| manifest.id.to_string()).collect();
    Ok(PlanReport { from: ids.into_iter().collect::<Vec<_>>().join(", "), targets })
}

/// The plan of a migration.
pub(crate) async fn of_migration(migrate: Migrate<'_>) -> anyhow::Result<PlanReport> {
    let plan = match (&migrate.from.connection, &migrate.to.connection) {
        (Connection::Postgres(from), Connection::Postgres(to)) => live_postgres(&migrate, from, to).await?,
        (Connection::Redis(from), Connection::Redis(to)) => live_redis(&migrate, from, to).await?,
        _ => return Err(exit::usage("--from and --to must be of one kind: both PostgreSQL, or both Redis")),
    };
    Ok(PlanReport { from: migrate.from.shown(), targets: vec![plan] })
}

async fn stored_postgres(
    restore: &Restore<'_>,
    source: &SourceRecord,
    target: &Endpoint,
    options: &pgmove::ConnectOptions,
) -> anyhow::Result<TargetPlan> {
    let (catalog, details) = described(restore, source, target).await?;
    let rows = StoredRows::new(restore.repository, source)?;
    let globals = match restore.settings.globals {
        true => Some(stored_globals(restore, source).await?),
        false => None,
    };
    let known = |table: &pgmove::TableName| {
        details.tables.iter().find(|record| record.table == *table).map(|record| record.proof.rows)
    };
    let binary = BTreeSet::new();
    let described =
        SourceDescription { name: &source.name, catalog: &catalog, globals, binary, known: &known };
    postgres(described, options, &rows, &restore.settings).await
}

async fn live_postgres(
    migrate: &Migrate<'_>,
    from: &pgmove::ConnectOptions,
    to: &pgmove::ConnectOptions,
) -> anyhow::Result<TargetPlan> {
    let (settings, progress) = (&migrate.settings, migrate.progress);
    let source = open_source(from, &migrate.from.filter, settings.jobs, migrate.reading, progress).await?;
    if !settings.create {
        refuse_itself(source.server(), pgmove::connect(to).await?.server())?;
    }
    let globals = match settings.globals {
        true => Some(pgmove::globals::read_globals(from, false).await?),
        false => None,
    };
    let rows = LiveRows::new(&source);
    let name = &migrate.from.name;
    let binary = migrate.binary_tables(&source);
    let described = SourceDescription { name, catalog: source.catalog(), globals, binary, known: &|_| None };
    let plan = postgres(described, to, &rows, settings).await?;
    source.finish().await?;
    Ok(plan)
}

/// What is known of a source before its rows are read.
struct SourceDescription<'a> {
    name: &'a str,
    catalog: &'a pgmove::Catalog,
    globals: Option<pgmove::globals::Globals>,
    /// Tables to copy in binary.
    binary: BTreeSet<pgmove::TableName>,
    /// Returns a table's row count, if the source has it.
    known: &'a (dyn Fn(&pgmove::TableName) -> Option<u64> + Sync),
}

async fn postgres(
    described: SourceDescription<'_>,
    options: &pgmove::ConnectOptions,
    rows: &impl Rows,
    settings: &TargetSettings,
) -> anyhow::Result<TargetPlan> {
    let SourceDescription { name, catalog, globals, binary, known } = described;
    let mut assumed = settings.postgres.clone();
    let roles: Vec<String> =
        globals.iter().flat_map(|globals| &globals.roles).map(|role| role.name.clone()).collect();
    assumed.assumed_roles.extend(roles.iter().cloned());
    let mut reached = options.clone();
    if settings.create {
        pgmove::check_new_database(options, &catalog.database, &assumed).await?;
        // The database does not exist yet: connect to the server's maintenance database.
        reached = reached.with_database("postgres");
        assumed.existing = pgmove::Existing::Beside;
    }
    let target = pgmove::Target::open(&reached, &assumed)
        .await
        .with_context(|| format!("cannot open the target {}", reached.display()))?;
    let mut plan = target.plan(catalog).await?;
    plan.load_binary(&binary);
    statistics::use_in(&mut plan, &target, catalog, rows, settings).await?;
    let pieces: Vec<Piece> = match settings.postgres.sections.data {
        true => rows.pieces().into_iter().filter(|piece| plan.takes(&piece.table)).collect(),
        false => Vec::new(),
    };
    let late = plan.late();
    let loads: Vec<pgmove::Load> = pieces
        .iter()
        .filter(|piece| !late.contains(&piece.table))
        .map(|piece| pgmove::Load { table: piece.table.clone(), bytes: piece.bytes })
        .collect();
    let mut tables = std::collections::BTreeMap::<pgmove::TableName, TablePlan>::new();
    for piece in &pieces {
        let table = tables.entry(piece.table.clone()).or_insert_with(|| TablePlan {
            table: piece.table.clone(),
            rows: known(&piece.table),
            bytes: 0,
            streams: 0,
            copying: Copying::Plain,
            format: plan.copy_format(&piece.table),
            statistics: StatisticsPlan::Collected,
        });
        table.bytes += piece.bytes;
        table.streams += 1;
    }
    for table in tables.values_mut() {
        if plan.imports_statistics(&table.table) {
            table.statistics = StatisticsPlan::Imported;
        }
        table.copying = match plan.routed(&table.table) {
            _ if late.contains(&table.table) => Copying::AfterRefresh,
            Some(through) => Copying::Through { table: through.clone() },
            None if table.streams == 1 && table.bytes >= FREEZE_FROM && plan.may_freeze(&table.table) => {
                Copying::Frozen
            }
            None => Copying::Plain,
        };
    }
    let existing = match settings.postgres.existing {
        _ if settings.create => ExistingData::NewDatabase { name: options.database().to_owned() },
        pgmove::Existing::Clean => {
            ExistingData::Dropped { objects: plan.dropped().map(str::to_owned).collect() }
        }
        pgmove::Existing::Into(pgmove::OnRows::Truncate) => ExistingData::Truncated,
        pgmove::Existing::Resume => {
            ExistingData::Resumed { tables: plan.resumable().iter().map(ToString::to_string).collect() }
        }
        pgmove::Existing::Into(pgmove::OnRows::Append) => ExistingData::AddedTo,
        _ => ExistingData::Empty,
    };
    let server = match settings.create {
        true => format!("{}, new database `{}`", target.server(), options.database()),
        false => target.server().to_string(),
    };
    Ok(TargetPlan {
        source: name.to_owned(),
        server,
        plan: TargetActions::Postgres(PostgresPlan {
            existing,
            index_memory: target.index_memory(),
            roles,
            statements: plan.script().statements.len(),
            tables: tables.into_values().collect(),
            jobs: settings.jobs,
            graph: target.graph(&plan, catalog, &loads, settings.proof && settings.postgres.sections.data),
            verified: settings.proof,
            warnings: plan.warnings().iter().cloned().map(Worded::new).collect(),
        }),
    })
}

async fn stored_redis(
    restore: &Restore<'_>,
    source: &SourceRecord,
    options: &redisdump::ConnectOptions,
) -> anyhow::Result<TargetPlan> {
    let parts = cluster::rdb_parts(source)?;
    let stream = cluster::rdb_stream(restore.repository, &parts);
    redis(&source.name, Some(stream), known_keys(source), options, &restore.settings).await
}

async fn live_redis(
    migrate: &Migrate<'_>,
    from: &redisdump::ConnectOptions,
    to: &redisdump::ConnectOptions,
) -> anyhow::Result<TargetPlan> {
    let settings = &migrate.settings;
    redisdump::refuse_shared_data(from, to, false).await?;
    redisdump::refuse_missing_databases(from, &settings.redis.choice).await?;
    let read = settings.redis.choice.needs_preflight_scan()
        || may_be_full(from, to, settings, migrate.progress).await?
        || !redisdump::takes_all_of(to, from).await?;
    let stream: Option<RdbStream<'_>> = match read {
        true => {
            let capture = redisdump::Capture::start(from, &redisdump::CaptureOptions::default()).await?;
            Some(Box::pin(capture.map_err(anyhow::Error::new)))
        }
        false => None,
    };
    let (_, keys) = redisdump::key_count(from).await?;
    redis(&migrate.from.name, stream, Some(keys), to, settings).await
}

/// Without a stream, the server is already known to accept every value.
async fn redis(
    name: &str,
    stream: Option<RdbStream<'_>>,
    keys: Option<u64>,
    options: &redisdump::ConnectOptions,
    settings: &TargetSettings,
) -> anyhow::Result<TargetPlan> {
    let (server, existing_keys) = redisdump::key_count(options).await?;
    let unsupported = match stream {
        Some(stream) => Some(redisdump::unsupported(stream, options, &settings.redis).await?.1),
        None => None,
    };
    let limit = redisdump::memory_limit(options).await?;
    let existing = match settings.redis.on_existing {
        _ if settings.redis.flush.is_some() => ExistingData::Flushed,
        redisdump::OnExisting::Replace => ExistingData::Replaced,
        redisdump::OnExisting::Skip => ExistingData::Kept,
        redisdump::OnExisting::Refuse => ExistingData::Empty,
    };
    Ok(TargetPlan {
        source: name.to_owned(),
        server: server.to_string(),
        plan: TargetActions::Redis(RedisPlan {
            existing,
            keys: keys.filter(|_| settings.redis.choice.is_all()),
            existing_keys,
            refused: unsupported.as_ref().is_some_and(|unsupported| unsupported.is_serious())
                && !settings.redis.skip_unsupported,
            unsupported: unsupported
                .filter(|unsupported| unsupported.is_serious())
                .map(|unsupported| unsupported.to_string()),
            memory: limit.map(|limit| limit.to_string()),
            verified: settings.proof,
        }),
    })
}
