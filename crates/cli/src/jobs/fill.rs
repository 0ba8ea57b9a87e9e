//! Filling a PostgreSQL target from any source of tables, and proving it. `restore` and `migrate` differ only in
//! where the rows come from: that is [`Rows`].

use anyhow::Context as _;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};

use crate::jobs::settings::TargetSettings;
use crate::report::tables::TableOutcome;
use crate::ui::Progress;

/// One stream of a table's rows, before it is opened.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    /// Where it is found at its source: an index that only the source understands.
    pub(crate) at: usize,
    /// The table it belongs to.
    pub(crate) table: pgmove::TableName,
    /// About how many bytes it holds.
    pub(crate) bytes: u64,
}

/// A stream of COPY text.
pub(crate) type RowStream<'a> = BoxStream<'a, anyhow::Result<Bytes>>;

/// Where rows come from.
pub(crate) trait Rows: Sync {
    /// Every piece of every table, biggest first.
    fn pieces(&self) -> Vec<Piece>;
    /// Opens one piece.
    fn open<'a>(&'a self, piece: &'a Piece) -> BoxFuture<'a, anyhow::Result<RowStream<'a>>>;
}

/// Opens a target and finds every conflict, before anything is written.
pub(crate) async fn prepare(
    options: &pgmove::ConnectOptions,
    catalog: &pgmove::Catalog,
    settings: &TargetSettings,
) -> anyhow::Result<(pgmove::Target, pgmove::RestorePlan)> {
    let target = pgmove::Target::open(
        options,
        &pgmove::TargetOptions {
            jobs: settings.jobs,
            no_owner: settings.no_owner,
            no_acl: settings.no_acl,
            role_map: settings.role_map.iter().cloned().collect(),
            ..pgmove::TargetOptions::default()
        },
    )
    .await
    .with_context(|| format!("cannot open the target {}", options.display()))?;
    if settings.create_roles {
        target.create_missing_roles(catalog).await?;
    }
    let plan = target.plan(catalog).await?;
    Ok((target, plan))
}

/// Schema, rows, indexes and constraints, in that order; rows and indexes on all connections at once.
pub(crate) async fn fill(
    target: &pgmove::Target,
    plan: &pgmove::RestorePlan,
    rows: &impl Rows,
    settings: &TargetSettings,
    progress: &Progress,
) -> anyhow::Result<()> {
    progress.stage("creating schemas, types and tables", None);
    target.pre_data(plan).await?;

    let pieces = rows.pieces();
    progress.stage("copying rows", Some(pieces.iter().map(|piece| piece.bytes).sum()));
    stream::iter(&pieces)
        .map(|piece| async move {
            let task = progress.task(piece.table.to_string(), Some(piece.bytes), "rows");
            let stream = rows.open(piece).await?;
            let counted = stream.inspect_ok(|chunk| task.advance(chunk.len() as u64, 0));
            let copied = target.copy_in(plan, &piece.table, counted).await?;
            task.advance(0, copied);
            task.finish();
            anyhow::Ok(())
        })
        .buffer_unordered(settings.jobs)
        .try_collect::<()>()
        .await?;

    progress.stage("building indexes and constraints", None);
    target.post_data(plan, &|event| progress.note(event.to_string())).await?;
    Ok(())
}

/// Reads every table back and holds it against what was expected.
pub(crate) async fn prove(
    target: &pgmove::Target,
    plan: &pgmove::RestorePlan,
    expected: &[(pgmove::TableName, pgmove::TableProof)],
    settings: &TargetSettings,
    progress: &Progress,
) -> anyhow::Result<Vec<TableOutcome>> {
    progress.stage("proving: reading every table back", Some(expected.iter().map(|(_, p)| p.bytes).sum()));
    let mut outcomes: Vec<TableOutcome> = stream::iter(expected)
        .map(|(table, expected)| async move {
            let task = progress.task(format!("proof of {table}"), Some(expected.bytes), "rows");
            let found = target.prove(plan, table).await?;
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
