//! Why a server closes the connection while it sends its snapshot: one of its own limits, which can be queried
//! afterwards.
//!
//! During a full sync, concurrent writes are kept in the replica's output buffer. Over `client-output-buffer-limit`,
//! the server closes the link without a message, and the next attempt ends the same way. `repl-timeout` closes it when
//! nothing is acknowledged or read for that long.

use crate::client::connection::Connection;
use crate::client::identity::{info, setting};
use crate::{ConnectOptions, Error};

/// What was in progress, the server's limits, and what to do.
pub(super) async fn explain(options: &ConnectOptions) -> String {
    match ask(options).await {
        Ok(reply) => reply,
        Err(error) => format!(
            "its snapshot was sent (the partial data is not used; the reason cannot be queried now: {error})"
        ),
    }
}

async fn ask(options: &ConnectOptions) -> Result<String, Error> {
    let mut connection = Connection::open(options).await?;
    // Counted by Redis 7.2 and newer, and by Valkey.
    let stats = info(&mut connection, "stats").await?;
    let closed = stats.get::<u64>("client_output_buffer_limit_disconnections");
    let limit = setting(&mut connection, "client-output-buffer-limit").await?.ok().flatten();
    let timeout = setting(&mut connection, "repl-timeout").await?.ok().flatten();
    let limit = limit.as_deref().and_then(of_replicas);
    let mut out = "its snapshot was sent. The partial data is not used. ".to_owned();
    match limit {
        Some(Limit { hard: 0, soft: 0, .. }) => {
            out.push_str("The server does not limit the output buffer of replicas. ");
        }
        Some(Limit { hard, soft, seconds }) => {
            out.push_str(&format!(
                "A server closes the link when what is written meanwhile exceeds its client-output-buffer-limit for replicas: \
                 here {hard} bytes, or {soft} bytes for {seconds} s. "
            ));
            if let Some(closed) = closed.filter(|closed| *closed > 0) {
                out.push_str(&format!("It has closed {closed} clients for such limits since it was started. "));
            }
            let wanted = hard.max(soft).saturating_mul(4).max(1 << 30);
            out.push_str(&format!(
                "Raise it (CONFIG SET client-output-buffer-limit \"replica {wanted} {wanted} 0\"; \"slave\" before 5.0), \
                 or copy when less is written. "
            ));
        }
        None => out.push_str(
            "The usual reason is client-output-buffer-limit for replicas, which the server does not allow reading (CONFIG GET). ",
        ),
    }
    if let Some(timeout) = timeout {
        out.push_str(&format!("The other limit is repl-timeout, here {timeout} s. "));
    }
    out.push_str("The server's log names the reason. Neither limit applies when keys are read one by one (capture = \"scan\")");
    Ok(out)
}

#[derive(Debug, PartialEq, Eq)]
struct Limit {
    hard: u64,
    soft: u64,
    seconds: u64,
}

/// The limit of replicas in `normal 0 0 0 slave 268435456 67108864 60 pubsub …`.
fn of_replicas(limits: &str) -> Option<Limit> {
    let words: Vec<&str> = limits.split_whitespace().collect();
    let at = words.iter().position(|word| matches!(*word, "slave" | "replica"))?;
    let number = |n: usize| words.get(at + n)?.parse().ok();
    Some(Limit { hard: number(1)?, soft: number(2)?, seconds: number(3)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_replicas_is_found() {
        let text = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        assert_eq!(of_replicas(text), Some(Limit { hard: 268_435_456, soft: 67_108_864, seconds: 60 }));
        assert_eq!(of_replicas("normal 0 0 0"), None);
    }
}
