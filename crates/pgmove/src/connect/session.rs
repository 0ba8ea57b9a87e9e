//! A session: connected, identified, and pinned to settings that make equal values give equal text.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode as DriverSslMode;
use tokio_postgres::{Client, Config, NoTls};

use super::options::SslMode;
use super::{ConnectOptions, tls};
use crate::Error;

/// Which server was really reached. Reports and confirmations name it, since one port of one host may lead to
/// different servers at different times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServerIdentity {
    /// The version as the server prints it, such as `15.18 (Debian 15.18-0+deb12u1)`.
    pub version: String,
    /// The version as a number, such as 150018.
    pub version_num: u32,
    /// The cluster's own identifier, made by initdb; absent where the role may not read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<String>,
    /// The host that was asked for.
    pub host: String,
    /// The port that was asked for.
    pub port: u16,
    /// The database.
    pub database: String,
    /// The role.
    pub user: String,
    /// The database's encoding.
    pub encoding: String,
    /// True on a standby.
    pub in_recovery: bool,
}

impl ServerIdentity {
    /// The major version, such as 15.
    pub fn major(&self) -> u32 {
        self.version_num / 10_000
    }

    /// True when both are the same database of the same cluster, however they were reached.
    pub fn same_database(&self, other: &ServerIdentity) -> bool {
        let same_cluster = match (&self.system_identifier, &other.system_identifier) {
            (Some(a), Some(b)) => a == b,
            _ => self.host == other.host && self.port == other.port,
        };
        same_cluster && self.database == other.database
    }
}

impl fmt::Display for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.version.split_whitespace().next().unwrap_or_default();
        write!(f, "PostgreSQL {version} at {}:{}, database {}", self.host, self.port, self.database)?;
        match &self.system_identifier {
            Some(identifier) => write!(f, ", system {identifier}"),
            None => Ok(()),
        }
    }
}

/// A connected session. Dropping it closes the connection at once, which also ends what the server was doing for it.
pub struct Session {
    client: Client,
    connection: JoinHandle<()>,
    server: ServerIdentity,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.server)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
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

    /// Runs statements without parameters; `object` says in an error what was worked on.
    pub(crate) async fn execute(&self, object: &str, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql).await.map_err(|e| Error::from_server(object, sql, e))
    }

    /// Runs a query without parameters and gives its rows as text.
    pub(crate) async fn query(&self, object: &str, sql: &str) -> Result<Vec<Vec<Option<String>>>, Error> {
        let messages = self.client.simple_query(sql).await.map_err(|e| Error::from_server(object, sql, e))?;
        Ok(messages
            .into_iter()
            .filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => {
                    Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect())
                }
                _ => None,
            })
            .collect())
    }
}

/// Connects, finds out who answered, and pins the session.
pub async fn connect(options: &ConnectOptions) -> Result<Session, Error> {
    let mut config = Config::new();
    for (host, port) in &options.hosts {
        config.host(host).port(*port);
    }
    config
        .user(&options.user)
        .dbname(&options.database)
        .application_name(&options.application_name)
        .keepalives(true)
        .keepalives_idle(Duration::from_secs(60))
        .keepalives_interval(Duration::from_secs(15));
    if options.connect_timeout > 0 {
        config.connect_timeout(Duration::from_secs(options.connect_timeout));
    }
    if let Some(password) = &options.password {
        config.password(password);
    }
    if let Some(startup) = &options.startup_options {
        config.options(startup);
    }
    let (client, connection) = match options.ssl_mode {
        SslMode::Disable => open(&config, options, false).await?,
        // First without, then with: what the server insists on decides.
        SslMode::Allow => match open(&config, options, false).await {
            Ok(opened) => opened,
            Err(error) if error.is_unreachable() => return Err(error),
            Err(error) => {
                config.ssl_mode(DriverSslMode::Require);
                open(&config, options, true).await.map_err(|_| error)?
            }
        },
        SslMode::Prefer => {
            config.ssl_mode(DriverSslMode::Prefer);
            open(&config, options, true).await?
        }
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
            config.ssl_mode(DriverSslMode::Require);
            open(&config, options, true).await?
        }
    };
    let session = identify(client, connection, options).await?;
    session.execute("the session's settings", &settings(session.server.version_num)).await?;
    Ok(session)
}

async fn open(
    config: &Config,
    options: &ConnectOptions,
    tls: bool,
) -> Result<(Client, JoinHandle<()>), Error> {
    let failed = |source| Error::connect(options.display().to_string(), source);
    // An error of the connection reaches whoever waits for an answer on it; the task itself has nobody to tell.
    if tls {
        let connector = tls::connector(options.ssl_mode, &options.tls)?;
        let (client, connection) = config.connect(connector).await.map_err(failed)?;
        Ok((client, tokio::spawn(async move { drop(connection.await) })))
    } else {
        let mut config = config.clone();
        config.ssl_mode(DriverSslMode::Disable);
        let (client, connection) = config.connect(NoTls).await.map_err(failed)?;
        Ok((client, tokio::spawn(async move { drop(connection.await) })))
    }
}

async fn identify(
    client: Client,
    connection: JoinHandle<()>,
    options: &ConnectOptions,
) -> Result<Session, Error> {
    let (host, port) = options.hosts.first().cloned().unwrap_or_default();
    let mut session = Session {
        client,
        connection,
        server: ServerIdentity {
            version: String::new(),
            version_num: 0,
            system_identifier: None,
            host,
            port,
            database: options.database.clone(),
            user: options.user.clone(),
            encoding: String::new(),
            in_recovery: false,
        },
    };
    let sql = "SELECT current_setting('server_version'), current_setting('server_version_num'), current_database(), \
               current_user, current_setting('server_encoding'), pg_is_in_recovery()";
    let rows = session.query("the server's identity", sql).await?;
    let text = |at: usize| rows.first().and_then(|row| row.get(at)).cloned().flatten().unwrap_or_default();
    session.server.version = text(0);
    session.server.version_num = text(1).parse().unwrap_or(0);
    session.server.database = text(2);
    session.server.user = text(3);
    session.server.encoding = text(4);
    session.server.in_recovery = text(5) == "t";
    if session.server.version_num < 120_000 {
        return Err(Error::Refused {
            what: session.server.to_string(),
            conflicts: vec!["servers older than PostgreSQL 12 are not supported".to_owned()],
        });
    }
    // Not every role may ask; a missing identifier is no failure.
    let asked = session.query("the system identifier", "SELECT system_identifier::text FROM pg_control_system()").await;
    session.server.system_identifier =
        asked.ok().and_then(|rows| rows.first().and_then(|row| row.first().cloned().flatten()));
    Ok(session)
}

/// Settings that decide how values are written, so that equal values are equal text on every server, and that keep
/// the server from giving up on long work.
fn settings(version: u32) -> String {
    let mut pinned = vec![
        ("search_path", "''"),
        ("DateStyle", "'ISO, YMD'"),
        ("IntervalStyle", "'postgres'"),
        ("TimeZone", "'UTC'"),
        ("extra_float_digits", "3"),
        ("bytea_output", "'hex'"),
        ("lc_monetary", "'C'"),
        ("xmloption", "'content'"),
        ("standard_conforming_strings", "on"),
        ("quote_all_identifiers", "off"),
        ("synchronize_seqscans", "off"),
        ("row_security", "off"),
        ("check_function_bodies", "off"),
        ("statement_timeout", "0"),
        ("lock_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
        ("client_min_messages", "warning"),
        ("default_transaction_read_only", "off"),
    ];
    if version >= 140_000 {
        pinned.push(("idle_session_timeout", "0"));
    }
    if version >= 170_000 {
        pinned.push(("transaction_timeout", "0"));
    }
    pinned.iter().map(|(name, value)| format!("SET {name} = {value};")).collect()
}
