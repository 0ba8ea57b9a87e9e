//! A database that is read: locked, seen in one snapshot by several connections, described by its catalog.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::catalog::{self, Catalog, Filter, QualifiedName, Unsupported};
use crate::connect::{ConnectOptions, ServerIdentity, Session, connect};
use crate::copy::{CopyOut, Wanted};
use crate::pool::Pool;
use crate::quote::ident;
use crate::Error;

/// How a source is read.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// Connections that copy at the same time, beside the one that holds the snapshot.
    pub jobs: usize,
    /// Which part of the database.
    pub filter: Filter,
    /// How long the server may send nothing in the middle of a table.
    pub patience: Duration,
}

impl Default for SourceOptions {
    fn default() -> Self {
        SourceOptions { jobs: 2, filter: Filter::default(), patience: Duration::from_secs(1800) }
    }
}

/// Tables are locked in batches of this many.
const LOCKS_AT_ONCE: usize = 200;
/// A slice holds this many heap pages (128 MiB at the usual 8 KiB). A fixed number, so that a table that only grows
/// is cut at the same places every night.
const PAGES: u64 = 16_384;

/// Some rows of a table: all, or those of a range of its pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSlice {
    /// The table.
    pub table: QualifiedName,
    /// The columns that are copied, in order.
    pub columns: Vec<String>,
    /// Size on disk, about.
    pub estimated_bytes: u64,
    /// Which of how many slices, from 1.
    pub number: (usize, usize),
    pages: Option<(u64, Option<u64>)>,
    condition: String,
}

impl fmt::Display for TableSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            (_, 1) => write!(f, "{}", self.table),
            (at, of) => write!(f, "{} [{at}/{of}]", self.table),
        }
    }
}

/// An open source. Dropped, it gives up its locks and its snapshot.
#[derive(Debug)]
pub struct Source {
    coordinator: Session,
    workers: Pool,
    catalog: Catalog,
    slices: Vec<TableSlice>,
    taken_at: DateTime<Utc>,
    warnings: Vec<String>,
    patience: Duration,
}

impl Source {
    /// Connects, locks every table against changes of its definition, takes one snapshot for all connections, and
    /// reads the catalog in it. Refuses, by name, what would come out incomplete.
    pub async fn open(options: &ConnectOptions, settings: &SourceOptions) -> Result<Source, Error> {
        let coordinator = connect(options).await?;
        let mut warnings = options.warnings().to_vec();
        if coordinator.server().in_recovery {
            warnings.push(format!(
                "{} is a standby: a conflict with recovery may end the backup; max_standby_streaming_delay can avoid it",
                coordinator.server()
            ));
        }
        lock(&coordinator, &settings.filter).await?;
        let (snapshot, taken_at) = export(&coordinator).await?;
        refuse_row_security(&coordinator).await?;
        let catalog = catalog::read(coordinator.client(), coordinator.server().version_num, &settings.filter).await?;
        let slices = slices(&coordinator, &catalog).await?;
        let prepare = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
            crate::quote::literal(&snapshot)
        );
        Ok(Source {
            workers: Pool::new(options, settings.jobs, prepare),
            coordinator,
            catalog,
            slices,
            taken_at,
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

    /// Worth a word.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Every slice of every table that holds rows, biggest first.
    pub fn slices(&self) -> Vec<TableSlice> {
        self.slices.clone()
    }

    /// Reads a slice. As many may be read at the same time as there are jobs; further ones wait.
    pub async fn copy_out(&self, slice: &TableSlice) -> Result<CopyOut, Error> {
        let wanted = Wanted {
            table: &slice.table,
            columns: &slice.columns,
            pages: slice.pages,
            condition: &slice.condition,
        };
        CopyOut::start(&self.workers, wanted, self.patience).await
    }

    /// Ends the snapshot, after making sure that it was held to the end: only then is what was read consistent.
    pub async fn finish(self) -> Result<(), Error> {
        let server = self.server().to_string();
        self.coordinator
            .execute("the snapshot", "SELECT 1; COMMIT")
            .await
            .map_err(|e| Error::SnapshotLost { server, message: e.to_string() })
    }
}

/// Begins the transaction by locking: the snapshot is taken only afterwards, so that it cannot be older than the
/// locks. A table that vanishes between listing and locking makes it begin again.
async fn lock(session: &Session, filter: &Filter) -> Result<(), Error> {
    for attempt in 0.. {
        let tables = lockable(session, filter).await?;
        check_lock_room(session, tables.len()).await?;
        session
            .execute("the snapshot's transaction", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await?;
        match lock_all(session, &tables).await {
            Ok(()) => return Ok(()),
            // 42P01 undefined_table, 3F000 invalid_schema_name: dropped while we looked.
            Err(error) if attempt < 4 && matches!(error.sqlstate(), Some("42P01" | "3F000")) => {
                session.execute("the snapshot's transaction", "ROLLBACK").await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn lockable(session: &Session, filter: &Filter) -> Result<Vec<QualifiedName>, Error> {
    let sql = "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' \
               AND n.nspname NOT LIKE 'pg\\_%' \
               AND (NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') \
                 OR EXISTS (SELECT FROM pg_extension e WHERE c.oid = ANY (e.extconfig))) \
               ORDER BY c.oid";
    let rows = session.query("the list of tables", sql).await?;
    let names = rows.into_iter().filter_map(|row| {
        let mut fields = row.into_iter().flatten();
        Some(QualifiedName::new(fields.next()?, fields.next()?))
    });
    Ok(names.filter(|name| filter.wants_table(name)).collect())
}

async fn lock_all(session: &Session, tables: &[QualifiedName]) -> Result<(), Error> {
    for batch in tables.chunks(LOCKS_AT_ONCE) {
        let names: Vec<String> = batch.iter().map(|name| format!("ONLY {name}")).collect();
        let sql = format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", "));
        let object = match batch {
            [only] => format!("lock on table {only}"),
            _ => format!("lock on {} tables", batch.len()),
        };
        session.execute(&object, &sql).await?;
    }
    Ok(())
}

/// Locks beyond the server's table of locks fail in the middle, with a message that names no cure.
async fn check_lock_room(session: &Session, tables: usize) -> Result<(), Error> {
    let sql = "SELECT current_setting('max_locks_per_transaction')::int8 * \
               (current_setting('max_connections')::int8 + current_setting('max_prepared_transactions')::int8)";
    let rows = session.query("the room for locks", sql).await?;
    let room: usize =
        rows.first().and_then(|row| row.first().cloned().flatten()).and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
    if tables > room {
        return Err(Error::Refused {
            what: format!("{} has {tables} tables, and room for {room} locks", session.server()),
            conflicts: vec!["raise max_locks_per_transaction at the source and restart it".to_owned()],
        });
    }
    Ok(())
}

async fn export(session: &Session) -> Result<(String, DateTime<Utc>), Error> {
    let rows = session
        .query("the snapshot", "SELECT pg_export_snapshot(), extract(epoch FROM transaction_timestamp())")
        .await?;
    let field = |at: usize| rows.first().and_then(|row| row.get(at)).cloned().flatten().unwrap_or_default();
    let seconds: f64 = field(1).parse().unwrap_or(0.0);
    let taken_at = DateTime::from_timestamp_micros((seconds * 1e6) as i64).unwrap_or_default();
    Ok((field(0), taken_at))
}

/// Rows that a policy hides would be missing without an error.
async fn refuse_row_security(session: &Session) -> Result<(), Error> {
    let sql = "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relkind IN ('r', 'p') AND c.relrowsecurity AND row_security_active(c.oid)";
    let rows = session.query("row security", sql).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let conflicts = rows
        .into_iter()
        .map(|row| {
            let name: Vec<String> = row.iter().flatten().map(|part| ident(part).into_owned()).collect();
            format!("table {}: row security applies to this role", name.join("."))
        })
        .chain(["connect as a superuser, as the owner (without FORCE), or as a role with BYPASSRLS".to_owned()])
        .collect();
    let what = format!("role {} would see only some rows of {}", session.server().user, session.server());
    Err(Error::Refused { what, conflicts })
}

/// Cuts the tables, biggest first. Ranges of pages are read efficiently from PostgreSQL 14 on, and only heaps have
/// pages in that sense.
async fn slices(session: &Session, catalog: &Catalog) -> Result<Vec<TableSlice>, Error> {
    let sizes = sizes(session).await?;
    let can_split = session.server().version_num >= 140_000;
    let mut slices = Vec::new();
    let plain = catalog.data_tables().map(|table| (table, ""));
    for (table, condition) in plain.chain(catalog.config_tables()) {
        let (pages, bytes) = sizes.get(&table.meta.oid).copied().unwrap_or_default();
        let heap = table.access_method.as_deref().is_none_or(|method| method == "heap");
        let parts = if can_split && heap && condition.is_empty() { (pages / PAGES).max(1) } else { 1 };
        for at in 0..parts {
            let last = at + 1 == parts;
            let range = (at * PAGES, (!last).then_some((at + 1) * PAGES));
            slices.push(TableSlice {
                table: table.name(),
                columns: table.copy_columns().iter().map(|column| column.name.clone()).collect(),
                estimated_bytes: bytes / parts,
                number: (at as usize + 1, parts as usize),
                pages: (parts > 1).then_some(range),
                condition: condition.to_owned(),
            });
        }
    }
    slices.sort_by(|a, b| b.estimated_bytes.cmp(&a.estimated_bytes).then_with(|| a.table.cmp(&b.table)));
    Ok(slices)
}

/// Heap pages and total bytes of every table, as they are now.
async fn sizes(session: &Session) -> Result<std::collections::HashMap<u32, (u64, u64)>, Error> {
    let sql = "SELECT oid, pg_relation_size(oid) / current_setting('block_size')::int8, pg_table_size(oid) \
               FROM pg_class WHERE relkind = 'r' AND oid >= 16384";
    let rows = session.query("the sizes of tables", sql).await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let mut numbers = row.into_iter().map(|n| n.and_then(|n| n.parse::<u64>().ok()));
            let oid = u32::try_from(numbers.next()??).ok()?;
            Some((oid, (numbers.next()?.unwrap_or(0), numbers.next()?.unwrap_or(0))))
        })
        .collect())
}
