//! Migrate: streams rows and keys from server to server, then verifies. Nothing is written to disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use anyhow::Context as _;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{StreamExt as _, TryStreamExt as _};

use crate::endpoint::{Connection, Endpoint};
use crate::exit;
use crate::jobs::postgres::load::{Piece, RowStream, Rows};
use crate::jobs::postgres::resume::Expected;
use crate::jobs::postgres::source::{ReadOptions, digest_views, open_source, sum_by_table};
use crate::jobs::redis::acl::Users;
use crate::jobs::settings::{REDIS_ONLY, RESUME_POSTGRES, TargetSettings};
use crate::jobs::{baseline, replacing};
use crate::jobs::{postgres, redis};
use crate::report::restore::{PostgresOutcome, RestoreReport, TargetOutcome};
use crate::ui::Progress;

/// Settings of a migration.
pub(crate) struct Migrate<'a> {
    /// Server to read.
    pub(crate) from: &'a Endpoint,
    /// Empty server to fill.
    pub(crate) to: &'a Endpoint,
    /// How to fill the target.
    pub(crate) settings: TargetSettings,
    /// How to read PostgreSQL sources.
    pub(crate) reading: ReadOptions,
    /// Format of PostgreSQL rows, if given.
    pub(crate) format: Option<RowFormat>,
    /// Progress display.
    pub(crate) progress: &'a Progress,
}

/// Format in which PostgreSQL rows are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowFormat {
    /// Binary without proof, for tables whose types allow it; otherwise text.
    Auto,
    /// Text for all tables.
    Text,
    /// Binary for all tables whose types allow it.
    Binary,
}

impl Migrate<'_> {
    /// The tables to copy in binary, of those that the source can send in binary.
    pub(crate) fn binary_tables(&self, source: &pgmove::Source) -> BTreeSet<pgmove::TableName> {
        match self.format.unwrap_or(RowFormat::Auto) {
            RowFormat::Text => BTreeSet::new(),
            // Proofs compare digests of the text: the source would have to be read twice.
            RowFormat::Auto if self.settings.proof => BTreeSet::new(),
            RowFormat::Auto | RowFormat::Binary => source.binary_tables(),
        }
    }
}

/// Migrates one database or one Redis server.
pub(crate) async fn run(migrate: Migrate<'_>) -> anyhow::Result<RestoreReport> {
    let outcome = one(&migrate).await.map_err(|error| migrate.to.explain(migrate.from.explain(error)))?;
    Ok(RestoreReport::migrated(&migrate.from.shown(), outcome))
}

async fn one(migrate: &Migrate<'_>) -> anyhow::Result<TargetOutcome> {
    match (&migrate.from.connection, &migrate.to.connection) {
        (Connection::Postgres(_), _) if migrate.settings.access => {
            Err(exit::usage("--with-acl is for Redis or Valkey servers; for PostgreSQL see --globals"))
        }
        (Connection::Postgres(_), _) if !migrate.settings.redis.choice.is_all() => {
            Err(exit::usage(REDIS_ONLY))
        }
        (Connection::Postgres(from), Connection::Postgres(to)) => postgres(migrate, from, to).await,
        (Connection::Redis(_), _) if migrate.format.is_some() => {
            Err(exit::usage("--copy-format is for PostgreSQL: the values of Redis have one format"))
        }
        (Connection::Redis(_), _) if migrate.settings.postgres.existing == pgmove::Existing::Resume => {
            Err(exit::usage(RESUME_POSTGRES))
        }
        (Connection::Redis(from), Connection::Redis(to)) => redis(migrate, from, to).await,
        _ => Err(exit::usage("--from and --to must be of one kind: both PostgreSQL, or both Redis")),
    }
}

async fn postgres(
    migrate: &Migrate<'_>,
    from: &pgmove::ConnectOptions,
    to: &pgmove::ConnectOptions,
) -> anyhow::Result<TargetOutcome> {
    let (settings, progress) = (&migrate.settings, migrate.progress);
    let mut source =
        open_source(from, &migrate.from.filter, settings.jobs, migrate.reading, progress).await?;
    // Checked before any other conflict of the target. A database that is yet to be created cannot be the source.
    if !settings.create {
        refuse_itself(source.server(), pgmove::connect(to).await?.server())?;
    }
    if settings.globals {
        let globals = pgmove::globals::read_globals(from, false).await?;
        postgres::load::globals(to, &globals, progress).await?;
    }
    let (target, mut plan) = postgres::load::prepare(to, source.catalog(), settings).await?;
    progress.note(format!("from {}", source.server()));
    progress.note(format!("into {}", target.server()));
    refuse_itself(source.server(), target.server())?;
    for warning in plan.warnings() {
        progress.warn(warning.to_string());
    }
    source.read_binary(&plan.load_binary(&migrate.binary_tables(&source)));
    let rows = LiveRows { proof: settings.proof, ..LiveRows::new(&source) };
    let resumed = postgres::resume::settle(&target, &mut plan, &rows, settings, progress).await?;
    let (kept, resumed) = resumed.unzip();
    rows.keep(&plan)?;
    postgres::statistics::use_in(&mut plan, &target, source.catalog(), &rows, settings).await?;
    let coming = replacing::rows_of_source(from, source.catalog());
    replacing::postgres(to, source.catalog(), &plan, settings, coming, progress).await?;
    let mut read_back =
        postgres::load::fill(&target, &plan, source.catalog(), &rows, settings, progress).await?;
    read_back.extend(kept.into_iter().flatten());
    let expected = match settings.postgres.sections.data {
        true => rows.proofs(&plan, !target.failures().is_empty())?,
        false => Vec::new(),
    };
    let catalog = source.shared_catalog();
    let held = match settings.proof && settings.postgres.sections.data {
        true => digest_views(&source, settings.jobs).await?,
        false => Vec::new(),
    };
    source.notes().iter().for_each(|note| progress.warn(note));
    // Only now is it certain that all rows came from one snapshot.
    source.finish().await?;

    let tables = match settings.proof && settings.postgres.sections.data {
        true => Some(postgres::load::prove(&target, &plan, &expected, &read_back, settings, progress).await?),
        false => None,
    };
    let views = postgres::load::prove_views(&target, &plan, &catalog, &held, settings).await?;
    plan.forget_script();
    let schema = postgres::load::prove_schema(&target, &plan, &catalog, settings, progress).await?;
    postgres::load::start_jobs(&target, &plan, tables.as_deref(), schema.as_ref(), progress).await?;
    let verdict = baseline::check_target(migrate.to, progress).await?;
    let failures = target.failures();
    let proven = PostgresOutcome { resumed, tables, views, schema, baseline: verdict, failures };
    Ok(TargetOutcome::postgres(&migrate.from.name, target.server(), proven))
}

/// Refuses to migrate a database into itself, however both sides are addressed.
pub(crate) fn refuse_itself(
    source: &pgmove::ServerIdentity,
    target: &pgmove::ServerIdentity,
) -> anyhow::Result<()> {
    match source.same_database(target) {
        true => Err(exit::refused(format!(
            "source and target are the same database, {target}; nothing was written"
        ))),
        false => Ok(()),
    }
}

/// Rows of a live source. Each stream records its proof when it ends.
pub(crate) struct LiveRows<'a> {
    source: &'a pgmove::Source,
    slices: Vec<pgmove::TableSlice>,
    /// Whether the proofs will be compared with the target.
    proof: bool,
    proofs: Mutex<Vec<(pgmove::TableName, pgmove::TableProof)>>,
    /// Proofs of slices that were read before it was known whether their table must be copied.
    ahead: Mutex<Vec<(pgmove::TableName, pgmove::TableProof)>>,
}

impl<'a> LiveRows<'a> {
    pub(crate) fn new(source: &'a pgmove::Source) -> LiveRows<'a> {
        let slices = source.slices();
        LiveRows { source, slices, proof: true, proofs: Mutex::default(), ahead: Mutex::default() }
    }

    /// Uses what was read ahead as the proofs of tables that are kept.
    fn keep(&self, plan: &pgmove::RestorePlan) -> anyhow::Result<()> {
        let panicked = |_| anyhow::anyhow!("a worker panicked");
        let ahead = std::mem::take(&mut *self.ahead.lock().map_err(|e| panicked(e.to_string()))?);
        let kept = ahead.into_iter().filter(|(table, _)| plan.keeps(table));
        self.proofs.lock().map_err(|e| panicked(e.to_string()))?.extend(kept);
        Ok(())
    }

    /// The proofs of all tables of the plan, once every stream has ended. If the target rejected something and the
    /// run continued, tables whose rows were not read completely are left out; the rejections are reported
    /// separately.
    fn proofs(
        &self,
        plan: &pgmove::RestorePlan,
        refused: bool,
    ) -> anyhow::Result<Vec<(pgmove::TableName, pgmove::TableProof)>> {
        let proofs = self.proofs.lock().map_err(|_| anyhow::anyhow!("a worker panicked"))?;
        // Of each table, the number of slices whose proof is missing.
        let mut missing = BTreeMap::<&pgmove::TableName, i64>::new();
        for slice in self.slices.iter().filter(|slice| plan.takes(&slice.table)) {
            *missing.entry(&slice.table).or_default() += 1;
        }
        for (table, _) in proofs.iter() {
            missing.entry(table).and_modify(|slices| *slices -= 1);
        }
        let (whole, cut): (BTreeMap<_, _>, BTreeMap<_, _>) =
            missing.into_iter().partition(|(_, slices)| *slices == 0);
        anyhow::ensure!(
            refused || cut.is_empty(),
            "not every stream of these tables ended with a proof: {}",
            cut.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        );
        let whole = proofs.iter().filter(|(table, _)| whole.contains_key(table));
        Ok(sum_by_table(whole.map(|(table, proof)| (table, proof))))
    }
}

impl Expected for LiveRows<'_> {
    fn of(&self) -> &'static str {
        "a new snapshot of the source"
    }

    fn digest<'b>(
        &'b self,
        plan: &'b pgmove::RestorePlan,
        table: &'b pgmove::TableName,
    ) -> BoxFuture<'b, anyhow::Result<Option<pgmove::TableProof>>> {
        async move {
            let mut sum: Option<pgmove::TableProof> = None;
            for slice in self.slices.iter().filter(|slice| plan.proven_as(&slice.table) == table) {
                let proof = self.source.digest_ahead(slice).await?;
                let mut ahead = self.ahead.lock().map_err(|_| anyhow::anyhow!("a worker panicked"))?;
                ahead.push((slice.table.clone(), proof));
                sum = Some(sum.unwrap_or_default() + proof);
            }
            Ok(sum)
        }
        .boxed()
    }
}

impl Rows for LiveRows<'_> {
    fn pieces(&self) -> Vec<Piece> {
        let piece = |(at, slice): (usize, &pgmove::TableSlice)| Piece {
            at,
            table: slice.table.clone(),
            bytes: slice.estimated_bytes,
        };
        self.slices.iter().enumerate().map(piece).collect()
    }

    fn urgent(&self, pieces: &mut dyn Iterator<Item = &Piece>) -> Option<usize> {
        self.source.first_wanted(pieces.filter_map(|piece| self.slices.get(piece.at)))
    }

    fn statistics(&self) -> BoxFuture<'_, anyhow::Result<pgmove::Statistics>> {
        async move { Ok(self.source.statistics().await?) }.boxed()
    }

    fn open<'b>(&'b self, piece: &'b Piece) -> BoxFuture<'b, anyhow::Result<RowStream<'b>>> {
        async move {
            let slice = self.slices.get(piece.at).context("a piece that its source does not know")?;
            // Binary rows have no digest: if one is needed, the same rows are read as text first.
            let digest = match (slice.format(), self.proof) {
                (pgmove::CopyFormat::Text, _) => None,
                (_, true) => Some(self.source.digest_ahead(slice).await?),
                (_, false) => Some(pgmove::TableProof::default()),
            };
            let copy = self.source.copy_out(slice).await?;
            let stream = futures::stream::try_unfold(Some(copy), move |state| async move {
                let Some(mut copy) = state else { return Ok(None) };
                match copy.try_next().await? {
                    Some(chunk) => Ok(Some((chunk, Some(copy)))),
                    None => {
                        let proof = copy.proof().or(digest).context("the copy ended without a proof")?;
                        let mut proofs =
                            self.proofs.lock().map_err(|_| anyhow::anyhow!("a worker panicked"))?;
                        proofs.push((slice.table.clone(), proof));
                        Ok(None)
                    }
                }
            });
            Ok(stream.boxed())
        }
        .boxed()
    }
}

/// Redis: feeds the capture into the restore, then looks up every captured key.
async fn redis(
    migrate: &Migrate<'_>,
    from: &redisdump::ConnectOptions,
    to: &redisdump::ConnectOptions,
) -> anyhow::Result<TargetOutcome> {
    let users = match migrate.settings.access {
        true => Some(Users::tried(redisdump::read_access(from).await?, to).await?),
        false => None,
    };
    let settings = &migrate.settings;
    let mut outcome =
        redis::load::stream_and_prove(&migrate.from.name, from, to, settings, migrate.progress).await?;
    if let Some(users) = users {
        users.make(&mut outcome).await?;
    }
    Ok(outcome)
}
