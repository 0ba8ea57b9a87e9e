//! Before rows are read: which tables exist, whether the role may read all of them, and locks that prevent changes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::contention;
use crate::Error;
use crate::catalog::filter::FilterableRelation;
use crate::catalog::{Filter, QualifiedName};
use crate::conflict::Conflict;
use crate::connect::{ConnectOptions, Session, VIEWS, connect, restricted};
use crate::timescaledb::{self, RowOwner};

/// Number of tables to lock per statement.
const LOCKS_AT_ONCE: usize = 200;

/// Maximum number of restarts because tables were created or dropped meanwhile.
const ATTEMPTS: usize = 5;

/// Maximum number of waits for a table while others became free: another session may process one table after the
/// other.
const MAX_WAITS: usize = 50;

/// A table that is locked until its rows are read.
#[derive(Debug, Clone)]
pub(super) struct LockedTable {
    pub(super) oid: u32,
    pub(super) name: QualifiedName,
    /// The table as the user knows it: for a chunk its hypertable.
    pub(super) user: QualifiedName,
}

/// The session that holds the locks. It is not the session with the snapshot: locks end with their transaction, and
/// these end before the snapshot does ([`super::held`]).
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) session: Session,
    pid: String,
}

impl Holder {
    pub(super) async fn connect(options: &ConnectOptions) -> Result<Holder, Error> {
        let session = connect(options).await?;
        let pid = session.value("the session's process", "SELECT pg_catalog.pg_backend_pid()").await?;
        Ok(Holder { session, pid: pid.unwrap_or_default() })
    }

    /// Begins a transaction with this lock timeout.
    pub(super) async fn begin(&self, wait: Duration) -> Result<(), Error> {
        let wait = contention::milliseconds(Some(wait));
        let sql = format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = {wait}");
        self.session.execute("the transaction of the locks", &sql).await
    }

    pub(super) async fn lock(&self, tables: &[LockedTable]) -> Result<(), Error> {
        lock_all(&self.session, tables, LOCKS_AT_ONCE).await
    }

    /// The relations that it has locked for reading, queried on another session: this one must not have a snapshot of
    /// its own yet.
    pub(super) async fn locked(&self, other: &Session) -> Result<BTreeSet<u32>, Error> {
        let sql = format!(
            "SELECT relation FROM pg_locks WHERE locktype = 'relation' AND coalesce(pid, 0) = {} AND granted \
             AND mode = 'AccessShareLock' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            self.pid
        );
        let rows = other.query("the locks", &sql).await?;
        Ok(rows.into_iter().flatten().flatten().filter_map(|oid| oid.parse().ok()).collect())
    }

    /// Imports the snapshot, so that this session can read what no other session can lock; from here on it waits
    /// without limit.
    pub(super) async fn import(&self, snapshot: &str) -> Result<(), Error> {
        let import = format!("SET TRANSACTION SNAPSHOT {}", crate::quote::literal(snapshot));
        self.session.execute("the snapshot", &import).await?;
        let settings = format!("SET LOCAL lock_timeout = 0; {}", restricted(VIEWS, true));
        self.session.execute("the transaction of the locks", &settings).await
    }
}

/// A relation with rows of the user.
struct Relation {
    oid: u32,
    name: QualifiedName,
    /// The table as the user knows it: for a chunk its hypertable.
    user: QualifiedName,
    sequence: bool,
    unlogged: bool,
    readable: bool,
}

/// Locks the tables, then begins the transaction with the snapshot: no table in it can have been truncated or altered
/// since.
///
/// # Errors
/// [`Error::Unreadable`] with everything that the role may not read; [`Error::Refused`] if the lock table is too
/// small, and for unlogged tables on a standby; [`Error::Locked`] with the table that could not be locked within
/// `wait`, and the holders.
pub(super) async fn begin(
    session: &Session,
    holder: &Holder,
    filter: &Filter,
    wait: Option<Duration>,
) -> Result<Vec<LockedTable>, Error> {
    let object = "the snapshot's transaction";
    let let_go = async || holder.session.execute("the transaction of the locks", "ROLLBACK").await;
    let at_once_wait =
        wait.map_or(contention::UNCONTENDED_TIMEOUT, |wait| wait.min(contention::UNCONTENDED_TIMEOUT));
    let mut at_once = LOCKS_AT_ONCE;
    let mut waits = 0;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let tables = lockable_tables(session, filter).await?;
        holder.begin(at_once_wait).await?;
        match lock_all(&holder.session, &tables, at_once).await {
            Ok(()) => {}
            // 42P01 undefined_table, 3F000 invalid_schema_name: dropped meanwhile.
            Err(error) if attempt < ATTEMPTS && matches!(error.sqlstate(), Some("42P01" | "3F000")) => {
                let_go().await?;
                continue;
            }
            // 55P03 lock_not_available: release everything, and wait for that table alone.
            Err(error) if error.sqlstate() == Some("55P03") => {
                let_go().await?;
                waits += 1;
                let held = contention::contended(session).await?;
                match tables.iter().find(|table| held.contains_key(&table.name)) {
                    Some(table) if waits > MAX_WAITS => {
                        return Err(contention::locked(&table.name, wait, held));
                    }
                    Some(table) => contention::wait_for(session, &table.name, wait).await?,
                    // The holder released it meanwhile.
                    None if waits > MAX_WAITS => return Err(error),
                    None => {}
                }
                // A wait says nothing about the tables themselves.
                attempt -= 1;
                continue;
            }
            // 42501 insufficient_privilege: one by one, to find out which table it is.
            Err(error) if at_once > 1 && error.sqlstate() == Some("42501") => {
                let_go().await?;
                at_once = 1;
                continue;
            }
            Err(error) => return Err(error),
        }
        session.execute(object, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        // This query takes the snapshot. A table created after the list was read is in the snapshot but not locked;
        // and a name may refer to another table than before it was locked.
        let now = lockable_tables(session, filter).await?;
        let locked = holder.locked(session).await?;
        if now.iter().all(|table| locked.contains(&table.oid)) {
            return Ok(now);
        }
        if attempt >= ATTEMPTS {
            // Tables are created all the time. Locked now, they at least cannot be dropped during the backup.
            let late: Vec<LockedTable> =
                now.iter().filter(|table| !locked.contains(&table.oid)).cloned().collect();
            holder.lock(&late).await?;
            return Ok(now);
        }
        session.execute(object, "ROLLBACK").await?;
        let_go().await?;
    }
}

/// The tables to lock, after making sure that all can be read.
async fn lockable_tables(session: &Session, filter: &Filter) -> Result<Vec<LockedTable>, Error> {
    let filter = &informed(session, filter).await?;
    let relations: Vec<Relation> =
        relations(session).await?.into_iter().filter(|relation| filter.wants_table(&relation.user)).collect();
    let server = session.server();
    let mut denied: Vec<String> = relations
        .iter()
        .filter(|relation| !relation.readable)
        .map(|relation| format!("{} {}", if relation.sequence { "sequence" } else { "table" }, relation.name))
        .collect();
    if filter.wants_large_objects() {
        denied.extend(unreadable_large_objects(session).await?);
    }
    if !denied.is_empty() {
        return Err(Error::Unreadable {
            server: server.to_string(),
            role: server.user.clone(),
            objects: denied,
        });
    }
    let unlogged: Vec<Conflict> = relations
        .iter()
        .filter(|relation| relation.unlogged && !relation.sequence && filter.wants_rows(&relation.user))
        .map(|relation| Conflict::Unlogged { table: relation.name.clone() })
        .collect();
    if server.in_recovery && !unlogged.is_empty() {
        return Err(Error::Refused {
            what: format!("{server} cannot provide all rows"),
            conflicts: unlogged,
        });
    }
    let tables: Vec<LockedTable> = relations
        .into_iter()
        .filter(|relation| !relation.sequence)
        .map(|relation| LockedTable { oid: relation.oid, name: relation.name, user: relation.user })
        .collect();
    check_lock_room(session, tables.len()).await?;
    Ok(tables)
}

/// Tables and sequences outside of extensions, and the tables of extensions with rows of the user.
async fn relations(session: &Session) -> Result<Vec<Relation>, Error> {
    // For a relation that is dropped meanwhile, privileges are null, not false.
    let sql = "SELECT c.oid, n.nspname, c.relname, c.relkind = 'S', c.relpersistence = 'u', \
               has_schema_privilege(n.oid, 'USAGE') AND CASE WHEN c.relkind = 'S' \
                 THEN has_sequence_privilege(c.oid, 'SELECT') ELSE has_table_privilege(c.oid, 'SELECT') END \
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' \
               AND n.nspname NOT LIKE 'pg\\_%' \
               AND (NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') \
                 OR EXISTS (SELECT FROM pg_extension e WHERE c.oid = ANY (e.extconfig))) \
               ORDER BY c.oid";
    let rows = session.query("the list of tables", sql).await?;
    let internal = match timescaledb::installed(session).await? {
        true => timescaledb::relations(session).await?,
        false => BTreeMap::new(),
    };
    let relation = |row: Vec<Option<String>>| {
        let mut fields = row.into_iter();
        let oid = fields.next()??.parse().ok()?;
        let name = QualifiedName::new(fields.next()??, fields.next()??);
        let mut flag = || Some(fields.next()?? == "t");
        let user = match internal.get(&name) {
            Some(RowOwner::Relation(user)) => user.clone(),
            Some(RowOwner::Internal) => return None,
            None => name.clone(),
        };
        Some(Relation { oid, name, user, sequence: flag()?, unlogged: flag()?, readable: flag()? })
    };
    Ok(rows.into_iter().filter_map(relation).collect())
}

/// The filter with the current partitions and inheritance.
async fn informed(session: &Session, filter: &Filter) -> Result<Filter, Error> {
    if filter.is_all() {
        return Ok(filter.clone());
    }
    let sql = "SELECT n.nspname, c.relname, pn.nspname, p.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
               JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_class p ON p.oid = i.inhparent \
               JOIN pg_namespace pn ON pn.oid = p.relnamespace WHERE c.relkind IN ('r', 'p', 'f')";
    let pair = |row: Vec<Option<String>>| {
        let mut fields = row.into_iter().flatten();
        let child = QualifiedName::new(fields.next()?, fields.next()?);
        Some((child, QualifiedName::new(fields.next()?, fields.next()?)))
    };
    let pairs = session.query("the tables that inherit", sql).await?;
    Ok(filter.clone().with_parents(pairs.into_iter().filter_map(pair)))
}

/// Refuses patterns that match nothing: they are misspelled, and the intended objects would be missing, or included
/// by mistake.
///
/// # Errors
/// [`Error::Options`] with every such pattern.
pub(super) async fn refuse_unmatched(session: &Session, filter: &Filter) -> Result<(), Error> {
    if filter.is_all() {
        return Ok(());
    }
    let sql = "SELECT n.nspname, c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'";
    let relation = |row: Vec<Option<String>>| {
        let mut fields = row.into_iter().flatten();
        let name = QualifiedName::new(fields.next()?, fields.next()?);
        Some(FilterableRelation { name, table: matches!(fields.next()?.as_str(), "r" | "p") })
    };
    let relations = session.query("the list of tables", sql).await?;
    let relations: Vec<FilterableRelation> = relations.into_iter().filter_map(relation).collect();
    let schemas = session.query("the list of schemas", "SELECT nspname FROM pg_namespace").await?;
    let schemas: Vec<String> = schemas.into_iter().flatten().flatten().collect();
    let unmatched = informed(session, filter).await?.unmatched(&relations, &schemas);
    match unmatched.is_empty() {
        true => Ok(()),
        false => Err(Error::Options(format!(
            "the filter names objects that {} does not have; nothing was read:\n  {}",
            session.server(),
            unmatched.join("\n  ")
        ))),
    }
}

/// Large objects that this role may not read: it is neither their owner nor a superuser, and has no grant.
async fn unreadable_large_objects(session: &Session) -> Result<Vec<String>, Error> {
    let sql = "SELECT 'large object ' || m.oid FROM pg_largeobject_metadata m \
               WHERE NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) \
               AND NOT pg_has_role(m.lomowner, 'USAGE') \
               AND NOT EXISTS (SELECT FROM aclexplode(m.lomacl) a WHERE a.privilege_type = 'SELECT' \
                 AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE'))) \
               AND current_setting('lo_compat_privileges')::bool IS NOT TRUE ORDER BY m.oid LIMIT 20";
    let rows = session.query("the privileges on large objects", sql).await?;
    Ok(rows.into_iter().flatten().flatten().collect())
}

async fn lock_all(session: &Session, tables: &[LockedTable], at_once: usize) -> Result<(), Error> {
    for batch in tables.chunks(at_once) {
        let names: Vec<String> = batch.iter().map(|table| format!("ONLY {}", table.name)).collect();
        let sql = format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", "));
        let object = match batch {
            [only] => format!("lock on table {}", only.name),
            _ => format!("lock on {} tables", batch.len()),
        };
        session.execute(&object, &sql).await?;
    }
    Ok(())
}

/// More locks than the server's lock table allows would fail in the middle, with a message that names no solution.
async fn check_lock_room(session: &Session, tables: usize) -> Result<(), Error> {
    let sql = "SELECT current_setting('max_locks_per_transaction')::int8 * \
               (current_setting('max_connections')::int8 + current_setting('max_prepared_transactions')::int8)";
    let room = session
        .value("the size of the lock table", sql)
        .await?
        .and_then(|n| n.parse().ok())
        .unwrap_or(usize::MAX);
    if tables > room {
        let what = format!("{} has {tables} tables, but room for only {room} locks", session.server());
        return Err(Error::refused(what, Conflict::LockTable { tables, locks: room }));
    }
    Ok(())
}

/// Rows hidden by a policy would be missing without an error.
pub(super) async fn refuse_row_security(session: &Session, filter: &Filter) -> Result<(), Error> {
    let sql = "SELECT n.nspname, c.relname, c.relforcerowsecurity FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relkind IN ('r', 'p') AND c.relrowsecurity AND row_security_active(c.oid) ORDER BY 1, 2";
    let rows = session.query("row security", sql).await?;
    let mut conflicts = Vec::new();
    for row in rows {
        let mut fields = row.into_iter().flatten();
        let (Some(schema), Some(name), Some(forced)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let name = QualifiedName::new(schema, name);
        if filter.wants_rows(&name) {
            conflicts.push(Conflict::RowSecurity { table: name, forced: forced == "t" });
        }
    }
    if conflicts.is_empty() {
        return Ok(());
    }
    let what = format!("role {} would see only some rows of {}", session.server().user, session.server());
    Err(Error::Refused { what, conflicts })
}
