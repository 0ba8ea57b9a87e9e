//! Whether a server can be filled: found out before anything is written.

use bytes::Bytes;
use futures::Stream;

use super::settings::{OnExisting, RestoreOptions};
use crate::emit::{Losses, Target};
use crate::export::{ExportOptions, Format, survey};
use crate::identity::{functions, identify, keyspace, setting};
use crate::rdb::Dialect;
use crate::wire::{Connection, Reply};
use crate::{ConnectOptions, Error, ServerIdentity};

impl ServerIdentity {
    /// What it understands, by its fork and version.
    pub fn target(&self) -> Target {
        let mut numbers = self.version.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
        let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        let flavor = if self.flavor == "valkey" { Dialect::Valkey } else { Dialect::Redis };
        Target { flavor, major, minor }
    }

    /// True when this server certainly loads every payload that the other one writes, modules aside.
    pub fn loads_all_of(&self, source: &ServerIdentity) -> bool {
        // Up to 11 the two forks write the same.
        let shared = source.newest_rdb() <= 11 || self.flavor == source.flavor;
        shared && source.newest_rdb() <= self.newest_rdb()
    }
}

/// Asks a server who it is.
pub async fn server_identity(options: &ConnectOptions) -> Result<ServerIdentity, Error> {
    let mut connection = Connection::open(options).await?;
    identify(&mut connection, options).await
}

/// What of an RDB a server cannot hold: reads all of it, and writes nothing. Modules that the server has are no loss.
///
/// # Errors
/// A damaged RDB, or a server that cannot be asked.
pub async fn unsupported<E>(
    stream: impl Stream<Item = Result<Bytes, E>>,
    options: &ConnectOptions,
) -> Result<(ServerIdentity, Losses), Error>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut connection = Connection::open(options).await?;
    let server = identify(&mut connection, options).await?;
    let mut losses = survey(stream, ExportOptions::new(Format::Rdb, server.target())).await?;
    if losses.is_serious() {
        let modules = modules(&mut connection).await?;
        losses.kinds.retain(|loss| !modules.iter().any(|module| loss.reason.contains(module.as_str())));
    }
    Ok((server, losses))
}

/// The modules that a server has loaded, by the beginning of their names; their types begin alike.
async fn modules(connection: &mut Connection) -> Result<Vec<String>, Error> {
    let Reply::Array(modules) = connection.ask_raw(&[b"MODULE", b"LIST"]).await? else {
        return Ok(Vec::new());
    };
    let name = |module: &Reply| {
        let Reply::Array(fields) = module else { return None };
        let at = fields.iter().position(|field| field.bytes() == Some(b"name"))?;
        let name = String::from_utf8_lossy(fields.get(at + 1)?.bytes()?).into_owned();
        (name.len() >= 3).then_some(name)
    };
    Ok(modules.iter().filter_map(name).collect())
}

/// Refuses a server that is the source, a replica, or not empty when it has to be.
pub(super) async fn refuse_if_unfit(
    connection: &mut Connection,
    server: &ServerIdentity,
    settings: &RestoreOptions,
) -> Result<(), Error> {
    let mut conflicts = Vec::new();
    if settings.not_this_run.as_ref() == Some(&server.run_id) {
        conflicts.push("it is the source itself".to_owned());
    }
    if server.cluster {
        conflicts.push("it is a node of a cluster, and takes only the keys of its own slots".to_owned());
    }
    if server.role == "slave" {
        conflicts.push("it is a replica, and read-only: name its master".to_owned());
    }
    if let Some(named) = &settings.flush
        && *named != server.address
    {
        conflicts.push(format!(
            "it was to be emptied by the name of {named}, and is {}: name the server that is meant",
            server.address
        ));
    }
    if settings.on_existing == OnExisting::Refuse && settings.flush.is_none() {
        conflicts.extend(occupied(connection, server).await?);
    }
    if conflicts.is_empty() {
        return Ok(());
    }
    Err(Error::Refused { what: format!("{server} cannot be filled"), conflicts })
}

async fn occupied(connection: &mut Connection, server: &ServerIdentity) -> Result<Vec<String>, Error> {
    let mut conflicts: Vec<String> = keyspace(connection)
        .await?
        .iter()
        .map(|(db, keys)| format!("database {db} is not empty: it holds {keys} keys"))
        .collect();
    if let Some(libraries) = functions(connection, server).await?.filter(|libraries| !libraries.is_empty()) {
        conflicts.push(format!(
            "it holds {} function libraries (FLUSHALL keeps them; FUNCTION FLUSH does not)",
            libraries.len()
        ));
    }
    if !conflicts.is_empty() {
        conflicts.push(format!(
            "--on-existing replace or skip says what is to become of it; --flush {} empties the server first",
            server.address
        ));
    }
    Ok(conflicts)
}

/// Empties the server, functions included.
pub(super) async fn flush(connection: &mut Connection, server: &ServerIdentity) -> Result<(), Error> {
    connection.ask(&[b"FLUSHALL"]).await?;
    if server.at_least(7, 0) {
        connection.ask(&[b"FUNCTION", b"FLUSH"]).await?;
    }
    Ok(())
}

/// The longest argument that the server takes (`proto-max-bulk-len`); its usual one where it does not say.
pub(super) async fn longest_argument(connection: &mut Connection) -> Result<u64, Error> {
    const USUAL: u64 = 512 << 20;
    let said = setting(connection, "proto-max-bulk-len").await?.ok().flatten();
    Ok(said.and_then(|bytes| bytes.parse().ok()).unwrap_or(USUAL))
}
