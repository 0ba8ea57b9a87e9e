//! Private servers for rehearsals: selects a server program for a snapshot, and starts it.

use redisdump::rdb::Dialect;
use repository::SourceRecord;

use crate::config::Kind;
use crate::endpoint::{Connection, Endpoint};
use crate::jobs::record::{PART_CLUSTER_RDB, flavor_of};

/// A private server, removed when stopped or dropped.
pub(crate) enum PrivateServer {
    /// PostgreSQL.
    Postgres(sandbox::Postgres),
    /// Redis or Valkey.
    Redis(sandbox::Redis),
    /// A Redis or Valkey Cluster.
    Cluster(sandbox::RedisCluster),
}

/// This host has no server that can hold a source, so the rehearsal says nothing about the snapshot.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NoSuitableServer(String);

impl NoSuitableServer {
    /// With this message.
    pub(crate) fn of(what: String) -> NoSuitableServer {
        NoSuitableServer(what)
    }
}

/// Starts a server that can hold this source: PostgreSQL of the same major version, otherwise the next newer one,
/// with these extensions; Redis or Valkey of the same flavor and version, otherwise the newest of the flavor.
///
/// # Errors
/// [`NoSuitableServer`] if this host has none.
pub(crate) async fn start_for(
    kind: Kind,
    source: &SourceRecord,
    extensions: &[String],
) -> anyhow::Result<PrivateServer> {
    let version = source.server.pointer("/version").and_then(serde_json::Value::as_str).unwrap_or_default();
    match kind {
        Kind::Postgres => start_postgres(major_of(source), extensions).await,
        Kind::Redis => {
            let flavor = match flavor_of(source)? {
                Some(Dialect::Valkey) => sandbox::Flavor::Valkey,
                Some(Dialect::Redis) | None => sandbox::Flavor::Redis,
            };
            let clustered = source.parts.iter().any(|part| part.kind == PART_CLUSTER_RDB);
            start_redis(flavor, version, clustered).await
        }
    }
}

/// Extensions that the server must preload, in loading order, with settings that keep their background jobs from
/// running: jobs of a rehearsed database must not change or reach anything.
const PRELOADED: &[(&str, &[(&str, &str)])] = &[
    ("citus", &[]),
    ("timescaledb", &[("timescaledb.telemetry_level", "off"), ("timescaledb.max_background_workers", "0")]),
    ("pg_cron", &[("cron.launch_active_jobs", "off")]),
    ("pgaudit", &[]),
];

/// Server settings for a database with these extensions.
pub(super) fn settings_for(extensions: &[String]) -> Vec<(String, String)> {
    let needed: Vec<_> =
        PRELOADED.iter().filter(|(name, _)| extensions.iter().any(|extension| extension == name)).collect();
    let libraries: Vec<&str> = needed.iter().map(|(name, _)| *name).collect();
    let own = needed.iter().flat_map(|(_, settings)| settings.iter());
    let mut settings: Vec<(String, String)> =
        own.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    if !libraries.is_empty() {
        settings.push(("shared_preload_libraries".to_owned(), libraries.join(",")));
    }
    settings
}

/// Starts PostgreSQL of at least this major version, or the newest, with these extensions.
///
/// # Errors
/// [`NoSuitableServer`] if this host has none.
pub(crate) async fn start_postgres(
    major: Option<u32>,
    extensions: &[String],
) -> anyhow::Result<PrivateServer> {
    let extensions = extensions.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut found = sandbox::postgres::find_all(&sandbox::Places::from_env());
        // The nearest newer version first; without a wanted version, the newest.
        found.sort_by_key(|binaries| binaries.version());
        if major.is_none() {
            found.reverse();
        }
        found.retain(|binaries| major.is_none_or(|wanted| binaries.version().major() >= wanted));
        let lacks = |binaries: &sandbox::PostgresBinaries| -> Vec<String> {
            let offered = binaries.available_extensions();
            extensions.iter().filter(|name| !offered.contains(name)).cloned().collect()
        };
        let Some(binaries) = found.iter().find(|binaries| lacks(binaries).is_empty()) else {
            return Err(lacking(major, found.iter().map(|binaries| (binaries, lacks(binaries)))));
        };
        let options = sandbox::PostgresOptions {
            settings: settings_for(&extensions),
            ..sandbox::PostgresOptions::default()
        };
        anyhow::Ok(PrivateServer::Postgres(sandbox::Postgres::start(binaries, options)?))
    })
    .await?
}

/// The names of the extensions of a database.
pub(super) fn extensions_of(catalog: Option<&pgmove::Catalog>) -> Vec<String> {
    let all = catalog.into_iter().flat_map(|catalog| &catalog.extensions);
    all.map(|extension| extension.meta.name.clone()).collect()
}

/// The major version of a PostgreSQL source.
fn major_of(source: &SourceRecord) -> Option<u32> {
    let version = source.server.pointer("/version").and_then(serde_json::Value::as_str)?;
    version.split('.').next()?.parse().ok()
}

/// A server that is not ours can hold this source.
///
/// # Errors
/// [`NoSuitableServer`] where it is older, or lacks an extension.
pub(super) async fn require(
    options: &pgmove::ConnectOptions,
    source: &SourceRecord,
    extensions: &[String],
    shown: &str,
) -> anyhow::Result<()> {
    let (lacking, found) = pgmove::lacking_extensions(options, extensions).await?;
    let older = major_of(source).filter(|major| found < *major);
    if lacking.is_empty() && older.is_none() {
        return Ok(());
    }
    let what: Vec<String> = older
        .map(|major| format!("PostgreSQL {major} or newer"))
        .into_iter()
        .chain(lacking.iter().map(|name| format!("extension {name}")))
        .collect();
    Err(anyhow::Error::new(NoSuitableServer(format!(
        "the sandbox {shown} (PostgreSQL {found}) lacks {}",
        what.join(", ")
    ))))
}

/// What this host lacks, and what it has.
fn lacking<'a>(
    major: Option<u32>,
    found: impl Iterator<Item = (&'a sandbox::PostgresBinaries, Vec<String>)>,
) -> anyhow::Error {
    let found: Vec<String> = found
        .map(|(binaries, lacks)| {
            let folder = binaries.bin().display();
            format!("PostgreSQL {} in {folder} lacks extension {}", binaries.version(), lacks.join(", "))
        })
        .collect();
    let wanted =
        major.map_or_else(|| "PostgreSQL".to_owned(), |major| format!("PostgreSQL {major} or newer"));
    anyhow::Error::new(NoSuitableServer(match found.is_empty() {
        true => format!(
            "this host has no server programs of {wanted} (PATH, /usr/lib/postgresql, DBHAUL_SERVERS)\nhint: install them, or \
             run the rehearsal where they are"
        ),
        false => format!(
            "this host has no {wanted} with every extension that the snapshot needs:\n  {}\nhint: install the extension's \
             package for one of these, or run the rehearsal where it is, as in the image that the source runs",
            found.join("\n  ")
        ),
    }))
}

/// Starts Redis or Valkey of this flavor, of this version or newer, or the newest.
///
/// # Errors
/// [`NoSuitableServer`] if this host has none.
pub(crate) async fn start_redis(
    flavor: sandbox::Flavor,
    version: &str,
    clustered: bool,
) -> anyhow::Result<PrivateServer> {
    let wanted = version.to_owned();
    tokio::task::spawn_blocking(move || {
        // Otherwise PSYNC waits 5 s for further replicas.
        let settings = vec![("repl-diskless-sync-delay".to_owned(), "0".to_owned())];
        let mut found = sandbox::redis::find_all(&sandbox::Places::from_env());
        found.retain(|binaries| binaries.flavor() == flavor);
        found.sort_by_key(|binaries| binaries.version());
        // An empty or unparsable version means the newest.
        let parsed = wanted.parse::<sandbox::Version>().ok().filter(|_| !wanted.is_empty());
        let binaries = match parsed {
            Some(wanted) => found.into_iter().find(|binaries| binaries.version().same_or_newer_minor(&wanted)),
            None => found.pop(),
        };
        let Some(binaries) = binaries else {
            return Err(anyhow::Error::new(NoSuitableServer(format!(
                "this host has no {flavor} {wanted} or newer (PATH, DBHAUL_SERVERS)\nhint: install it, or run the rehearsal \
                 where it is"
            ))));
        };
        if clustered {
            // Three masters, however many the source had: what matters is that every key has a slot.
            let options = sandbox::ClusterOptions { settings, ..sandbox::ClusterOptions::default() };
            return Ok(PrivateServer::Cluster(sandbox::RedisCluster::start(&binaries, &options)?));
        }
        let options = sandbox::RedisOptions { settings, ..sandbox::RedisOptions::default() };
        let server = sandbox::Redis::start(&binaries, options)?;
        anyhow::Ok(PrivateServer::Redis(server))
    })
    .await?
}

impl std::fmt::Display for PrivateServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PrivateServer::Postgres(server) => write!(f, "PostgreSQL {}", server.version()),
            PrivateServer::Cluster(cluster) => match cluster.nodes().first() {
                Some(node) => write!(f, "{} {} cluster", node.flavor(), node.version()),
                None => f.write_str("an empty cluster"),
            },
            PrivateServer::Redis(server) => write!(f, "{} {}", server.flavor(), server.version()),
        }
    }
}

fn redis_at(url: &str) -> anyhow::Result<Connection> {
    let options = redisdump::ConnectOptions::parse(url, &redisdump::Environment::default())?;
    Ok(Connection::Redis(Box::new(options)))
}

impl PrivateServer {
    /// The server as a job's endpoint.
    pub(crate) fn endpoint(&self, name: &str) -> anyhow::Result<Endpoint> {
        let connection = match self {
            PrivateServer::Postgres(server) => {
                let options =
                    pgmove::ConnectOptions::parse(&server.url("postgres"), &pgmove::Environment::default())?;
                Connection::Postgres(Box::new(options))
            }
            PrivateServer::Redis(server) => redis_at(&server.url())?,
            PrivateServer::Cluster(cluster) => redis_at(&cluster.url())?,
        };
        Ok(Endpoint::of(name, connection, None))
    }

    /// Stops the server and removes its folder.
    pub(crate) async fn stop(self) {
        // Dropping blocks until the process ends.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}
