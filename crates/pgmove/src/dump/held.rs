//! Table locks that are released early: a table is locked until its rows are read, not until the end of the job.
//!
//! Reading takes the weakest lock, which only conflicts with ACCESS EXCLUSIVE: ALTER TABLE, TRUNCATE, DROP, VACUUM
//! FULL, the compression and decompression of chunks. A session that requests that waits for the backup, and all
//! later readers of the table wait behind it. So the backup checks once a second whether a session waits for a table
//! that it has locked. If the table's rows are read, its lock is released; if not, they are read before all others.
//!
//! A transaction releases locks only at its end. To release one, another session takes the locks that are still
//! needed, which never conflict, and the session that held all of them ends. While a session also waits for a table
//! that is still needed, that other session would have to queue behind it: then the lock is released after that
//! table.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::TableSlice;
use super::lock::{Holder, LockedTable};
use crate::Error;
use crate::catalog::{Catalog, QualifiedName};
use crate::connect::{ConnectOptions, Session};

/// Interval of the checks for waiting sessions.
const INTERVAL: Duration = Duration::from_secs(1);

/// The locks of a source.
#[derive(Debug)]
pub(super) struct SourceLocks {
    options: ConnectOptions,
    /// The session with the snapshot, which queries waiting sessions.
    coordinator: Arc<Session>,
    snapshot: String,
    /// How long a session may wait before a warning.
    lock_timeout: Option<Duration>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    holder: Arc<Holder>,
    /// The tables that the session has locked.
    tables: BTreeMap<u32, Table>,
    /// Tables that other sessions wait for.
    wanted: BTreeSet<u32>,
    /// Which session waits for which table, and since when.
    waiting: HashMap<(String, u32), Instant>,
    reported: BTreeSet<(String, u32)>,
    notes: Vec<String>,
}

#[derive(Debug, Clone)]
struct Table {
    table: LockedTable,
    /// Number of slices that are not completely read.
    open: usize,
}

/// Ends the checks when it is dropped.
#[derive(Debug)]
pub(super) struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl SourceLocks {
    pub(super) fn new(
        options: &ConnectOptions,
        coordinator: Arc<Session>,
        snapshot: String,
        holder: Holder,
        tables: Vec<LockedTable>,
        lock_timeout: Option<Duration>,
    ) -> SourceLocks {
        let tables = tables.into_iter().map(|table| (table.oid, Table { table, open: 0 })).collect();
        let state = State {
            holder: Arc::new(holder),
            tables,
            wanted: BTreeSet::new(),
            waiting: HashMap::new(),
            reported: BTreeSet::new(),
            notes: Vec::new(),
        };
        SourceLocks {
            options: options.clone(),
            coordinator,
            snapshot,
            lock_timeout,
            state: Mutex::new(state),
        }
    }

    /// Starts the checks for waiting sessions.
    pub(super) fn watch(self: &Arc<Self>) -> Watch {
        let held = Arc::clone(self);
        Watch(tokio::spawn(async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                // A lost connection is reported by its reader, and at the end.
                if held.look().await.is_err() && held.coordinator.client().is_closed() {
                    return;
                }
            }
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session that holds every lock still needed, and sees the snapshot.
    pub(super) fn holder(&self) -> Arc<Holder> {
        Arc::clone(&self.state().holder)
    }

    /// Registers the slices, each with the locks that it needs. Locks that no slice needs are released like those of
    /// tables that were read.
    pub(super) fn expect(&self, catalog: &Catalog, slices: &mut [TableSlice]) {
        let timescale = catalog.timescale.iter();
        let roots: BTreeSet<&QualifiedName> = timescale
            .flat_map(|timescale| {
                let inner = timescale.aggregates.iter().map(|aggregate| &aggregate.materialized.name);
                timescale.hypertables.iter().map(|table| &table.name).chain(inner)
            })
            .collect();
        let mut state = self.state();
        let by_name: HashMap<QualifiedName, u32> =
            state.tables.values().map(|table| (table.table.name.clone(), table.table.oid)).collect();
        for slice in slices {
            let at = slice.relation.as_ref().unwrap_or(&slice.table);
            slice.locks = if roots.contains(at) {
                // The hypertable itself is read, including all chunks.
                let parts = state.tables.values().filter(|table| table.table.user == slice.table);
                parts.map(|table| table.table.oid).collect()
            } else {
                by_name.get(at).copied().into_iter().collect()
            };
            for oid in &slice.locks {
                if let Some(table) = state.tables.get_mut(oid) {
                    table.open += 1;
                }
            }
        }
    }

    /// Records that a slice was read completely.
    pub(super) fn done(&self, locks: &[u32]) {
        let mut state = self.state();
        for oid in locks {
            if let Some(table) = state.tables.get_mut(oid) {
                table.open = table.open.saturating_sub(1);
            }
        }
    }

    /// Whether a slice can still be read: its table's lock was not released.
    pub(super) fn holds(&self, locks: &[u32]) -> bool {
        let state = self.state();
        locks.iter().all(|oid| state.tables.contains_key(oid))
    }

    /// Whether a session waits for the table of a slice.
    pub(super) fn is_wanted(&self, locks: &[u32]) -> bool {
        self.first_wanted(std::iter::once(locks)).is_some()
    }

    /// The first of these slices with a table that a session waits for.
    pub(super) fn first_wanted<'a>(&self, mut slices: impl Iterator<Item = &'a [u32]>) -> Option<usize> {
        let state = self.state();
        match state.wanted.is_empty() {
            true => None,
            false => slices.position(|locks| locks.iter().any(|oid| state.wanted.contains(oid))),
        }
    }

    /// Descriptions of sessions that waited too long for a table that was still needed; each once.
    pub(super) fn notes(&self) -> Vec<String> {
        std::mem::take(&mut self.state().notes)
    }

    async fn look(&self) -> Result<(), Error> {
        let sql = "SELECT l.relation, l.pid, a.query FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid \
                   WHERE NOT l.granted AND l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' \
                   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        let rows = self.coordinator.query("who waits for locks", sql).await?;
        if self.note_waiting(rows) {
            self.release().await?;
        }
        Ok(())
    }

    /// Records waiting sessions. Returns true if locks can be released that some session wants.
    fn note_waiting(&self, rows: Vec<Vec<Option<String>>>) -> bool {
        let mut state = self.state();
        let now = Instant::now();
        let mut seen = HashMap::new();
        state.wanted.clear();
        for row in rows {
            let mut fields = row.into_iter();
            let Some(oid) = fields.next().flatten().and_then(|oid| oid.parse::<u32>().ok()) else { continue };
            let Some(Some(pid)) = fields.next() else { continue };
            let query = fields.next().flatten().unwrap_or_default();
            let Some(table) = state.tables.get(&oid).cloned() else { continue };
            state.wanted.insert(oid);
            let key = (pid, oid);
            let since = state.waiting.get(&key).copied().unwrap_or(now);
            let long =
                self.lock_timeout.is_some_and(|lock_timeout| now.duration_since(since) >= lock_timeout);
            if long && table.open > 0 && state.reported.insert(key.clone()) {
                let waited = self.lock_timeout.unwrap_or_default().as_secs();
                let query = super::contention::brief(&query);
                state.notes.push(format!(
                    "process {} waited for more than {waited} s for table {}, which was being read; other sessions \
                     that needed the table were queued behind it (query: {query})",
                    key.0, table.table.name
                ));
            }
            seen.insert(key, since);
        }
        state.waiting = seen;
        let read = |oid: &u32| state.tables.get(oid).is_some_and(|table| table.open == 0);
        state.wanted.iter().any(read) && state.wanted.iter().all(read)
    }

    /// Another session takes the locks still needed, and the one that holds all of them ends.
    async fn release(&self) -> Result<(), Error> {
        let needed: Vec<LockedTable> = {
            let state = self.state();
            state.tables.values().filter(|table| table.open > 0).map(|table| table.table.clone()).collect()
        };
        let next = Holder::connect(&self.options).await?;
        // Do not wait for sessions that arrived meanwhile: the next check knows that their table is wanted.
        next.begin(Duration::from_millis(100)).await?;
        next.lock(&needed).await?;
        // By name: another table may have it now, if a schema was renamed.
        let locked = next.locked(&self.coordinator).await?;
        if !needed.iter().all(|table| locked.contains(&table.oid)) {
            return Ok(());
        }
        next.import(&self.snapshot).await?;
        let mut state = self.state();
        state.tables.retain(|oid, _| locked.contains(oid));
        // A reader on the former session keeps it until it is done.
        state.holder = Arc::new(next);
        Ok(())
    }

    /// Ends the transaction with the locks, after making sure that they were held to the end.
    pub(super) async fn finish(&self) -> Result<(), Error> {
        self.holder().session.execute("the locks", "SELECT 1; COMMIT").await
    }
}
