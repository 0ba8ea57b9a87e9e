//! What one connection is sent, and what is awaited for it.

use crate::client::wire::command;
use crate::rdb::Kind;

/// What a reply is awaited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// `SELECT`.
    Select,
    /// A function library.
    Function,
    /// One of several commands that make a key, and not the last.
    Part(Kind),
    /// The command that makes a key, or completes it.
    Key(Kind),
    /// RENAMENX, which completes a key unless there is one of its name.
    Rename(Kind),
}

impl Operation {
    /// True for what makes a key, or completes it.
    pub(super) fn is_key(self) -> bool {
        matches!(self, Operation::Key(_) | Operation::Rename(_))
    }
}

/// A command whose reply is awaited.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) what: Operation,
    pub(super) db: u64,
    /// Where its key's name lies, and how long it is.
    name: (usize, usize),
}

/// The commands of a pipeline whose replies are awaited, in their order. The names lie in one piece: a string of its own for
/// each of millions of keys costs more than what is done with it.
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
    /// How many commands stand in `out`: more than are noted, in the middle of a long value.
    pub(super) commands: usize,
    selected: u64,
}

impl Pipeline {
    /// Notes a command whose reply is awaited.
    pub(super) fn note(&mut self, what: Operation, db: u64, name: &[u8]) {
        self.commands += 1;
        self.note_counted(what, db, name);
    }

    /// The same of one that was counted when it was written.
    pub(super) fn note_counted(&mut self, what: Operation, db: u64, name: &[u8]) {
        let at = self.queue.names.len();
        self.queue.names.extend_from_slice(name);
        self.queue.sent.push(Sent { what, db, name: (at, name.len()) });
    }

    /// Chooses a database for what follows.
    pub(super) fn select(&mut self, db: u64) {
        if self.selected != db {
            self.selected = db;
            command(&mut self.out, &[b"SELECT", db.to_string().as_bytes()]);
            self.note(Operation::Select, db, b"");
        }
    }

    /// Gives a value that was put together under another name its own, unless a key has that already.
    pub(super) fn rename(&mut self, temporary_name: &[u8], db: u64, name: &[u8], kind: Kind) {
        command(&mut self.out, &[b"RENAMENX", temporary_name, name]);
        self.note(Operation::Rename(kind), db, name);
        command(&mut self.out, &[b"DEL", temporary_name]);
        self.note(Operation::Part(kind), db, name);
    }
}
