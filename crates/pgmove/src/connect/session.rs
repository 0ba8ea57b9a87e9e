//! A connected session with its settings pinned, so that equal values have equal text.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::dial::{Cancel, Dialed, MARK, dial};
use super::dialer::keep_alive;
use super::{ConnectOptions, ServerIdentity};
use crate::Error;
use crate::conflict::Conflict;

/// A connected session. Dropping it closes the connection and cancels a running statement.
pub struct Session {
    client: Arc<Client>,
    connection: JoinHandle<()>,
    /// Task that keeps a connection through a dialer alive.
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
        // A closed connection alone ends a COPY, but not a CREATE INDEX, which would continue for hours.
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

    /// True when a session-mode connection pooler is between us and the server. Other pooling modes are rejected by
    /// [`connect`].
    pub fn is_pooled(&self) -> bool {
        self.pooled
    }

    /// Marks the session as busy until [`Session::rest`]: dropping it then cancels the statement.
    pub(crate) fn work(&self) {
        self.busy.store(true, Ordering::Relaxed);
    }

    /// Marks the session as idle.
    pub(crate) fn rest(&self) {
        self.busy.store(false, Ordering::Relaxed);
    }

    /// Runs statements without parameters. `object` names what they work on, for errors.
    pub(crate) async fn execute(&self, object: &str, sql: &str) -> Result<(), Error> {
        self.work();
        let result = self.client.batch_execute(sql).await;
        self.rest();
        result.map_err(|e| Error::from_server(object, sql, e))
    }

    /// Runs a query without parameters; the values of the result are text.
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

    /// The first value of the first row.
    pub(crate) async fn value(&self, object: &str, sql: &str) -> Result<Option<String>, Error> {
        Ok(self.query(object, sql).await?.into_iter().next().and_then(|row| row.into_iter().next().flatten()))
    }
}

/// Connects, identifies the server and pins the session's settings.
///
/// # Errors
/// [`Error::Connect`] when no host answers or one rejects the connection; [`Error::Refused`] for a server older than
/// 12, and for a pooler that assigns server sessions per transaction, where settings and snapshots do not persist.
pub async fn connect(options: &ConnectOptions) -> Result<Session, Error> {
    let dialed = dial(options).await?;
    let refused_mark = dialed.refused_mark;
    let mut session = identify(dialed, options).await?;
    // PgBouncer rejects or drops startup parameters that it does not know.
    session.pooled = refused_mark || mark(&session).await?.is_none();
    if session.pooled {
        refuse_shared_sessions(&session, options).await?;
    }
    // The previous client of a pooled server session may have left this setting; callers that need it set it
    // themselves.
    let pinned = settings(&session.server) + &restricted("", false);
    session.execute("the session's settings", &pinned).await?;
    if session.server.version_num >= 140_000 {
        // Makes the server check for a closed connection during long statements; not every platform supports it.
        let _ =
            session.execute("the session's settings", "SET client_connection_check_interval = '10s'").await;
    }
    Ok(session)
}

async fn mark(session: &Session) -> Result<Option<String>, Error> {
    let sql = format!("SELECT pg_catalog.current_setting('{MARK}', true)");
    Ok(session.value("the session's marker", &sql).await?.filter(|mark| !mark.is_empty()))
}

/// Sets a mark in this session and looks for it from a second connection: if it is visible there, both share a server
/// session.
async fn refuse_shared_sessions(session: &Session, options: &ConnectOptions) -> Result<(), Error> {
    static MARKS: AtomicU64 = AtomicU64::new(0);
    let own = format!("{}/{}", std::process::id(), MARKS.fetch_add(1, Ordering::Relaxed));
    session.execute("the session's marker", &format!("SET {MARK} = '{own}'")).await?;
    let other = identify(dial(options).await?, options).await?;
    if mark(&other).await? != Some(own) {
        return Ok(());
    }
    let what = format!("{} is behind a connection pooler such as PgBouncer", session.server);
    Err(Error::refused(what, Conflict::TransactionPooling))
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
    // The search path is not pinned yet: qualify all names, so that objects of the database cannot shadow the server's
    // own.
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
        return Err(Error::refused(session.server.to_string(), Conflict::ServerTooOld));
    }
    // Some managed services deny this to ordinary roles; the identifier is optional.
    let sql = "SELECT system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system()";
    session.server.system_identifier = session.value("the system identifier", sql).await.ok().flatten();
    Ok(session)
}

/// Settings that decide how values are written and read, so that equal values have equal text on every server, and
/// timeouts that would abort long work. They override settings of the role and the database.
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

/// The value to which a setting is pinned, ready for `SET`.
pub(crate) fn pinned(name: &str) -> Option<&'static str> {
    PINNED.iter().find(|(pinned, _)| *pinned == name).map(|(_, value)| *value)
}

/// Statements that pin the text form of values again, in a transaction that changed those settings.
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
    // A SQL_ASCII database may contain bytes in any encoding; they pass through unchanged only with the same client
    // encoding.
    if server.encoding == "SQL_ASCII" {
        all.push(("client_encoding", "'SQL_ASCII'"));
    }
    all.iter().map(|(name, value)| format!("SET {name} = {value};")).collect()
}

/// Statements that forbid reading user-defined views and foreign tables: their owner could replace a table or a
/// sequence by one of those, and the functions it calls would run with the reader's rights (CVE-2024-7348). The setting
/// `restrict_nonsystem_relation_kind` exists from 12.20, 13.16, 14.13, 15.8, 16.4 and 17 on; elsewhere this does
/// nothing. `local` limits it to the transaction.
pub(crate) fn restricted(kinds: &str, local: bool) -> String {
    format!(
        "SELECT pg_catalog.set_config(name, '{kinds}', {local}) FROM pg_catalog.pg_settings \
         WHERE name OPERATOR(pg_catalog.=) 'restrict_nonsystem_relation_kind'"
    )
}

/// The kinds of relations that are not needed to read rows.
pub(crate) const VIEWS: &str = "view, foreign-table";
