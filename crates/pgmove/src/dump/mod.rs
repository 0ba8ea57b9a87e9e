//! Reading a database: locked, seen in one snapshot by several connections, described by its catalog.

mod contention;
pub(crate) mod copy_out;
pub(crate) mod copy_reader;
pub(crate) mod copy_statement;
mod held;
mod lock;
pub(crate) mod pool;
mod query;
mod rate;
mod slices;
mod state;
mod statistics;
mod vanished;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

pub(crate) use contention::brief;
use held::{SourceLocks, Watch};
pub(crate) use lock::Holder as LockHolder;
pub(crate) use slices::{PageRange, ranges};
pub use slices::{SLICE_PAGES, TableSlice};
pub use state::ServerState;

use crate::Error;
use crate::catalog::table::Table;
use crate::catalog::{Catalog, Filter, QualifiedName, Unsupported};
use crate::connect::value_settings::ValueSettings;
use crate::connect::{ConnectOptions, ServerIdentity, Session, VIEWS, connect, restricted};
use crate::copy_format::{self, CopyFormat};
use crate::digest::TableProof;
use crate::dump::pool::Pool;
use crate::warning::Warning;
pub use copy_out::CopyOut;
use copy_out::drain;
use copy_reader::CopyReader;
use copy_statement::{ConditionSettings, CopySource};

/// Options for reading a source.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// Connections that copy in parallel, in addition to the one that holds the snapshot.
    pub jobs: usize,
    /// Part of the database to read.
    pub filter: Filter,
    /// How long the server may send nothing within a table.
    pub idle_timeout: Duration,
    /// Timeout for the lock on a table that another session alters, during which no other lock is held; `None` for no
    /// limit. Sessions that wait longer for a table that is still locked here because its rows are not read are
    /// named: [`Source::notes`].
    pub lock_timeout: Option<Duration>,
    /// Heap pages per slice of a large table; [`SLICE_PAGES`] unless there is a reason to change it.
    pub slice_pages: u64,
    /// Maximum bytes of rows per second, over all connections; `None` for no limit.
    pub rate_limit: Option<std::num::NonZeroU64>,
}

impl Default for SourceOptions {
    fn default() -> Self {
        SourceOptions {
            jobs: 2,
            filter: Filter::default(),
            idle_timeout: Duration::from_secs(1800),
            lock_timeout: Some(Duration::from_secs(10)),
            slice_pages: SLICE_PAGES,
            rate_limit: None,
        }
    }
}

/// An open source. Dropping it releases its locks and its snapshot.
#[derive(Debug)]
pub struct Source {
    coordinator: Arc<Session>,
    held: Arc<SourceLocks>,
    watch: Watch,
    workers: Pool,
    catalog: Arc<Catalog>,
    slices: Vec<TableSlice>,
    taken_at: DateTime<Utc>,
    state: ServerState,
    warnings: Vec<Warning>,
    values: ValueSettings,
    idle_timeout: Duration,
    limit: Option<Arc<rate::ReadLimit>>,
}

impl Source {
    /// Connects, locks every table against changes of its definition, takes one snapshot for all connections, and
    /// reads the catalog in it.
    ///
    /// # Errors
    /// Everything that would make the copy incomplete is found here, by name: [`Error::Unreadable`], and
    /// [`Error::Refused`] for row security, for too few locks and for unlogged tables on a standby.
    pub async fn open(options: &ConnectOptions, settings: &SourceOptions) -> Result<Source, Error> {
        let coordinator = connect(options).await?;
        let restricted = restricted(VIEWS, false);
        coordinator.execute("the session's settings", &restricted).await?;
        let mut warnings = options.warnings().to_vec();
        warnings.extend(pool_warning(&coordinator));
        if coordinator.server().in_recovery {
            warnings.push(Warning::Standby { server: coordinator.server().to_string() });
        }
        lock::refuse_unmatched(&coordinator, &settings.filter).await?;
        let holder = LockHolder::connect(options).await?;
        holder.session.execute("the session's settings", &restricted).await?;
        let read = vanished::read(&coordinator, &holder, settings).await?;
        let vanished::Read { tables, snapshot, taken_at, state, catalog } = read;
        let coordinator = Arc::new(coordinator);
        lock::refuse_row_security(&coordinator, &catalog.filter).await?;
        let mut slices = slices::cut(&coordinator, &catalog, settings.slice_pages).await?;
        let lock_timeout = settings.lock_timeout;
        let held = SourceLocks::new(
            options,
            Arc::clone(&coordinator),
            snapshot.clone(),
            holder,
            tables,
            lock_timeout,
        );
        held.expect(&catalog, &mut slices);
        let held = Arc::new(held);
        // Where a worker would have to wait for a lock, the session that holds it reads instead:
        // [`Source::copy_out`].
        let prepare = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}; SET LOCAL lock_timeout = '2s'; {restricted}",
            crate::quote::literal(&snapshot)
        );
        Ok(Source {
            workers: Pool::new(options, settings.jobs, prepare),
            watch: held.watch(),
            held,
            coordinator,
            values: ValueSettings::of(&catalog.database),
            catalog: Arc::new(catalog),
            slices,
            taken_at,
            state,
            warnings,
            idle_timeout: settings.idle_timeout,
            limit: settings.rate_limit.map(|rate| Arc::new(rate::ReadLimit::new(rate))),
        })
    }

    /// The server that was reached.
    pub fn server(&self) -> &ServerIdentity {
        self.coordinator.server()
    }

    /// The schema, as it was in the snapshot.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The same for use after [`Source::finish`].
    pub fn shared_catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog)
    }

    /// Objects of the database that this version does not support.
    pub fn unsupported(&self) -> &[Unsupported] {
        self.catalog.unsupported()
    }

    /// When the snapshot was taken, by the server's clock.
    pub fn taken_at(&self) -> DateTime<Utc> {
        self.taken_at
    }

    /// State of the server when the snapshot was taken.
    pub fn state(&self) -> &ServerState {
        &self.state
    }

    /// What a user should know before anything is read.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Every slice of every table with rows, largest first.
    pub fn slices(&self) -> Vec<TableSlice> {
        self.slices.clone()
    }

    /// The tables whose types all have a binary format that is the same in every supported version.
    pub fn binary_tables(&self) -> BTreeSet<QualifiedName> {
        let types = self.catalog.types.iter();
        let vector = types
            .filter(|kind| kind.meta.name == "vector" && kind.meta.extension.as_deref() == Some("vector"))
            .map(|kind| kind.meta.oid)
            .next();
        let tables = self.catalog.tables.iter().filter(|table| copy_format::is_binary(table, vector));
        tables.map(Table::name).collect()
    }

    /// Reads those of these tables in binary that are among [`Source::binary_tables`]. Their streams have no digest;
    /// [`Source::digest_ahead`] hashes the text of every table.
    pub fn read_binary(&mut self, tables: &BTreeSet<QualifiedName>) {
        let able = self.binary_tables();
        for slice in &mut self.slices {
            if tables.contains(&slice.table) && able.contains(&slice.table) {
                slice.format = CopyFormat::Binary;
            }
        }
    }

    /// The first of these slices with a table that another session waits to alter: it is best read next, because
    /// readers of that table wait behind that session. Waiting sessions are checked once a second.
    pub fn first_wanted<'a>(&self, slices: impl Iterator<Item = &'a TableSlice>) -> Option<usize> {
        self.held.first_wanted(slices.map(|slice| slice.locks.as_slice()))
    }

    /// Descriptions of sessions that waited longer than [`SourceOptions::lock_timeout`] for a table that was still to
    /// be read; each once.
    pub fn notes(&self) -> Vec<String> {
        self.held.notes()
    }

    /// Reads a slice. As many can be read in parallel as there are jobs; others wait. Once all slices of a table are
    /// read completely, its lock may be released: then it cannot be read again.
    ///
    /// # Errors
    /// [`Error::SnapshotLost`] if the connection with the snapshot is lost: then no further connection can see the
    /// snapshot. Otherwise the server's error, with the table.
    pub async fn copy_out(&self, slice: &TableSlice) -> Result<CopyOut, Error> {
        self.reader(slice).await.map(CopyOut::of)
    }

    /// Reads a slice only for its proof, under the conditions of [`Source::copy_out`].
    pub(crate) async fn proof_of(&self, slice: &TableSlice) -> Result<TableProof, Error> {
        let slice = &slice.in_text();
        drain(self.reader(slice).await?).await
    }

    async fn reader(&self, slice: &TableSlice) -> Result<CopyReader, Error> {
        if !self.held.holds(&slice.locks) {
            return Err(Error::SnapshotLost {
                server: self.server().to_string(),
                message: format!("table {} was already read, and its lock was released", slice.table),
            });
        }
        if self.held.is_wanted(&slice.locks) {
            return self.copy_out_shared(slice).await;
        }
        match self.copy_out_now(slice).await {
            Err(error) if error.sqlstate() == Some("55P03") => self.copy_out_shared(slice).await,
            started => started,
        }
    }

    /// A session wants to alter the table and waits for its lock; later requests wait behind it. Only the session
    /// that already has the lock can read.
    async fn copy_out_shared(&self, slice: &TableSlice) -> Result<CopyReader, Error> {
        let casts = BTreeMap::new();
        let holder = self.held.holder();
        let started = CopyReader::start_shared(holder, self.wanted(slice, &casts), self.idle_timeout).await;
        self.noted(slice, started)
    }

    async fn copy_out_now(&self, slice: &TableSlice) -> Result<CopyReader, Error> {
        let casts = BTreeMap::new();
        let started =
            CopyReader::start_in_transaction(&self.workers, self.wanted(slice, &casts), self.idle_timeout);
        let started = started.await;
        self.noted(slice, started)
    }

    fn noted(&self, slice: &TableSlice, started: Result<CopyReader, Error>) -> Result<CopyReader, Error> {
        let (held, locks) = (Arc::clone(&self.held), slice.locks.clone());
        let started = started.map_err(|error| self.lost(error))?;
        Ok(started.limited(self.limit.clone()).then(move || held.done(&locks)))
    }

    fn wanted<'a>(&'a self, slice: &'a TableSlice, casts: &'a BTreeMap<String, String>) -> CopySource<'a> {
        CopySource {
            table: &slice.table,
            columns: &slice.columns,
            pages: slice.pages,
            relation: slice.relation.as_ref(),
            condition: &slice.condition,
            chosen: slice.chosen.then_some(ConditionSettings { values: &self.values, money: slice.money }),
            casts,
            format: slice.format,
        }
    }

    /// Without the connection that holds the snapshot, no other can import it.
    fn lost(&self, error: Error) -> Error {
        let closed = |session: &Session| session.client().is_closed();
        match closed(&self.coordinator) || closed(&self.held.holder().session) {
            true => Error::SnapshotLost { server: self.server().to_string(), message: error.to_string() },
            false => error,
        }
    }

    /// The populated materialized views. Their rows are not copied, because a target refreshes them itself;
    /// [`Source::digest`] allows comparing the result with the source.
    pub fn materialized_views(&self) -> Vec<TableSlice> {
        slices::materialized_views(&self.catalog)
    }

    /// Reads a slice only for its proof. `None` if the role may not read it, or if it is being refreshed.
    ///
    /// # Errors
    /// As [`Source::copy_out`].
    pub async fn digest(&self, slice: &TableSlice) -> Result<Option<TableProof>, Error> {
        let read = async { drain(self.copy_out_now(slice).await?).await };
        match read.await {
            Err(error) if matches!(error.sqlstate(), Some("55P03" | "42501" | "55000")) => Ok(None),
            read => read.map(Some),
        }
    }

    /// Ends the snapshot, after making sure that it was held to the end: only then is what was read consistent.
    ///
    /// # Errors
    /// [`Error::SnapshotLost`] if it was not.
    pub async fn finish(self) -> Result<(), Error> {
        let server = self.server().to_string();
        drop(self.watch);
        let lost = |e: Error| Error::SnapshotLost { server: server.clone(), message: e.to_string() };
        self.held.finish().await.map_err(lost)?;
        self.coordinator.execute("the snapshot", "SELECT 1; COMMIT").await.map_err(lost)
    }
}

/// A warning about a pooler that can be worked with.
pub(crate) fn pool_warning(session: &Session) -> Option<Warning> {
    session.is_pooled().then(|| Warning::Pooler { server: session.server().to_string() })
}
