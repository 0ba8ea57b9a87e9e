//! How much memory a target may use, and what it does when that is exhausted.

use std::fmt;

use serde::Serialize;

use crate::client::connection::Connection;
use crate::client::identity::{info, setting};
use crate::cluster::each_master;
use crate::{ConnectOptions, Error};

/// A server's memory limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct MemoryLimit {
    /// `maxmemory`, in bytes.
    pub maxmemory: u64,
    /// `maxmemory-policy`: which keys it evicts at the limit.
    pub policy: String,
    /// Bytes in use.
    pub used: u64,
    /// Bytes in use when the server is empty.
    pub used_when_empty: u64,
}

impl MemoryLimit {
    /// True if it evicts keys rather than refuse writes.
    pub fn evicts(&self) -> bool {
        self.policy != "noeviction"
    }

    /// Bytes available, with its current keys or without them.
    pub fn left(&self, emptied: bool) -> u64 {
        self.maxmemory.saturating_sub(if emptied { self.used_when_empty } else { self.used })
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (maxmemory, policy) = (mebibytes(self.maxmemory), &self.policy);
        write!(f, "maxmemory {maxmemory}, maxmemory-policy {policy}, {} used", mebibytes(self.used))
    }
}

/// A human-readable size.
pub fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) / (1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// A server's memory limit; `None` if it has none or does not reveal it.
///
/// # Errors
/// The server cannot be reached.
pub async fn memory_limit(options: &ConnectOptions) -> Result<Option<MemoryLimit>, Error> {
    let limits = each_master(options, |node| async move { limit(&mut Connection::open(&node).await?).await });
    let mut all: Option<MemoryLimit> = None;
    for limit in limits.await? {
        // If one master of a cluster has no limit, the cluster has none.
        let Some(limit) = limit else { return Ok(None) };
        all = Some(match all {
            None => limit,
            Some(all) => MemoryLimit {
                maxmemory: all.maxmemory.saturating_add(limit.maxmemory),
                policy: if limit.evicts() { limit.policy } else { all.policy },
                used: all.used.saturating_add(limit.used),
                used_when_empty: all.used_when_empty.saturating_add(limit.used_when_empty),
            },
        });
    }
    Ok(all)
}

async fn limit(connection: &mut Connection) -> Result<Option<MemoryLimit>, Error> {
    let reply = match info(connection, "memory").await {
        Ok(reply) => reply,
        // A user who may not ask gets no answer.
        Err(Error::Server { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let number = |name: &str| reply.get::<u64>(name);
    // INFO contains both from 4.0 on, CONFIG always did.
    let (mut maxmemory, mut policy) = (number("maxmemory"), reply.get("maxmemory_policy"));
    if maxmemory.is_none() {
        maxmemory = setting(connection, "maxmemory").await?.ok().flatten().and_then(|it| it.parse().ok());
    }
    if policy.is_none() {
        policy = setting(connection, "maxmemory-policy").await?.ok().flatten();
    }
    Ok(maxmemory.filter(|bytes| *bytes > 0).map(|maxmemory| MemoryLimit {
        maxmemory,
        policy: policy.unwrap_or_else(|| "noeviction".to_owned()),
        used: number("used_memory").unwrap_or(0),
        used_when_empty: number("used_memory_startup").unwrap_or(0),
    }))
}

/// Approximate memory used by the keys of a server, in bytes; `None` if it does not reveal it. For a cluster, the sum
/// over all masters.
///
/// # Errors
/// The server cannot be reached.
pub async fn data_size(options: &ConnectOptions) -> Result<Option<u64>, Error> {
    let sizes = each_master(options, |node| async move {
        let reply = match info(&mut Connection::open(&node).await?, "memory").await {
            Ok(reply) => reply,
            Err(Error::Server { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let number = |name: &str| reply.get::<u64>(name);
        // From 4.0 on, without buffers and bookkeeping.
        Ok(number("used_memory_dataset").or_else(|| number("used_memory")))
    });
    Ok(sizes.await?.into_iter().sum())
}

/// The number of keys that a server has ever evicted; `None` if it does not reveal it.
pub(super) async fn evicted(connection: &mut Connection) -> Result<Option<u64>, Error> {
    match info(connection, "stats").await {
        Ok(reply) => Ok(reply.get("evicted_keys")),
        Err(Error::Server { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same for all masters of a cluster, or for a single server.
pub(super) async fn evicted_of_all(options: &ConnectOptions) -> Result<Option<u64>, Error> {
    let of_nodes =
        each_master(options, |node| async move { evicted(&mut Connection::open(&node).await?).await });
    Ok(of_nodes.await?.into_iter().sum())
}

/// The number of keys evicted since then.
pub(super) async fn evicted_since(options: &ConnectOptions, before: Option<u64>) -> Result<u64, Error> {
    let Some(before) = before else { return Ok(0) };
    let now = evicted_of_all(options).await?;
    Ok(now.unwrap_or(before).saturating_sub(before))
}
