//! The identity of the server that answered.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::client::wire::{Connection, Reply};
use crate::cluster::Topology;
use crate::conflict::Conflict;
use crate::rdb::Dialect;
use crate::{ConnectOptions, Error};

/// A server, as described by its `INFO`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServerIdentity {
    /// Redis or Valkey.
    pub flavor: Dialect,
    /// The version, such as `8.2.3`.
    pub version: String,
    /// The run id, which changes with every start of the server.
    pub run_id: String,
    /// `master` or `slave`.
    pub role: String,
    /// The address at which it was reached: host and port, or a socket.
    pub address: String,
    /// True for a node of a cluster, which contains part of the keys.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cluster: bool,
    /// The number of masters of a whole cluster; 0 for a single server or one node.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub masters: u32,
    /// What a dialer connected through, such as a pod with its UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl ServerIdentity {
    /// The first two numbers of the version. Valkey continues Redis 7.2's numbering.
    pub(crate) fn major_minor(&self) -> (u32, u32) {
        let mut numbers = self.version.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// True from this version on.
    pub(crate) fn at_least(&self, major: u32, minor: u32) -> bool {
        self.major_minor() >= (major, minor)
    }
}

impl fmt::Display for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.flavor == Dialect::Valkey { "Valkey" } else { "Redis" };
        if self.masters > 0 {
            let masters = if self.masters == 1 { "master" } else { "masters" };
            write!(f, "{name} {} cluster of {} {masters} at {}", self.version, self.masters, self.address)?;
        } else {
            let run: String = self.run_id.chars().take(12).collect();
            write!(f, "{name} {} at {}, run {run}", self.version, self.address)?;
        }
        match &self.via {
            Some(via) => write!(f, ", {via}"),
            None => Ok(()),
        }
    }
}

/// Identifies a server.
///
/// # Errors
/// [`Error::Refused`] for a Sentinel, and for a proxy that does not reveal which server is behind it.
pub(crate) async fn identify(
    connection: &mut Connection,
    options: &ConnectOptions,
) -> Result<ServerIdentity, Error> {
    let mut info = BTreeMap::new();
    let mut refused = None;
    for section in ["server", "replication", "cluster"] {
        match connection.ask_raw(&[b"INFO", section.as_bytes()]).await? {
            Reply::Error(words) => refused = Some(words),
            reply => info.extend(fields(reply.bytes().unwrap_or_default())),
        }
    }
    let get = |name: &str| info.get(name).cloned().unwrap_or_default();
    let valkey = get("valkey_version");
    let (mut flavor, mut version) =
        if valkey.is_empty() { (Dialect::Redis, get("redis_version")) } else { (Dialect::Valkey, valkey) };
    let (mut mode, mut role) = (get("redis_mode"), get("role"));
    if version.is_empty() {
        // Behind a proxy with an INFO of its own, or without permission for INFO, HELLO identifies the server from 6.0
        // on.
        let hello = hello(connection).await?;
        let field = |name: &str| hello.get(name).cloned().unwrap_or_default();
        flavor = if field("server") == "valkey" { Dialect::Valkey } else { Dialect::Redis };
        (version, mode) = (field("version"), field("mode"));
        if role.is_empty() {
            role = if field("role") == "replica" { "slave".to_owned() } else { field("role") };
        }
    }
    let address = options.address();
    if mode == "sentinel" {
        return Err(is_sentinel(connection, &address).await?);
    }
    if version.is_empty() || !version.starts_with(|first: char| first.is_ascii_digit()) {
        let words = refused.map_or_else(
            || "neither INFO nor HELLO returned a server version".to_owned(),
            |words| format!("INFO: {words}; HELLO returned no version either"),
        );
        return Err(Error::Refused {
            what: format!("cannot identify {address} as a Redis or Valkey server"),
            conflicts: vec![
                format!("{words}. Connect to the server behind a proxy; a user needs +info").into(),
            ],
        });
    }
    let via = match &options.dialer {
        Some(dialer) => dialer.open().await.ok().map(|way| way.via),
        None => None,
    };
    let mut masters = 0;
    if options.is_cluster() {
        // Any of its nodes speaks for the whole cluster.
        let topology = Box::pin(Topology::read(options)).await?;
        masters = u32::try_from(topology.masters.len()).unwrap_or(u32::MAX);
        "master".clone_into(&mut role);
    }
    Ok(ServerIdentity {
        flavor,
        version,
        run_id: get("run_id"),
        role,
        address,
        cluster: get("cluster_enabled") == "1" || mode == "cluster",
        masters,
        via,
    })
}

/// The fields of the reply to `HELLO` (6.0); empty if the server does not support it.
async fn hello(connection: &mut Connection) -> Result<BTreeMap<String, String>, Error> {
    let Reply::Array(reply) = connection.ask_raw(&[b"HELLO", b"2"]).await? else {
        return Ok(BTreeMap::new());
    };
    let text = |reply: &Reply| reply.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let (pairs, _) = reply.as_chunks::<2>();
    Ok(pairs.iter().filter_map(|[name, value]| Some((text(name)?, text(value)?))).collect())
}

/// Whether it is a Sentinel, with the names of the masters that it monitors.
async fn is_sentinel(connection: &mut Connection, address: &str) -> Result<Error, Error> {
    let mut names = Vec::new();
    if let Reply::Array(masters) = connection.ask_raw(&[b"SENTINEL", b"MASTERS"]).await? {
        for master in &masters {
            let Reply::Array(reply) = master else { continue };
            let (pairs, _) = reply.as_chunks::<2>();
            let name = pairs.iter().find(|[name, _]| name.bytes() == Some(b"name"));
            names.extend(
                name.and_then(|[_, name]| name.bytes())
                    .map(|name| String::from_utf8_lossy(name).into_owned()),
            );
        }
    }
    let name = names.first().map_or("MASTER-NAME", String::as_str);
    let known = match names.is_empty() {
        true => String::new(),
        false => format!(" (it monitors {})", names.join(", ")),
    };
    Ok(Error::Refused {
        what: format!("{address} is a Sentinel, which stores no keys"),
        conflicts: vec![Conflict::from(format!(
            "redis+sentinel://{address}/{name} connects to the master that it monitors{known}"
        ))],
    })
}

/// Hashes of the code of all function libraries; `None` if the server has no functions (before 7.0).
pub(crate) async fn functions(
    connection: &mut Connection,
    server: &ServerIdentity,
) -> Result<Option<Vec<u128>>, Error> {
    if !server.at_least(7, 0) {
        return Ok(None);
    }
    use crate::client::wire::Reply;
    let Reply::Array(libraries) = connection.ask(&[b"FUNCTION", b"LIST", b"WITHCODE"]).await? else {
        return Ok(None);
    };
    let mut hashes: Vec<u128> = libraries
        .iter()
        .filter_map(|library| {
            let Reply::Array(fields) = library else { return None };
            let (pairs, _) = fields.as_chunks::<2>();
            let code = pairs.iter().find(|[name, _]| name.bytes() == Some(b"library_code"))?;
            code[1].bytes().map(crate::compare::digest::function)
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

/// Lines of the form `name:value`.
pub(crate) fn fields(text: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(text);
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

/// The value of a setting (`CONFIG GET`), or the server's error.
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

/// The target's clock, which decides what has expired.
pub(crate) async fn clock(connection: &mut Connection) -> Result<i64, Error> {
    Ok(connection.ask(&[b"TIME"]).await?.clock().unwrap_or(0))
}
