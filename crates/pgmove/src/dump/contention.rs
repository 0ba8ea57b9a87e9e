//! Contended locks: who holds them, and how to wait for them.
//!
//! A session that waits for one lock while holding others blocks every session that wants to alter the locked tables,
//! and readers queue behind those. So the backup holds no lock while it waits for a table.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Error;
use crate::catalog::QualifiedName;
use crate::connect::Session;
use crate::error::without_secrets;

/// Timeout for locking all tables, one by one, without contention.
pub(super) const UNCONTENDED_TIMEOUT: Duration = Duration::from_millis(500);

/// Tables that other sessions keep from being read, with those sessions.
pub(super) async fn contended(session: &Session) -> Result<BTreeMap<QualifiedName, Vec<String>>, Error> {
    // Only this mode conflicts with reading. A session that waits for it blocks readers like one that holds it.
    let sql = "SELECT n.nspname, c.relname, l.granted, l.pid, p.gid, coalesce(p.owner, a.usename), a.application_name, \
               coalesce(a.xact_start, p.prepared)::timestamptz(0), a.query, array_to_string(pg_blocking_pids(l.pid), ', ') \
               FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace \
               LEFT JOIN pg_stat_activity a ON a.pid = l.pid \
               LEFT JOIN pg_locks x ON l.pid IS NULL AND x.pid IS NULL AND x.locktype = 'transactionid' AND x.virtualtransaction = l.virtualtransaction \
               LEFT JOIN pg_prepared_xacts p ON p.transaction = x.transactionid \
               WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND coalesce(l.pid, 0) <> pg_backend_pid() \
               AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY l.granted DESC, l.pid";
    let mut found: BTreeMap<QualifiedName, Vec<String>> = BTreeMap::new();
    for row in session.query("the server's locks", sql).await? {
        let mut fields = row.into_iter();
        let (Some(Some(schema)), Some(Some(name))) = (fields.next(), fields.next()) else { continue };
        let mut next = || fields.next().flatten().filter(|text| !text.is_empty());
        let granted = next().as_deref() == Some("t");
        let (pid, gid, role, application) = (next(), next(), next(), next());
        let (since, query, behind) = (next(), next(), next());
        let who = match (&gid, &pid) {
            (Some(gid), _) => format!("prepared transaction {}", crate::quote::literal(gid)),
            (None, Some(pid)) => format!("process {pid}"),
            (None, None) => "a prepared transaction".to_owned(),
        };
        let mut known: Vec<String> = Vec::new();
        known.extend(role.map(|role| format!("role {role}")));
        known.extend(application.map(|name| format!("application {name}")));
        known.extend(since.map(|since| format!("since {since}")));
        known.extend(query.map(|query| format!("query: {}", brief(&query))));
        let known = if known.is_empty() { String::new() } else { format!(" ({})", known.join(", ")) };
        let verb = if granted { "held by" } else { "wanted by" };
        let behind = behind.filter(|_| !granted).map(|pids| format!(", which waits for process {pids}"));
        let sentence = format!("{verb} {who}{known}{}", behind.unwrap_or_default());
        found.entry(QualifiedName::new(schema, name)).or_default().push(sentence);
    }
    Ok(found)
}

/// The beginning of a query, on one line.
pub(crate) fn brief(query: &str) -> String {
    let words = without_secrets(query.split_whitespace().collect::<Vec<_>>().join(" "));
    words.chars().take(100).collect()
}

/// Waits for one table without holding other locks, then releases it.
///
/// # Errors
/// [`Error::Locked`] with the holders, if it is not available within `wait`.
pub(super) async fn wait_for(
    session: &Session,
    table: &QualifiedName,
    wait: Option<Duration>,
) -> Result<(), Error> {
    let object = format!("lock on table {table}");
    let sql = format!(
        "BEGIN READ ONLY; SET LOCAL lock_timeout = {}; LOCK TABLE ONLY {table} IN ACCESS SHARE MODE; COMMIT",
        milliseconds(wait)
    );
    match session.execute(&object, &sql).await {
        Err(error @ Error::Server { .. }) if !error.is_lost() => {
            session.execute(&object, "ROLLBACK").await?;
            match error.sqlstate() {
                Some("55P03") => Err(locked(table, wait, contended(session).await?)),
                // Dropped meanwhile: the next survey will not find it.
                Some("42P01" | "3F000") => Ok(()),
                _ => Err(error),
            }
        }
        done => done,
    }
}

/// The error for a table that could not be locked.
pub(super) fn locked(
    table: &QualifiedName,
    wait: Option<Duration>,
    mut holders: BTreeMap<QualifiedName, Vec<String>>,
) -> Error {
    Error::Locked {
        table: table.to_string(),
        seconds: wait.unwrap_or_default().as_secs_f64(),
        holders: holders.remove(table).unwrap_or_else(|| vec!["its holder is no longer known".to_owned()]),
    }
}

/// For `lock_timeout`, where 0 means no limit.
pub(super) fn milliseconds(wait: Option<Duration>) -> u128 {
    wait.map_or(0, |wait| wait.as_millis().clamp(1, i32::MAX as u128))
}
