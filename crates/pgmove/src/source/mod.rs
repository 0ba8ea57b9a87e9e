//! A database that is read: locked, seen in one snapshot by several connections, described by its catalog.

mod contention;
mod lock;
mod slices;
mod state;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

pub(crate) use slices::{PageRange, ranges};
pub use slices::{SLICE_PAGES, TableSlice};
pub use state::ServerState;

use crate::Error;
use crate::catalog::{self, Catalog, Filter, Unsupported};
use crate::connect::{ConnectOptions, ServerIdentity, Session, VIEWS, connect, restricted};
use crate::copy::{Chosen, CopyOut, Wanted};
use crate::digest::TableProof;
use crate::pool::Pool;
use crate::value_settings::ValueSettings;

/// How a source is read.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// Connections that copy at the same time, beside the one that holds the snapshot.
    pub jobs: usize,
    /// Which part of the database.
    pub filter: Filter,
    /// How long the server may send nothing in the middle of a table.
    pub patience: Duration,
    /// How long to wait for the lock on a table that somebody alters, holding no other; nothing for as long as it takes.
    pub lock_timeout: Option<Duration>,
    /// Heap pages in one slice of a large table, [`SLICE_PAGES`] unless there is a reason.
    pub slice_pages: u64,
}

impl Default for SourceOptions {
    fn default() -> Self {
        SourceOptions {
            jobs: 2,
            filter: Filter::default(),
            patience: Duration::from_secs(1800),
            lock_timeout: Some(Duration::from_secs(10)),
            slice_pages: SLICE_PAGES,
        }
    }
}

/// An open source. Dropped, it gives up its locks and its snapshot.
#[derive(Debug)]
pub struct Source {
    coordinator: Arc<Session>,
    workers: Pool,
    catalog: Catalog,
    slices: Vec<TableSlice>,
    taken_at: DateTime<Utc>,
    state: ServerState,
    warnings: Vec<String>,
    values: ValueSettings,
    patience: Duration,
}

impl Source {
    /// Connects, locks every table against changes of its definition, takes one snapshot for all connections, and
    /// reads the catalog in it.
    ///
    /// # Errors
    /// Whatever would make the copy incomplete is found here, by name: [`Error::Unreadable`], and [`Error::Refused`]
    /// for row security, for too few locks and for unlogged tables on a standby.
    pub async fn open(options: &ConnectOptions, settings: &SourceOptions) -> Result<Source, Error> {
        let coordinator = connect(options).await?;
        let restricted = restricted(VIEWS, false);
        coordinator.execute("the session's settings", &restricted).await?;
        let mut warnings = options.warnings().to_vec();
        warnings.extend(pool_warning(&coordinator));
        if coordinator.server().in_recovery {
            warnings.push(format!(
                "{} is a standby: a conflict with recovery may end the backup; max_standby_streaming_delay can avoid it",
                coordinator.server()
            ));
        }
        lock::refuse_unmatched(&coordinator, &settings.filter).await?;
        lock::begin(&coordinator, &settings.filter, settings.lock_timeout).await?;
        let (snapshot, taken_at) = export(&coordinator).await?;
        let state = ServerState::read(&coordinator).await;
        let catalog =
            catalog::read(coordinator.client(), coordinator.server().version_num, &settings.filter).await?;
        lock::refuse_row_security(&coordinator, &catalog.filter).await?;
        let slices = slices::cut(&coordinator, &catalog, settings.slice_pages).await?;
        // What a worker has to wait for waits itself, for the coordinator's lock: [`Source::copy_out`].
        let prepare = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}; SET LOCAL lock_timeout = '2s'; {restricted}",
            crate::quote::literal(&snapshot)
        );
        Ok(Source {
            workers: Pool::new(options, settings.jobs, prepare),
            coordinator: Arc::new(coordinator),
            values: ValueSettings::of(&catalog.database),
            catalog,
            slices,
            taken_at,
            state,
            warnings,
            patience: settings.patience,
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

    /// What the database holds and this version does not carry.
    pub fn unsupported(&self) -> &[Unsupported] {
        self.catalog.unsupported()
    }

    /// When the snapshot was taken, by the server's clock.
    pub fn taken_at(&self) -> DateTime<Utc> {
        self.taken_at
    }

    /// What the server said of itself when the snapshot was taken.
    pub fn state(&self) -> &ServerState {
        &self.state
    }

    /// Worth a word.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Every slice of every table that holds rows, biggest first.
    pub fn slices(&self) -> Vec<TableSlice> {
        self.slices.clone()
    }

    /// Reads a slice. As many may be read at the same time as there are jobs; further ones wait.
    ///
    /// # Errors
    /// [`Error::SnapshotLost`] when the connection that holds the snapshot is gone: then no further connection can
    /// see what the others saw. Otherwise what the server says, with the table.
    pub async fn copy_out(&self, slice: &TableSlice) -> Result<CopyOut, Error> {
        match self.copy_out_now(slice).await {
            // Somebody wants to change the table and waits for us; who comes later waits for them. Only the coordinator,
            // which has its lock already, is let through.
            Err(error) if error.sqlstate() == Some("55P03") => {
                let shared = Arc::clone(&self.coordinator);
                let casts = BTreeMap::new();
                let started = CopyOut::start_shared(shared, self.wanted(slice, &casts), self.patience).await;
                started.map_err(|error| self.lost(error))
            }
            started => started,
        }
    }

    async fn copy_out_now(&self, slice: &TableSlice) -> Result<CopyOut, Error> {
        let casts = BTreeMap::new();
        let started = CopyOut::start(&self.workers, self.wanted(slice, &casts), self.patience).await;
        started.map_err(|error| self.lost(error))
    }

    fn wanted<'a>(&'a self, slice: &'a TableSlice, casts: &'a BTreeMap<String, String>) -> Wanted<'a> {
        Wanted {
            table: &slice.table,
            columns: &slice.columns,
            pages: slice.pages,
            relation: slice.relation.as_ref(),
            condition: &slice.condition,
            chosen: slice.chosen.then_some(Chosen { values: &self.values, money: slice.money }),
            casts,
        }
    }

    /// Without the connection that holds the snapshot, no other can see what was seen.
    fn lost(&self, error: Error) -> Error {
        match self.coordinator.client().is_closed() {
            true => Error::SnapshotLost { server: self.server().to_string(), message: error.to_string() },
            false => error,
        }
    }

    /// The materialized views that hold rows. Their rows are not copied, for a target fills them itself; by
    /// [`Source::digest`] what it fills them with can be held against what they held here.
    pub fn materialized_views(&self) -> Vec<TableSlice> {
        slices::materialized_views(&self.catalog)
    }

    /// Reads a slice for its proof alone. Nothing where the role may not read it, or somebody is filling it anew.
    ///
    /// # Errors
    /// As [`Source::copy_out`].
    pub async fn digest(&self, slice: &TableSlice) -> Result<Option<TableProof>, Error> {
        let read = async { self.copy_out_now(slice).await?.drain().await };
        match read.await {
            Err(error) if matches!(error.sqlstate(), Some("55P03" | "42501" | "55000")) => Ok(None),
            read => read.map(Some),
        }
    }

    /// Ends the snapshot, after making sure that it was held to the end: only then is what was read consistent.
    ///
    /// # Errors
    /// [`Error::SnapshotLost`] when it was not.
    pub async fn finish(self) -> Result<(), Error> {
        let server = self.server().to_string();
        self.coordinator
            .execute("the snapshot", "SELECT 1; COMMIT")
            .await
            .map_err(|e| Error::SnapshotLost { server, message: e.to_string() })
    }
}

/// A word about a pooler that can be worked with.
pub(crate) fn pool_warning(session: &Session) -> Option<String> {
    session.is_pooled().then(|| {
        format!(
            "a connection pooler stands before {}, with a session for each client; its timeouts may end long work",
            session.server()
        )
    })
}

/// Exports the transaction's snapshot: its name, and the server's time.
async fn export(session: &Session) -> Result<(String, DateTime<Utc>), Error> {
    let rows = session
        .query("the snapshot", "SELECT pg_export_snapshot(), extract(epoch FROM statement_timestamp())")
        .await?;
    let field = |at: usize| rows.first().and_then(|row| row.get(at)).cloned().flatten().unwrap_or_default();
    let seconds: f64 = field(1).parse().unwrap_or(0.0);
    let taken_at = DateTime::from_timestamp_micros((seconds * 1e6) as i64).unwrap_or_default();
    Ok((field(0), taken_at))
}
