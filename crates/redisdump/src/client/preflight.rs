//! Server settings that matter to a backup, besides the keys: limits for replicas, and the clock.

use serde::Serialize;

use crate::client::connection::Connection;
use crate::client::identity::{clock, info, setting};
use crate::cluster::each_master;
use crate::{ConnectOptions, Error};

/// What a server reports. `None` where the user lacks the permission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Preflight {
    /// Memory in use, in bytes.
    pub used_memory: Option<u64>,
    /// `client-output-buffer-limit` of replicas.
    pub replica_buffer: Option<BufferLimit>,
    /// Its clock, in milliseconds since the epoch.
    pub clock_ms: Option<i64>,
}

/// When a server disconnects a replica that reads too slowly. 0 means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BufferLimit {
    /// At this many buffered bytes, immediately.
    pub hard: u64,
    /// At this many buffered bytes, if they stay buffered for [`BufferLimit::seconds`].
    pub soft: u64,
    /// See [`BufferLimit::soft`].
    pub seconds: u64,
}

/// Queries the server, or each master of a cluster.
///
/// # Errors
/// If a server cannot be reached.
pub async fn preflight(options: &ConnectOptions) -> Result<Vec<Preflight>, Error> {
    each_master(options, |node| async move {
        let mut connection = Connection::open(&node).await?;
        let used_memory = match info(&mut connection, "memory").await {
            Ok(reply) => reply.get("used_memory"),
            Err(Error::Server { .. }) => None,
            Err(error) => return Err(error),
        };
        let limits = setting(&mut connection, "client-output-buffer-limit").await?.ok().flatten();
        let clock_ms = match clock(&mut connection).await {
            Ok(at) => Some(at).filter(|at| *at > 0),
            Err(Error::Server { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Preflight { used_memory, replica_buffer: limits.and_then(|limits| replica(&limits)), clock_ms })
    })
    .await
}

/// The limit for replicas in `normal 0 0 0 slave 268435456 67108864 60 pubsub …`.
fn replica(limits: &str) -> Option<BufferLimit> {
    let words: Vec<&str> = limits.split_whitespace().collect();
    let at = words.iter().position(|word| ["slave", "replica"].contains(word))?;
    let number = |offset: usize| words.get(at + offset)?.parse::<u64>().ok();
    Some(BufferLimit { hard: number(1)?, soft: number(2)?, seconds: number(3)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_any_version_writes_them() {
        let limit = Some(BufferLimit { hard: 268_435_456, soft: 67_108_864, seconds: 60 });
        assert_eq!(replica("normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"), limit);
        assert_eq!(replica("normal 0 0 0 replica 268435456 67108864 60"), limit);
        for wrong in ["", "normal 0 0 0", "slave", "slave 1 2", "slave 1 2 x"] {
            assert_eq!(replica(wrong), None, "{wrong}");
        }
    }
}
