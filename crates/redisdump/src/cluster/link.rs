//! Commands that a cluster redirects: follows `MOVED` and `ASK`, and waits for failovers.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::{Value, cmd};
use tokio::time::Instant;

use super::topology::Topology;
use crate::client::connection::Connection;
use crate::client::wire::Reply;
use crate::{ConnectOptions, Error};

/// How long a slot may have no master before that is an error: a failover takes the cluster's node timeout (15 s by
/// default) plus an election.
pub(crate) const FAILOVER: Duration = Duration::from_secs(120);
/// Pause between two checks whether it has one again.
pub(crate) const PAUSE: Duration = Duration::from_millis(200);

/// Maximum number of redirects followed without a pause.
const HOPS: u64 = 4;

/// How a cluster node redirects a command that it does not serve itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Redirect {
    /// Permanently.
    Moved { slot: u16, host: String, port: u16 },
    /// Once: the key is in a slot that is being moved.
    Ask { slot: u16, host: String, port: u16 },
    /// One of several keys has not been moved yet.
    Again,
    /// The slot has no master at the moment.
    Down,
}

impl Redirect {
    /// Parses an error reply; `None` for any other error.
    pub(crate) fn of(message: &str) -> Option<Redirect> {
        let mut words = message.split_whitespace();
        let kind = words.next()?;
        match kind {
            "TRYAGAIN" => return Some(Redirect::Again),
            "CLUSTERDOWN" | "LOADING" | "MASTERDOWN" => return Some(Redirect::Down),
            "MOVED" | "ASK" => {}
            _ => return None,
        }
        let slot = words.next()?.parse().ok()?;
        let (host, port) = words.next()?.rsplit_once(':')?;
        // A node that does not know its own address omits it.
        let (host, port) = (host.trim_start_matches('?').to_owned(), port.parse().ok()?);
        Some(match kind {
            "MOVED" => Redirect::Moved { slot, host, port },
            _ => Redirect::Ask { slot, host, port },
        })
    }
}

/// The result of a redirected command.
pub(crate) struct Follow {
    pub(crate) reply: Reply,
    /// It may have been executed twice: the connection was lost before the reply arrived.
    pub(crate) repeated: bool,
}

/// Connections to nodes of a cluster, for single commands.
pub(crate) struct Link {
    cluster: ConnectOptions,
    open: BTreeMap<(String, u16), Connection>,
}

impl Link {
    pub(crate) fn new(cluster: &ConnectOptions) -> Link {
        Link { cluster: cluster.clone(), open: BTreeMap::new() }
    }

    /// Sends an encoded command to the node that serves it, following redirects until a node executes it. `from` is the
    /// node that redirected it.
    ///
    /// # Errors
    /// The slot has had no master for too long.
    pub(crate) async fn follow(
        &mut self,
        command: &[u8],
        slot: u16,
        from: (&str, u16),
        redirect: Redirect,
        operation: &str,
    ) -> Result<Follow, Error> {
        let deadline = Instant::now() + FAILOVER;
        let mut repeated = false;
        let mut at = (from.0.to_owned(), from.1);
        let mut redirect = redirect;
        let mut last_error = String::new();
        for hop in 0_u64.. {
            // Nodes that redirect to each other have to agree first.
            if hop > HOPS {
                tokio::time::sleep(PAUSE).await;
            }
            if Instant::now() > deadline {
                break;
            }
            let mut asking = false;
            match redirect {
                Redirect::Moved { host, port, .. } => at = named(host, port, &at.0),
                Redirect::Ask { host, port, .. } => {
                    at = named(host, port, &at.0);
                    asking = true;
                }
                Redirect::Again => tokio::time::sleep(PAUSE / 4).await,
                Redirect::Down => {
                    tokio::time::sleep(PAUSE).await;
                    if let Ok(topology) = Topology::read(&self.cluster).await
                        && let Some(owner) = topology.owner(slot)
                    {
                        at = (owner.host.clone(), owner.port);
                    }
                }
            }
            match self.ask(&at, asking, command, operation).await {
                Ok(Err(message)) => match Redirect::of(&message) {
                    Some(next) => {
                        redirect = next;
                        last_error = message;
                    }
                    None => return Ok(Follow { reply: Err(message), repeated }),
                },
                Ok(reply) => return Ok(Follow { reply, repeated }),
                Err(error @ (Error::Lost { .. } | Error::Connect { .. })) => {
                    repeated |= matches!(error, Error::Lost { .. });
                    self.open.remove(&at);
                    last_error = error.to_string();
                    redirect = Redirect::Down;
                }
                Err(error) => return Err(error),
            }
        }
        let target = self.cluster.display().to_string();
        let message = format!("slot {slot} was served by no node for {} s: {last_error}", FAILOVER.as_secs());
        Err(Error::Server { target, operation: operation.to_owned(), message })
    }

    async fn ask(
        &mut self,
        at: &(String, u16),
        asking: bool,
        command: &[u8],
        operation: &str,
    ) -> Result<Reply, Error> {
        if !self.open.contains_key(at) {
            let connection = Connection::open(&self.cluster.at(&at.0, at.1)).await?;
            self.open.insert(at.clone(), connection);
        }
        let Some(connection) = self.open.get_mut(at) else { return Ok(Ok(Value::Nil)) };
        if asking {
            connection.reply_to(&cmd("ASKING")).await?.ok();
        }
        connection.writer.send(command, operation).await?;
        connection.reader.reply(operation).await
    }
}

/// A node that omits its host means the host that was queried.
pub(crate) fn named(host: String, port: u16, asked: &str) -> (String, u16) {
    (if host.is_empty() { asked.to_owned() } else { host }, port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_read() {
        let moved = Redirect::of("MOVED 3999 127.0.0.1:6381");
        assert_eq!(moved, Some(Redirect::Moved { slot: 3999, host: "127.0.0.1".into(), port: 6381 }));
        let ask = Redirect::of("ASK 1 ::1:7000");
        assert_eq!(ask, Some(Redirect::Ask { slot: 1, host: "::1".into(), port: 7000 }));
        let unknown = Redirect::of("MOVED 1 :7000");
        assert_eq!(unknown, Some(Redirect::Moved { slot: 1, host: String::new(), port: 7000 }));
        assert_eq!(named(String::new(), 1, "h"), ("h".to_owned(), 1));
        assert_eq!(Redirect::of("CLUSTERDOWN Hash slot not served"), Some(Redirect::Down));
        assert_eq!(Redirect::of("TRYAGAIN Multiple keys"), Some(Redirect::Again));
        for other in ["ERR no", "MOVED", "MOVED x h:1", "BUSYKEY Target key name already exists."] {
            assert_eq!(Redirect::of(other), None, "{other}");
        }
    }
}
