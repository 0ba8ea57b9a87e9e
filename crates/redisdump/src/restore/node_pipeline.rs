//! A pipeline to one master of a cluster, which survives the migration of its slots and a failover.
//!
//! Sent but unanswered commands are kept. A command that the master redirects (`MOVED`, `ASK`) is sent to the other
//! node on its own, in order. If the master is lost, unanswered commands are sent again to the replica that replaces
//! it.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use redis::{InfoDict, Value, cmd};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::OPERATION;
use super::pipeline::{Operation, Queue, Sent};
use super::routes::Routes;
use super::stats::{RestoreStats, is_there};
use crate::client::connection::Connection;
use crate::client::wire::Reply;
use crate::cluster::{FAILOVER, Link, Node, PAUSE, Redirect, Topology, named, slot_of};
use crate::display::shown;
use crate::{ConnectOptions, Error};

/// Maximum number of batches in flight.
const MAX_IN_FLIGHT: usize = 4;

/// Commands that are ready for a master.
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    /// Number of commands.
    pub(super) commands: usize,
    /// What their replies are for. In the middle of a long value there is one entry less than commands: the entry of
    /// the last one arrives with the next batch.
    pub(super) queue: Queue,
}

/// Events on all pipelines.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// Number of commands that another node executed.
    pub(super) redirected: AtomicU64,
    /// Failovers: from which node to which node.
    pub(super) failovers: Mutex<Vec<String>>,
}

/// A pipeline to one master.
pub(super) struct NodePipeline<'a> {
    pub(super) cluster: &'a ConnectOptions,
    pub(super) routes: &'a Routes,
    pub(super) events: &'a Events,
    pub(super) taken: &'a RestoreStats<'a>,
    /// The target did not have these keys before: a key that exists when its command is sent again was created by that
    /// command.
    pub(super) was_empty: bool,
    /// The number of the master, and a slot that it served at the start.
    pub(super) node: usize,
    pub(super) slot: u16,
    pub(super) at: (String, u16),
    pub(super) awaited: mpsc::Receiver<Batch>,
}

/// A batch in flight.
struct SentBatch {
    bytes: Vec<u8>,
    commands: usize,
    answered: usize,
}

/// The state of a pipeline.
struct NodeState<'a> {
    pipe: NodePipeline<'a>,
    connection: Connection,
    link: Link,
    flying: VecDeque<SentBatch>,
    notes: VecDeque<(Queue, usize)>,
    /// How many of the next replies belong to commands that were sent a second time.
    repeated: usize,
    /// The master has become a replica of this node: nothing more is sent until everything is answered.
    leaving: Option<(String, u16)>,
}

impl<'a> NodePipeline<'a> {
    /// Sends batches until the channel is closed and everything is answered.
    ///
    /// # Errors
    /// A command was refused, or no node replaces a lost master.
    pub(super) async fn run(self) -> Result<(), Error> {
        let connection = Connection::open(&self.cluster.at(&self.at.0, self.at.1)).await?;
        let link = Link::new(self.cluster);
        let flow = NodeState {
            pipe: self,
            connection,
            link,
            flying: VecDeque::new(),
            notes: VecDeque::new(),
            repeated: 0,
            leaving: None,
        };
        flow.run().await
    }
}

impl NodeState<'_> {
    async fn run(mut self) -> Result<(), Error> {
        loop {
            if self.flying.is_empty() {
                if let Some(to) = self.leaving.take() {
                    self.move_to(to).await?;
                }
                match self.pipe.awaited.recv().await {
                    Some(batch) => self.send(batch).await?,
                    None => return Ok(()),
                }
            } else if self.leaving.is_none()
                && self.flying.len() < MAX_IN_FLIGHT
                && let Ok(batch) = self.pipe.awaited.try_recv()
            {
                self.send(batch).await?;
            } else {
                self.answers().await?;
            }
        }
    }

    async fn send(&mut self, batch: Batch) -> Result<(), Error> {
        let Batch { bytes, commands, queue } = batch;
        self.notes.push_back((queue, 0));
        self.flying.push_back(SentBatch { bytes, commands, answered: 0 });
        let Some(last) = self.flying.back() else { return Ok(()) };
        let sent = self.connection.writer.send(&last.bytes, OPERATION).await;
        self.or_recover(sent).await.map(drop)
    }

    /// Recovers from a lost connection; does nothing if it was not lost.
    async fn or_recover<T>(&mut self, result: Result<T, Error>) -> Result<Option<T>, Error> {
        match result {
            Ok(done) => Ok(Some(done)),
            Err(error @ Error::Lost { .. }) => self.recover(error).await.map(|()| None),
            Err(error) => Err(error),
        }
    }

    /// Reads the replies to the oldest batch.
    async fn answers(&mut self) -> Result<(), Error> {
        while let Some(front) = self.flying.front() {
            let left = front.commands.saturating_sub(front.answered);
            if left == 0 {
                break;
            }
            if !self.has_note().await? {
                return Err(self.connection.reader.protocol("an unexpected reply".to_owned()));
            }
            if self.repeated == 0 && self.take_ok(left) > 0 {
                continue;
            }
            let reply = self.connection.reader.reply(OPERATION).await;
            let Some(reply) = self.or_recover(reply).await? else { continue };
            self.answer(reply).await?;
        }
        self.flying.pop_front();
        Ok(())
    }

    /// Whether the purpose of the next reply is known; that of the last reply of a batch arrives with the next batch.
    async fn has_note(&mut self) -> Result<bool, Error> {
        loop {
            while self.notes.front().is_some_and(|(queue, next)| *next >= queue.sent.len()) {
                self.notes.pop_front();
            }
            if !self.notes.is_empty() {
                return Ok(true);
            }
            match self.pipe.awaited.recv().await {
                Some(batch) => self.send(batch).await?,
                None => return Ok(false),
            }
        }
    }

    /// Takes `+OK` replies that have already arrived.
    fn take_ok(&mut self, most: usize) -> usize {
        let Some((queue, next)) = self.notes.front_mut() else { return 0 };
        let waiting = queue.sent.get(*next..).unwrap_or_default();
        let count = self.connection.reader.take_ok(most.min(waiting.len()));
        self.pipe.taken.all_taken(waiting.get(..count).unwrap_or_default());
        *next += count;
        if let Some(front) = self.flying.front_mut() {
            front.answered += count;
        }
        count
    }

    /// Handles one reply, to the next command.
    async fn answer(&mut self, reply: Reply) -> Result<(), Error> {
        let Some((queue, next)) = self.notes.front_mut() else { return Ok(()) };
        let Some(sent) = queue.sent.get(*next).copied() else { return Ok(()) };
        let name = queue.name(&sent).to_vec();
        *next += 1;
        let command = match (&reply, self.flying.front()) {
            (Err(message), Some(front)) if Redirect::of(message).is_some() => {
                nth(&front.bytes, front.answered).map(<[u8]>::to_vec)
            }
            _ => None,
        };
        if let Some(front) = self.flying.front_mut() {
            front.answered += 1;
        }
        let mut repeated = self.repeated > 0;
        self.repeated = self.repeated.saturating_sub(1);
        let redirect = match &reply {
            Err(message) => Redirect::of(message),
            Ok(_) => None,
        };
        let (Some(redirect), Some(command)) = (redirect, command) else {
            return self.settle(&sent, &name, reply, repeated);
        };
        if let Redirect::Moved { slot, host, port } = &redirect {
            let to = named(host.clone(), *port, &self.pipe.at.0);
            if !self.pipe.routes.moved(*slot, &to) && self.leaving.is_none() {
                self.leaving = successor(self.pipe.cluster, &self.pipe.at, self.pipe.slot).await;
            }
        }
        self.pipe.events.redirected.fetch_add(1, Ordering::Relaxed);
        let slot = if name.is_empty() { self.pipe.slot } else { slot_of(&name) };
        let at = (self.pipe.at.0.as_str(), self.pipe.at.1);
        let followed = self.link.follow(&command, slot, at, redirect, OPERATION).await?;
        if followed.repeated && !is_repeatable(sent.what) {
            return Err(self.partial_key(&name));
        }
        repeated |= followed.repeated;
        self.settle(&sent, &name, followed.reply, repeated)
    }

    /// Counts a reply. If a command was sent twice, an existing key is the one that it created.
    fn settle(&self, sent: &Sent, name: &[u8], reply: Reply, repeated: bool) -> Result<(), Error> {
        let reply = match reply {
            Err(message) if repeated && self.pipe.was_empty && is_there(sent.what, &message) => {
                Ok(Value::Okay)
            }
            reply => reply,
        };
        self.pipe.taken.note(sent, name, reply)
    }

    async fn move_to(&mut self, to: (String, u16)) -> Result<(), Error> {
        let node = self.pipe.cluster.at(&to.0, to.1);
        match Connection::open(&node).await {
            Ok(connection) => self.connection = connection,
            Err(error @ (Error::Lost { .. } | Error::Connect { .. })) => return self.recover(error).await,
            Err(error) => return Err(error),
        }
        self.note_failover(to);
        Ok(())
    }

    fn note_failover(&mut self, to: (String, u16)) {
        if to == self.pipe.at {
            return;
        }
        let from = std::mem::replace(&mut self.pipe.at, to);
        self.pipe.routes.replaced(self.pipe.node, &self.pipe.at);
        let event = format!("{}:{} -> {}:{}", from.0, from.1, self.pipe.at.0, self.pipe.at.1);
        if let Ok(mut failovers) = self.pipe.events.failovers.lock()
            && !failovers.contains(&event)
        {
            failovers.push(event);
        }
    }

    /// Waits for a master that replaces this one, and sends it the unanswered commands.
    async fn recover(&mut self, cause: Error) -> Result<(), Error> {
        let deadline = Instant::now() + FAILOVER;
        self.refuse_partial_key()?;
        loop {
            if Instant::now() > deadline {
                return Err(cause);
            }
            tokio::time::sleep(PAUSE).await;
            let Ok(topology) = Topology::read(self.pipe.cluster).await else { continue };
            let Some(owner) = topology.owner(self.pipe.slot) else { continue };
            let to = (owner.host.clone(), owner.port);
            let Ok(mut connection) = Connection::open(&self.pipe.cluster.at(&to.0, to.1)).await else {
                continue;
            };
            if !serves(&mut connection).await {
                continue;
            }
            self.connection = connection;
            if self.send_again().await.is_err() {
                continue;
            }
            self.leaving = None;
            self.note_failover(to);
            return Ok(());
        }
    }

    async fn send_again(&mut self) -> Result<(), Error> {
        self.repeated = 0;
        for flying in &self.flying {
            let rest = skip(&flying.bytes, flying.answered).unwrap_or_default();
            self.connection.writer.send(rest, OPERATION).await?;
            self.repeated += flying.commands.saturating_sub(flying.answered);
        }
        Ok(())
    }

    /// A value that is sent as several commands cannot be sent again: some of them may have been executed.
    fn refuse_partial_key(&self) -> Result<(), Error> {
        let waiting = self.notes.iter().flat_map(|(queue, next)| {
            queue.sent.get(*next..).unwrap_or_default().iter().map(move |sent| (queue, sent))
        });
        for (queue, sent) in waiting {
            if !is_repeatable(sent.what) {
                return Err(self.partial_key(queue.name(sent)));
            }
        }
        Ok(())
    }

    fn partial_key(&self, name: &[u8]) -> Error {
        Error::Server {
            target: self.pipe.cluster.display().to_string(),
            operation: OPERATION.to_owned(),
            message: format!(
                "{}:{} was lost in the middle of key {}, which is sent as several commands: some of them may have been executed",
                self.pipe.at.0,
                self.pipe.at.1,
                shown(name)
            ),
        }
    }
}

/// The node that has replaced this master; `None` while this node is still a master.
async fn successor(cluster: &ConnectOptions, of: &(String, u16), slot: u16) -> Option<(String, u16)> {
    let topology = Topology::read(cluster).await.ok()?;
    let still = |node: &Node| (&node.host, node.port) == (&of.0, of.1);
    if topology.masters.iter().any(still) {
        return None;
    }
    topology.owner(slot).map(|owner| (owner.host.clone(), owner.port))
}

/// Whether a command may be sent twice: it creates a whole key, or is idempotent.
fn is_repeatable(what: Operation) -> bool {
    matches!(what, Operation::Key(_) | Operation::Function | Operation::Select)
}

/// Whether a node serves its slots.
async fn serves(connection: &mut Connection) -> bool {
    let info: Result<InfoDict, Error> = connection.query(cmd("CLUSTER").arg("INFO")).await;
    info.is_ok_and(|info| info.get::<String>("cluster_state").is_some_and(|state| state == "ok"))
}

/// The command at this position among the ready ones.
fn nth(commands: &[u8], number: usize) -> Option<&[u8]> {
    let rest = skip(commands, number)?;
    let after = skip(rest, 1)?;
    rest.get(..rest.len() - after.len())
}

/// The ready commands without the first `count`.
fn skip(commands: &[u8], number: usize) -> Option<&[u8]> {
    let mut rest = commands;
    for _ in 0..number {
        let (arguments, mut after) = head(rest, b'*')?;
        for _ in 0..arguments {
            let (length, text) = head(after, b'$')?;
            after = text.get(length.checked_add(2)?..)?;
        }
        rest = after;
    }
    Some(rest)
}

/// The number on a line, and the rest after it.
fn head(bytes: &[u8], kind: u8) -> Option<(usize, &[u8])> {
    let line = bytes.strip_prefix(&[kind])?;
    let end = line.windows(2).position(|pair| pair == b"\r\n")?;
    let number = std::str::from_utf8(line.get(..end)?).ok()?.parse().ok()?;
    Some((number, line.get(end + 2..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::wire::command;

    #[test]
    fn a_command_among_others_is_found() {
        let mut bytes = Vec::new();
        for words in [&[b"SET".as_slice(), b"a", b"\r\n$3\r\n"][..], &[b"PING"], &[b"GET", b""]] {
            command(&mut bytes, words);
        }
        assert_eq!(nth(&bytes, 1), Some(b"*1\r\n$4\r\nPING\r\n".as_slice()));
        assert!(
            nth(&bytes, 0).unwrap().ends_with(b"$3\r\n\r\n")
                && nth(&bytes, 2).unwrap().ends_with(b"$0\r\n\r\n")
        );
        assert_eq!((skip(&bytes, 3), nth(&bytes, 3)), (Some(b"".as_slice()), None));
    }
}
