//! Private servers for rehearsals: which program fits a snapshot, and how it is reached.

use anyhow::Context as _;
use repository::SourceRecord;

use crate::config::Kind;
use crate::endpoint::{Connection, Endpoint};

/// A private server; gone when stopped or dropped.
pub(crate) enum Private {
    /// PostgreSQL.
    Postgres(sandbox::Postgres),
    /// Redis or Valkey.
    Redis(sandbox::Redis),
}

/// Starts a server that can hold this source: PostgreSQL of the same major version, else the next newer one; Redis or
/// Valkey of the same flavour and version, else the newest of the flavour.
pub(crate) async fn start_for(kind: Kind, source: &SourceRecord) -> anyhow::Result<Private> {
    let version = source.server.pointer("/version").and_then(serde_json::Value::as_str).unwrap_or_default();
    match kind {
        Kind::Postgres => {
            let major = version.split('.').next().and_then(|text| text.parse().ok());
            start_postgres(major).await
        }
        Kind::Redis => {
            let flavor = source.server.pointer("/flavor").and_then(serde_json::Value::as_str);
            start_redis(flavor, version).await
        }
    }
}

/// Starts PostgreSQL of at least this major version, or the newest.
pub(crate) async fn start_postgres(major: Option<u32>) -> anyhow::Result<Private> {
    tokio::task::spawn_blocking(move || {
        let mut found = sandbox::postgres::find_all(&sandbox::Places::from_env());
        // The nearest to what is wanted; where nothing is, the newest.
        found.sort_by_key(|binaries| binaries.version());
        let binaries = match major {
            Some(wanted) => found.into_iter().find(|binaries| binaries.version().major() >= wanted),
            None => found.pop(),
        };
        let binaries = binaries
            .with_context(|| match major {
                Some(major) => format!(
                    "a rehearsal needs the server programs of PostgreSQL {major} or newer on this host, and found none \
                     (PATH, /usr/lib/postgresql, DBHAUL_SERVERS); `scripts/servers {major}` fetches them"
                ),
                None => "a rehearsal needs the server programs of PostgreSQL on this host, and found none".to_owned(),
            })?;
        let server = sandbox::Postgres::start(&binaries, sandbox::PostgresOptions::default())?;
        anyhow::Ok(Private::Postgres(server))
    })
    .await?
}

/// Starts Redis or Valkey of this flavour, of this version or newer, or the newest.
pub(crate) async fn start_redis(flavor: Option<&str>, version: &str) -> anyhow::Result<Private> {
    let valkey = flavor == Some("valkey");
    let wanted = version.to_owned();
    tokio::task::spawn_blocking(move || {
        // A snapshot by replication would otherwise wait for further replicas, for 5 s.
        let settings = vec![("repl-diskless-sync-delay".to_owned(), "0".to_owned())];
        let options = sandbox::RedisOptions { settings, ..sandbox::RedisOptions::default() };
        let flavor = if valkey { sandbox::Flavor::Valkey } else { sandbox::Flavor::Redis };
        let mut found = sandbox::redis::find_all(&sandbox::Places::from_env());
        found.retain(|binaries| binaries.flavor() == flavor);
        found.sort_by_key(|binaries| binaries.version());
        // Nothing wanted means the newest; so does a version that is no number.
        let parsed = wanted.parse::<sandbox::Version>().ok().filter(|_| !wanted.is_empty());
        let binaries = match parsed {
            Some(wanted) => found.into_iter().find(|binaries| binaries.version().same_or_newer_minor(&wanted)),
            None => found.pop(),
        };
        let binaries = binaries.with_context(
            || {
                format!(
                    "a rehearsal needs {flavor} {wanted} or newer on this host, and found none (PATH, DBHAUL_SERVERS); \
                     `scripts/servers` fetches some"
                )
            },
        )?;
        let server = sandbox::Redis::start(&binaries, options)?;
        anyhow::Ok(Private::Redis(server))
    })
    .await?
}

impl std::fmt::Display for Private {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Private::Postgres(server) => write!(f, "PostgreSQL {}", server.version()),
            Private::Redis(server) => write!(f, "{} {}", server.flavor(), server.version()),
        }
    }
}

impl Private {
    /// The server as a job's endpoint.
    pub(crate) fn endpoint(&self, name: &str) -> anyhow::Result<Endpoint> {
        let connection = match self {
            Private::Postgres(server) => {
                let options =
                    pgmove::ConnectOptions::parse(&server.url("postgres"), &pgmove::Environment::default())?;
                Connection::Postgres(Box::new(options))
            }
            Private::Redis(server) => {
                let options =
                    redisdump::ConnectOptions::parse(&server.url(), &redisdump::Environment::default())?;
                Connection::Redis(Box::new(options))
            }
        };
        Ok(Endpoint {
            name: name.to_owned(),
            connection,
            every_database: false,
            baseline: None,
            environment: None,
            filter: pgmove::Filter::default(),
            globals: crate::endpoint::Globals::Leave,
            capture: redisdump::CaptureMethod::Auto,
            access: false,
            data_dir: None,
        })
    }

    /// Stops the server and removes its folder.
    pub(crate) async fn stop(self) {
        // Dropping waits for a process to end.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}
