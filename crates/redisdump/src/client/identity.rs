//! The identity of the server that answered.

use std::collections::HashMap;
use std::fmt;

use redis::{InfoDict, Value, cmd, from_redis_value, from_redis_value_ref};
use serde::{Deserialize, Serialize};

use crate::client::connection::Connection;
use crate::client::text::Text;
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
    let (info, mut refused) = sections(connection, &["server", "replication", "cluster"]).await?;
    let get = |name: &str| info.get::<String>(name).unwrap_or_default();
    let valkey = get("valkey_version");
    let (mut flavor, mut version) =
        if valkey.is_empty() { (Dialect::Redis, get("redis_version")) } else { (Dialect::Valkey, valkey) };
    let (mut mode, mut role) = (get("redis_mode"), get("role"));
    if version.is_empty() {
        // Behind a proxy with an INFO of its own, or without permission for INFO, HELLO identifies the server from 6.0
        // on.
        let hello = hello(connection).await?;
        let text = |value: &Value| from_redis_value_ref::<String>(value).ok();
        let field = |name: &str| hello.get(name).and_then(text).unwrap_or_default();
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
        let words = match refused.pop() {
            Some(Error::Server { message, .. }) => {
                format!("INFO: {message}; HELLO returned no version either")
            }
            _ => "neither INFO nor HELLO returned a server version".to_owned(),
        };
        return Err(Error::Refused {
            what: format!("cannot identify {address} as a Redis or Valkey server"),
            conflicts: vec![
                format!("{words}. Connect to the server behind a proxy; a user needs +info").into(),
            ],
        });
    }
    let via = match &options.dialer {
        Some(dialer) => dialer.open().await.ok().map(|route| route.via),
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
async fn hello(connection: &mut Connection) -> Result<HashMap<String, Value>, Error> {
    Ok(connection.query_optional(cmd("HELLO").arg(2)).await?.unwrap_or_default())
}

/// Whether it is a Sentinel, with the names of the masters that it monitors.
async fn is_sentinel(connection: &mut Connection, address: &str) -> Result<Error, Error> {
    let masters: Option<Vec<HashMap<Text, Text>>> =
        connection.query_optional(cmd("SENTINEL").arg("MASTERS")).await?;
    let named = |master: HashMap<Text, Text>| master.into_iter().find(|(field, _)| field.0 == "name");
    let names: Vec<String> =
        masters.unwrap_or_default().into_iter().filter_map(named).map(|(_, name)| name.0).collect();
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
    let libraries: Vec<HashMap<String, Value>> =
        connection.query(cmd("FUNCTION").arg("LIST").arg("WITHCODE")).await?;
    let code = |mut library: HashMap<String, Value>| {
        from_redis_value::<Vec<u8>>(library.remove("library_code")?).ok()
    };
    let mut hashes: Vec<u128> =
        libraries.into_iter().filter_map(code).map(|code| crate::compare::digest::function(&code)).collect();
    hashes.sort_unstable();
    Ok(Some(hashes))
}

/// A section of INFO.
pub(crate) async fn info(connection: &mut Connection, section: &str) -> Result<InfoDict, Error> {
    let text: Text = connection.query(cmd("INFO").arg(section)).await?;
    Ok(InfoDict::new(&text.0))
}

/// The sections of INFO that a user may read, as one, and the server's errors about the others.
pub(crate) async fn sections(
    connection: &mut Connection,
    names: &[&str],
) -> Result<(InfoDict, Vec<Error>), Error> {
    let (mut all, mut refused) = (String::new(), Vec::new());
    for name in names {
        match connection.query::<Text>(cmd("INFO").arg(name)).await {
            Ok(text) => all.extend([&text.0, "\n"]),
            Err(error @ Error::Server { .. }) => refused.push(error),
            Err(error) => return Err(error),
        }
    }
    Ok((InfoDict::new(&all), refused))
}

/// The value of a setting (`CONFIG GET`), or the server's error message.
pub(crate) async fn setting(
    connection: &mut Connection,
    name: &str,
) -> Result<Result<Option<String>, String>, Error> {
    let reply = connection.reply_to(cmd("CONFIG").arg("GET").arg(name)).await?;
    Ok(reply.map(|reply| {
        // A proxy may answer something else.
        let pairs: Vec<(Text, Text)> = from_redis_value(reply).unwrap_or_default();
        pairs.into_iter().next().map(|(_, value)| value.0)
    }))
}

/// The server's clock in milliseconds since the epoch, which decides what has expired.
pub(crate) async fn clock(connection: &mut Connection) -> Result<i64, Error> {
    connection.query(&cmd("TIME")).await.map(milliseconds)
}

/// The reply to TIME, seconds and microseconds, in milliseconds.
pub(crate) fn milliseconds((seconds, micros): (i64, i64)) -> i64 {
    seconds.saturating_mul(1000).saturating_add(micros / 1000)
}
