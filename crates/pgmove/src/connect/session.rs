//! A session: connected, identified, and pinned to settings that make equal values give equal text.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::dial::{Cancel, Dialed, MARK, dial};
use super::dialer::keep_alive;
use super::{ConnectOptions, ServerIdentity};
use crate::Error;

/// A connected session. Dropping it closes the connection at once; if the server still works for it, that is cancelled.
pub struct Session {
    client: Arc<Client>,
    connection: JoinHandle<()>,
    /// Keeps a connection through a dialer from being forgotten.
    keeping: Option<JoinHandle<()>>,
    server: ServerIdentity,
    pooled: bool,
    busy: AtomicBool,
    cancel: Option<Cancel>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.server)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
        if let Some(keeping) = &self.keeping {
            keeping.abort();
        }
        // A closed connection alone ends a COPY, but not a CREATE INDEX, which would go on for hours.
        let busy = *self.busy.get_mut();
        if let (true, Some(cancel), Ok(runtime)) =
            (busy, self.cancel.take(), tokio::runtime::Handle::try_current())
        {
            runtime.spawn(cancel.send());
        }
    }
}

impl Session {
    /// The driver's client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The server that was reached.
    pub fn server(&self) -> &ServerIdentity {
        &self.server
    }

    /// True when a connection pooler stands before the server. It is one that gives each client a server's session of
    /// its own; any other is refused.
    pub fn is_pooled(&self) -> bool {
        self.pooled
    }

    /// Says that the server works for this session until [`Session::rest`].
    pub(crate) fn work(&self) {
        self.busy.store(true, Ordering::Relaxed);
    }

    /// Says that the server has answered.
    pub(crate) fn rest(&self) {
        self.busy.store(false, Ordering::Relaxed);
    }

    /// Runs statements without parameters; `object` says in an error what was worked on.
    pub(crate) async fn execute(&self, object: &str, sql: &str) -> Result<(), Error> {
        self.work();
        let result = self.client.batch_execute(sql).await;
        self.rest();
        result.map_err(|e| Error::from_server(object, sql, e))
    }

    /// Runs a query without parameters and gives its rows as text.
    pub(crate) async fn query(&self, object: &str, sql: &str) -> Result<Vec<Vec<Option<String>>>, Error> {
        self.work();
        let result = self.client.simple_query(sql).await;
        self.rest();
        let mut rows = Vec::new();
        for message in result.map_err(|e| Error::from_server(object, sql, e))? {
            if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
                let field = |at| row.try_get(at).map(|text: Option<&str>| text.map(str::to_owned));
                let fields: Result<Vec<_>, _> = (0..row.len()).map(field).collect();
                rows.push(fields.map_err(|e| Error::from_server(object, sql, e))?);
            }
        }
        Ok(rows)
    }

    /// The first field of the first row.
    pub(crate) async fn value(&self, object: &str, sql: &str) -> Result<Option<String>, Error> {
        Ok(self.query(object, sql).await?.into_iter().next().and_then(|row| row.into_iter().next().flatten()))
    }
}

/// Connects, finds out who answered, and pins the session.
///
/// # Errors
/// [`Error::Connect`] when no host answers or one refuses; [`Error::Refused`] for a server older than 12 and for a
/// pooler that gives each transaction another of the server's sessions, for settings and snapshots do not hold there.
pub async fn connect(options: &ConnectOptions) -> Result<Session, Error> {
    let dialed = dial(options).await?;
    let refused_mark = dialed.refused_mark;
    let mut session = identify(dialed, options).await?;
    // PgBouncer either refuses a setting that it does not know, or leaves it out.
    session.pooled = refused_mark || mark(&session).await?.is_none();
    if session.pooled {
        refuse_shared_sessions(&session, options).await?;
    }
    // Whoever had the server's session before us may have left this one behind; who needs it says so.
    let pinned = settings(&session.server) + &restricted("", false);
    session.execute("the session's settings", &pinned).await?;
    if session.server.version_num >= 140_000 {
        // The server looks whether we still live while it works; not every system that it runs on can.
        let _ =
            session.execute("the session's settings", "SET client_connection_check_interval = '10s'").await;
    }
    Ok(session)
}

async fn mark(session: &Session) -> Result<Option<String>, Error> {
    let sql = format!("SELECT pg_catalog.current_setting('{MARK}', true)");
    Ok(session.value("the session's mark", &sql).await?.filter(|mark| !mark.is_empty()))
}

/// Marks this session and looks whether another connection finds the mark: then both are the same to the server.
async fn refuse_shared_sessions(session: &Session, options: &ConnectOptions) -> Result<(), Error> {
    static MARKS: AtomicU64 = AtomicU64::new(0);
    let own = format!("{}/{}", std::process::id(), MARKS.fetch_add(1, Ordering::Relaxed));
    session.execute("the session's mark", &format!("SET {MARK} = '{own}'")).await?;
    let other = identify(dial(options).await?, options).await?;
    if mark(&other).await? != Some(own) {
        return Ok(());
    }
    Err(Error::Refused {
        what: format!("a connection pooler such as PgBouncer stands before {}", session.server),
        conflicts: vec![
            "it gives each transaction another session of the server, where settings and snapshots do not hold: \
             connect to the server itself, or to a pool with pool_mode = session"
                .to_owned(),
        ],
    })
}

async fn identify(dialed: Dialed, options: &ConnectOptions) -> Result<Session, Error> {
    let client = Arc::new(dialed.client);
    let keeping = dialed.via.is_some().then(|| tokio::spawn(keep_alive(Arc::downgrade(&client), None)));
    let mut session = Session {
        client,
        connection: dialed.connection,
        keeping,
        server: ServerIdentity {
            version: String::new(),
            version_num: 0,
            system_identifier: None,
            host: dialed.host.name,
            port: dialed.host.port,
            database: options.database().to_owned(),
            user: options.user().to_owned(),
            encoding: String::new(),
            in_recovery: false,
            via: dialed.via,
            started: None,
        },
        pooled: false,
        busy: AtomicBool::new(false),
        cancel: Some(dialed.cancel),
    };
    // The search path is not ours yet: what the database puts there must not stand in the place of the server's own.
    let sql = "SELECT pg_catalog.current_setting('server_version'), pg_catalog.current_setting('server_version_num'), \
               pg_catalog.current_database(), current_user, pg_catalog.current_setting('server_encoding'), \
               pg_catalog.pg_is_in_recovery(), \
               pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time())::pg_catalog.text";
    let rows = session.query("the server's identity", sql).await?;
    let text = |at: usize| rows.first().and_then(|row| row.get(at)).cloned().flatten().unwrap_or_default();
    session.server.version = text(0);
    session.server.version_num = text(1).parse().unwrap_or(0);
    session.server.database = text(2);
    session.server.user = text(3);
    session.server.encoding = text(4);
    session.server.in_recovery = text(5) == "t";
    session.server.started = Some(text(6)).filter(|started| !started.is_empty());
    if session.server.version_num < 120_000 {
        return Err(Error::Refused {
            what: session.server.to_string(),
            conflicts: vec!["servers older than PostgreSQL 12 are not supported".to_owned()],
        });
    }
    // Not every role may ask; a missing identifier is no failure.
    let sql = "SELECT system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system()";
    session.server.system_identifier = session.value("the system identifier", sql).await.ok().flatten();
    Ok(session)
}

/// Settings that decide how values are written and read, so that equal values are equal text on every server, and
/// that keep the server from giving up on long work. A role's or a database's own settings would stand otherwise.
const PINNED: &[(&str, &str)] = &[
    ("search_path", "''"),
    ("DateStyle", "'ISO, YMD'"),
    ("IntervalStyle", "'postgres'"),
    ("TimeZone", "'UTC'"),
    ("extra_float_digits", "3"),
    ("bytea_output", "'hex'"),
    ("lc_monetary", "'C'"),
    ("xmloption", "'content'"),
    ("array_nulls", "on"),
    ("transform_null_equals", "off"),
    ("standard_conforming_strings", "on"),
    ("quote_all_identifiers", "off"),
    ("synchronize_seqscans", "off"),
    ("row_security", "off"),
    ("check_function_bodies", "off"),
    ("default_tablespace", "''"),
    ("default_table_access_method", "'heap'"),
    ("jit", "off"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("client_min_messages", "warning"),
    ("default_transaction_isolation", "'read committed'"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_deferrable", "off"),
];

/// The value that a setting is pinned to, ready for `SET`.
pub(crate) fn pinned(name: &str) -> Option<&'static str> {
    PINNED.iter().find(|(pinned, _)| *pinned == name).map(|(_, value)| *value)
}

/// Statements that pin how values are written and read, in a transaction whose settings were others for a while.
pub(crate) fn pinned_text(server: &ServerIdentity) -> String {
    settings(server).replace("SET ", "SET LOCAL ")
}

fn settings(server: &ServerIdentity) -> String {
    let mut all = PINNED.to_vec();
    if server.version_num >= 140_000 {
        all.push(("idle_session_timeout", "0"));
    }
    if server.version_num >= 170_000 {
        all.push(("transaction_timeout", "0"));
    }
    // Such a database holds bytes of no known encoding; only when we ask for none either do they pass as they are.
    if server.encoding == "SQL_ASCII" {
        all.push(("client_encoding", "'SQL_ASCII'"));
    }
    all.iter().map(|(name, value)| format!("SET {name} = {value};")).collect()
}

/// Statements after which no view and no foreign table of a user's is read: somebody may put one in the place of a
/// table or a sequence, and what it calls would run with the rights of whoever reads it (CVE-2024-7348). Servers know
/// the setting from 12.20, 13.16, 14.13, 15.8, 16.4 and 17 on; to others it says nothing. `local` is for a transaction.
pub(crate) fn restricted(kinds: &str, local: bool) -> String {
    format!(
        "SELECT pg_catalog.set_config(name, '{kinds}', {local}) FROM pg_catalog.pg_settings \
         WHERE name OPERATOR(pg_catalog.=) 'restrict_nonsystem_relation_kind'"
    )
}

/// The kinds of relations that reading rows never needs.
pub(crate) const VIEWS: &str = "view, foreign-table";
