//! Commands for one connection, and the replies that they expect.

use crate::client::wire::command;
use crate::rdb::Kind;

/// What a reply is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// `SELECT`.
    Select,
    /// A function library.
    Function,
    /// One of several commands that create a key, except the last.
    Part(Kind),
    /// The command that creates or completes a key.
    Key(Kind),
    /// RENAMENX, which completes a key unless one with its name exists.
    Rename(Kind),
}

impl Operation {
    /// True for a command that creates or completes a key.
    pub(super) fn is_key(self) -> bool {
        matches!(self, Operation::Key(_) | Operation::Rename(_))
    }
}

/// A command that expects a reply.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) what: Operation,
    pub(super) db: u64,
    /// Offset and length of its key's name.
    name: (usize, usize),
}

/// The commands of a pipeline that expect replies, in order. Names are stored in one buffer: an allocation for each of
/// millions of keys would cost more than processing it.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) sent: Vec<Sent>,
    names: Vec<u8>,
}

impl Queue {
    pub(super) fn name(&self, sent: &Sent) -> &[u8] {
        let (from, length) = sent.name;
        self.names.get(from..from.saturating_add(length)).unwrap_or_default()
    }
}

/// Commands for one connection.
#[derive(Debug, Default)]
pub(super) struct Pipeline {
    pub(super) out: Vec<u8>,
    pub(super) queue: Queue,
    /// Number of commands in `out`: in the middle of a long value, more than are registered.
    pub(super) commands: usize,
    selected: u64,
}

impl Pipeline {
    /// Registers a command that expects a reply.
    pub(super) fn note(&mut self, what: Operation, db: u64, name: &[u8]) {
        self.commands += 1;
        self.note_counted(what, db, name);
    }

    /// The same for a command that was already counted.
    pub(super) fn note_counted(&mut self, what: Operation, db: u64, name: &[u8]) {
        let at = self.queue.names.len();
        self.queue.names.extend_from_slice(name);
        self.queue.sent.push(Sent { what, db, name: (at, name.len()) });
    }

    /// Selects a database for the following commands.
    pub(super) fn select(&mut self, db: u64) {
        if self.selected != db {
            self.selected = db;
            command(&mut self.out, &[b"SELECT", db.to_string().as_bytes()]);
            self.note(Operation::Select, db, b"");
        }
    }

    /// Renames a value that was built under a temporary name, unless a key with its name exists.
    pub(super) fn rename(&mut self, temporary_name: &[u8], db: u64, name: &[u8], kind: Kind) {
        command(&mut self.out, &[b"RENAMENX", temporary_name, name]);
        self.note(Operation::Rename(kind), db, name);
        command(&mut self.out, &[b"DEL", temporary_name]);
        self.note(Operation::Part(kind), db, name);
    }
}
