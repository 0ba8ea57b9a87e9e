//! Fills a PostgreSQL target and verifies it. `restore` and `migrate` differ only in where the rows come from: see
//! [`Rows`].

use std::collections::HashMap;

use anyhow::Context as _;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};

use crate::exit::{self, Exit};
use crate::failure;
use crate::jobs::postgres::source::sum_by_table;
use crate::jobs::record::ViewRecord;
use crate::jobs::settings::TargetSettings;
use crate::report::tables::{TableOutcome, ViewOutcome};
use crate::ui::{Progress, duration};

/// A stream of a table's rows, not yet opened.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    /// Index that identifies the stream at its source.
    pub(crate) at: usize,
    /// Table of the rows.
    pub(crate) table: pgmove::TableName,
    /// Approximate size in bytes.
    pub(crate) bytes: u64,
}

/// After this time, the sessions that block the run are named in a warning.
const LOCK_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// Minimum size of a table to load it with `COPY FREEZE`.
pub(crate) const FREEZE_FROM: u64 = 1 << 20;

/// Minimum size of a table that dominates a database to load it on several connections.
const SHARE_FROM: u64 = 16 << 20;

/// How to load a stream.
#[derive(Debug, Clone, Copy)]
enum LoadMethod {
    /// On every idle connection.
    Shared,
    /// The only stream of its table: with FREEZE.
    Whole,
    /// One of several streams of a table.
    Part,
}

/// Tables that were read back while others were loaded.
pub(crate) type ReadBack = std::collections::BTreeMap<pgmove::TableName, pgmove::TableProof>;

/// A stream of COPY text.
pub(crate) type RowStream<'a> = BoxStream<'a, anyhow::Result<Bytes>>;

/// A source of rows.
pub(crate) trait Rows: Sync {
    /// Every piece of every table, largest first.
    fn pieces(&self) -> Vec<Piece>;
    /// The position of the piece to read next, if another session waits for its table.
    fn urgent(&self, _pieces: &mut dyn Iterator<Item = &Piece>) -> Option<usize> {
        None
    }
    /// The planner's statistics of the tables, as far as they are known.
    fn statistics(&self) -> BoxFuture<'_, anyhow::Result<pgmove::Statistics>>;
    /// Opens one piece.
    fn open<'a>(&'a self, piece: &'a Piece) -> BoxFuture<'a, anyhow::Result<RowStream<'a>>>;
}

/// Creates the global objects that the target's server lacks.
pub(crate) async fn globals(
    options: &pgmove::ConnectOptions,
    globals: &pgmove::globals::Globals,
    progress: &Progress,
) -> anyhow::Result<()> {
    progress.stage("creating roles and tablespaces", None);
    let report = pgmove::globals::apply_globals(options, globals).await?;
    if !report.there.is_empty() {
        progress.note(format!("exists, not changed: {}", report.there.join(", ")));
    }
    for what in &report.left_out {
        progress.warn(format!("left out: {what}"));
    }
    Ok(())
}

/// Opens a target and finds every conflict before anything is written.
pub(crate) async fn prepare(
    options: &pgmove::ConnectOptions,
    catalog: &pgmove::Catalog,
    settings: &TargetSettings,
) -> anyhow::Result<(pgmove::Target, pgmove::RestorePlan)> {
    if settings.create {
        pgmove::create_database(options, &catalog.database, &settings.postgres).await?;
        let prepared = connect_and_plan(options, catalog, settings).await;
        if prepared.is_err() {
            // The database is still empty; drop it, so that the next attempt can create it again.
            pgmove::drop_created_database(options).await?;
        }
        return prepared;
    }
    connect_and_plan(options, catalog, settings).await
}

async fn connect_and_plan(
    options: &pgmove::ConnectOptions,
    catalog: &pgmove::Catalog,
    settings: &TargetSettings,
) -> anyhow::Result<(pgmove::Target, pgmove::RestorePlan)> {
    let target = pgmove::Target::open(options, &settings.postgres)
        .await
        .with_context(|| format!("cannot open the target {}", options.display()))?;
    if settings.create_roles {
        target.create_missing_roles(catalog).await?;
    }
    let plan = target.plan(catalog).await?;
    Ok((target, plan))
}

/// Creates the schema, loads rows, and creates indexes and constraints, in that order. Rows and indexes use all
/// connections. After an error, the target is incomplete.
pub(crate) async fn fill(
    target: &pgmove::Target,
    plan: &pgmove::RestorePlan,
    catalog: &pgmove::Catalog,
    rows: &impl Rows,
    settings: &TargetSettings,
    progress: &Progress,
) -> anyhow::Result<ReadBack> {
    let blocked = |note: String| progress.warn(note);
    let watch = target.name_lock_holders(LOCK_TIMEOUT, &blocked);
    let work = sections(target, plan, catalog, rows, settings, progress);
    told_who_is_in_the_way(work, watch).await.map_err(|error| {
        if exit::code_of(&error) == Exit::Refused {
            // Refused by a rule, before anything was written.
            return error;
        }
        failure::hint(
            error.context(format!("{} is incomplete: loading it failed", target.server())),
            "the source was not changed; run the command again with --resume, or clear the target first",
        )
    })
}

/// Runs the work together with the watcher, which reports sessions that block it.
async fn told_who_is_in_the_way<T>(work: impl Future<Output = T>, watch: impl Future<Output = ()>) -> T {
    let (mut work, watch) = (std::pin::pin!(work), std::pin::pin!(watch));
    match futures::future::select(&mut work, watch).await {
        futures::future::Either::Left((done, _)) => done,
        // The watcher has ended; nothing more can be reported.
        futures::future::Either::Right(((), _)) => work.await,
    }
}

async fn sections(
    target: &pgmove::Target,
    plan: &pgmove::RestorePlan,
    catalog: &pgmove::Catalog,
    rows: &impl Rows,
    settings: &TargetSettings,
    progress: &Progress,
) -> anyhow::Result<ReadBack> {
    progress.stage("creating schemas, types and tables", None);
    target.pre_data(plan).await?;

    let data = settings.postgres.sections.data;
    let (late, pieces): (Vec<Piece>, Vec<Piece>) = {
        let late = plan.late();
        let pieces = rows
            .pieces()
            .into_iter()
            .filter(|piece| data && plan.takes(&piece.table) && !plan.keeps(&piece.table));
        pieces.partition(|piece| late.contains(&piece.table))
    };
    let read_back = settings.proof && data;
    let loads: Vec<pgmove::Load> =
        pieces.iter().map(|piece| pgmove::Load { table: piece.table.clone(), bytes: piece.bytes }).collect();
    let graph = target.graph(plan, catalog, &loads, read_back);
    progress.stage(
        "loading rows, building indexes and constraints",
        Some(loads.iter().map(|load| load.bytes).sum()),
    );
    let total: u64 = pieces.iter().map(|piece| piece.bytes).sum();
    let shares = settings.jobs > 1
        && settings.postgres.on_error == pgmove::OnError::Stop
        && !matches!(settings.postgres.existing, pgmove::Existing::Into(_));
    let mut streams_of: HashMap<&pgmove::TableName, usize> = HashMap::new();
    pieces.iter().for_each(|piece| *streams_of.entry(&piece.table).or_default() += 1);
    let load = |stream: usize| {
        let piece = pieces.get(stream)?;
        let method = match streams_of.get(&piece.table) {
            Some(1) if shares && piece.bytes >= SHARE_FROM && piece.bytes * settings.jobs as u64 >= total => {
                LoadMethod::Shared
            }
            // Truncating a small table first takes longer than FREEZE saves.
            Some(1) if piece.bytes >= FREEZE_FROM => LoadMethod::Whole,
            _ => LoadMethod::Part,
        };
        Some(load_piece(target, plan, rows, piece, method, progress).boxed())
    };
    let urgent = |ready: &mut dyn Iterator<Item = usize>| {
        let mut seen = Vec::new();
        let ready = ready.filter_map(|at| pieces.get(at).inspect(|_| seen.push(at)));
        rows.urgent(&mut { ready }).and_then(|at| seen.get(at).copied())
    };
    let on_event = |event: pgmove::RestoreEvent| progress.note(event.to_string());
    let outcome = target.run_graph(plan, &graph, &load, &urgent, &on_event).await?;
    progress.note(spent(&outcome.spent));
    target.post_data(plan, &|event| progress.note(event.to_string())).await?;

    if data {
        for table in plan.late() {
            let pieces: Vec<Piece> = late.iter().filter(|piece| piece.table == table).cloned().collect();
            let bytes = pieces.iter().map(|piece| piece.bytes).sum();
            progress.stage(&format!("loading continuous aggregate {table}"), Some(bytes));
            target.open_late(plan, &table).await?;
            stream::iter(&pieces)
                .map(|piece| load_piece(target, plan, rows, piece, LoadMethod::Part, progress))
                .buffer_unordered(settings.jobs)
                .try_collect::<()>()
                .await?;
            target.close_late(plan, &table).await?;
        }
    }

    progress.stage("finishing", None);
    target.finish(plan, &|event| progress.note(event.to_string())).await?;
    Ok(outcome.read_back)
}

/// Loads a stream.
async fn load_piece(
    target: &pgmove::Target,
    plan: &pgmove::RestorePlan,
    rows: &impl Rows,
    piece: &Piece,
    method: LoadMethod,
    progress: &Progress,
) -> anyhow::Result<()> {
    let task = progress.task(piece.table.to_string(), Some(piece.bytes), "rows");
    let stream = rows.open(piece).await?;
    let counted = stream.inspect_ok(|chunk| task.advance(chunk.len() as u64, 0));
    let copied = match method {
        LoadMethod::Shared => target.copy_in_shared(plan, &piece.table, counted).await?,
        LoadMethod::Whole => target.copy_in_whole(plan, &piece.table, counted).await?,
        LoadMethod::Part => target.copy_in(plan, &piece.table, counted).await?,
    };
    task.advance(0, copied);
    task.finish();
    Ok(())
}

/// Time spent per phase, on one line.
fn spent(spent: &pgmove::TimeSpent) -> String {
    format!(
        "{} over all connections: load {}, index {}, constraint {}, analyze {}, read back {}, idle {}",
        duration(spent.wall),
        duration(spent.load),
        duration(spent.index),
        duration(spent.constraint),
        duration(spent.analyze),
        duration(spent.read_back),
        duration(spent.idle)
    )
}

/// Reads the schema back, except for parts that were not restored.
pub(crate) async fn prove_schema(
    target: &pgmove::Target,
    plan: &pgmove::RestorePlan,
    catalog: &pgmove::Catalog,
    settings: &TargetSettings,
    progress: &Progress,
) -> anyhow::Result<Option<pgmove::SchemaProof>> {
    if !settings.proof {
        return Ok(None);
    }
    progress.stage("verifying: reading the schema back", None);
    Ok(Some(target.prove_schema(plan, catalog).await?))
}

/// Reads back every table not read yet, and compares each with what was expected.
pub(crate) async fn prove(
    target: &pgmove::Target,
    plan: &pgmove::RestorePlan,
    expected: &[(pgmove::TableName, pgmove::TableProof)],
    read_back: &ReadBack,
    settings: &TargetSettings,
    progress: &Progress,
) -> anyhow::Result<Vec<TableOutcome>> {
    // If rows may go to other partitions than at the source, only the totals over all partitions are equal.
    let expected = expected.iter().filter(|(table, _)| plan.takes(table));
    let expected = sum_by_table(expected.map(|(table, proof)| (plan.proven_as(table), proof)));
    let open = expected.iter().filter(|(table, _)| !read_back.contains_key(table));
    progress.stage("verifying: reading every table back", Some(open.map(|(_, p)| p.bytes).sum()));
    let mut outcomes: Vec<TableOutcome> = stream::iter(&expected)
        .map(|(table, expected)| async move {
            if let Some(found) = read_back.get(table) {
                return Ok(TableOutcome::new(table, *expected, *found));
            }
            let task = progress.task(format!("verified {table}"), Some(expected.bytes), "rows");
            let found = match target.prove(plan, table).await {
                // The failure list already contains this error.
                Err(pgmove::Error::Server { .. }) if !target.failures().is_empty() => {
                    pgmove::TableProof::default()
                }
                found => found?,
            };
            task.advance(found.bytes, found.rows);
            task.finish();
            anyhow::Ok(TableOutcome::new(table, *expected, found))
        })
        .buffer_unordered(settings.jobs)
        .try_collect()
        .await?;
    outcomes.sort_by(|a, b| a.table.cmp(&b.table));
    Ok(outcomes)
}

/// Reads back every materialized view that was refreshed, and compares it with the source.
pub(crate) async fn prove_views(
    target: &pgmove::Target,
    plan: &pgmove::RestorePlan,
    catalog: &pgmove::Catalog,
    expected: &[ViewRecord],
    settings: &TargetSettings,
) -> anyhow::Result<Vec<ViewOutcome>> {
    if !settings.proof || !settings.postgres.sections.data {
        return Ok(Vec::new());
    }
    let mut outcomes: Vec<ViewOutcome> = stream::iter(catalog.filled_views().map(|table| table.name()))
        .filter(|view| std::future::ready(plan.fills(view)))
        .map(|view| async move {
            let expected = expected.iter().find(|record| record.view == view).and_then(|record| record.proof);
            match target.prove_view(catalog, &view).await {
                // The failure list already contains this error.
                Err(pgmove::Error::Server { .. }) if !target.failures().is_empty() => Ok(None),
                found => anyhow::Ok(Some(ViewOutcome::new(&view, expected, found?))),
            }
        })
        .buffer_unordered(settings.jobs)
        .try_filter_map(|outcome| std::future::ready(Ok(outcome)))
        .try_collect()
        .await?;
    outcomes.sort_by(|a, b| a.view.cmp(&b.view));
    Ok(outcomes)
}

/// Starts the target's jobs (TimescaleDB policies), unless the tables they work on failed verification.
pub(crate) async fn start_jobs(
    target: &pgmove::Target,
    plan: &pgmove::RestorePlan,
    tables: Option<&[TableOutcome]>,
    schema: Option<&pgmove::SchemaProof>,
    progress: &Progress,
) -> anyhow::Result<()> {
    let holds = tables.is_none_or(|tables| tables.iter().all(|table| table.equal))
        && schema.is_none_or(pgmove::SchemaProof::holds);
    match holds {
        true => target.start_jobs(plan).await?,
        false if target.has_jobs() => progress.warn(
            "the proof found differences: policies and jobs were restored, but left disabled (alter_job enables them)",
        ),
        false => {}
    }
    Ok(())
}
