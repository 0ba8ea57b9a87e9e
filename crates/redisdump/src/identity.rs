//! Which server was really reached.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::wire::{Connection, Reply};
use crate::{ConnectOptions, Error};

/// A server, as it says of itself (`INFO`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServerIdentity {
    /// `redis` or `valkey`.
    pub flavor: String,
    /// The version, such as `8.2.3`.
    pub version: String,
    /// Made anew at every start of the server.
    pub run_id: String,
    /// `master` or `slave`.
    pub role: String,
    /// Where it was reached: host and port, or a socket.
    pub address: String,
    /// True for a node of a cluster, which has a part of its keys.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cluster: bool,
}

impl ServerIdentity {
    /// True from this version on. Valkey counts on from Redis 7.2.
    pub(crate) fn at_least(&self, major: u32, minor: u32) -> bool {
        let mut numbers = self.version.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
    }
}

impl fmt::Display for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.flavor == "valkey" { "Valkey" } else { "Redis" };
        let run: String = self.run_id.chars().take(12).collect();
        write!(f, "{name} {} at {}, run {run}", self.version, self.address)
    }
}

/// Asks a server who it is.
pub(crate) async fn identify(
    connection: &mut Connection,
    options: &ConnectOptions,
) -> Result<ServerIdentity, Error> {
    let mut fields = info(connection, "server").await?;
    fields.extend(info(connection, "replication").await?);
    fields.extend(info(connection, "cluster").await?);
    let get = |name: &str| fields.get(name).cloned().unwrap_or_default();
    let valkey = get("valkey_version");
    let (flavor, version) =
        if valkey.is_empty() { ("redis", get("redis_version")) } else { ("valkey", valkey) };
    Ok(ServerIdentity {
        flavor: flavor.to_owned(),
        version,
        run_id: get("run_id"),
        role: get("role"),
        address: options.address(),
        cluster: get("cluster_enabled") == "1",
    })
}

/// The keys of every database that has some: number and count.
pub(crate) async fn keyspace(connection: &mut Connection) -> Result<BTreeMap<u64, u64>, Error> {
    let fields = info(connection, "keyspace").await?;
    Ok(fields
        .iter()
        .filter_map(|(name, value)| {
            let db = name.strip_prefix("db")?.parse().ok()?;
            let keys = value.strip_prefix("keys=")?.split(',').next()?.parse().ok()?;
            Some((db, keys))
        })
        .collect())
}

/// Hashes of the code of every function library; nothing where the server knows no functions (before 7.0).
pub(crate) async fn functions(
    connection: &mut Connection,
    server: &ServerIdentity,
) -> Result<Option<Vec<u128>>, Error> {
    if !server.at_least(7, 0) {
        return Ok(None);
    }
    use crate::wire::Reply;
    let Reply::Array(libraries) = connection.ask(&[b"FUNCTION", b"LIST", b"WITHCODE"]).await? else {
        return Ok(None);
    };
    let mut hashes: Vec<u128> = libraries
        .iter()
        .filter_map(|library| {
            let Reply::Array(fields) = library else { return None };
            let (pairs, _) = fields.as_chunks::<2>();
            let code = pairs.iter().find(|[name, _]| name.bytes() == Some(b"library_code"))?;
            code[1].bytes().map(crate::digest::function)
        })
        .collect();
    hashes.sort_unstable();
    Ok(Some(hashes))
}

pub(crate) async fn info(
    connection: &mut Connection,
    section: &str,
) -> Result<BTreeMap<String, String>, Error> {
    let reply = connection.ask(&[b"INFO", section.as_bytes()]).await?;
    Ok(fields(reply.bytes().unwrap_or_default()))
}

/// Lines of `name:value`.
pub(crate) fn fields(text: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(text);
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

/// A setting's value (`CONFIG GET`), or the server's words of refusal.
pub(crate) async fn setting(
    connection: &mut Connection,
    name: &str,
) -> Result<Result<Option<String>, String>, Error> {
    Ok(match connection.ask_raw(&[b"CONFIG", b"GET", name.as_bytes()]).await? {
        Reply::Error(words) => Err(words),
        Reply::Array(pair) => {
            let value = pair.get(1).and_then(Reply::bytes);
            Ok(value.map(|value| String::from_utf8_lossy(value).into_owned()))
        }
        _ => Ok(None),
    })
}
