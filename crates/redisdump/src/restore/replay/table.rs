//! The target's own table of commands: what it knows, what writes, and where the names of keys stand.

use std::collections::HashMap;

use crate::Error;
use crate::wire::{Connection, Reply};

/// Where a command has the names of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) writes: bool,
    /// Only the server itself can say which arguments are keys.
    pub(super) movable: bool,
    first: i64,
    last: i64,
    step: i64,
}

impl Entry {
    /// The arguments that name keys, of a command with so many.
    pub(super) fn keys(self, arguments: usize) -> impl Iterator<Item = usize> {
        let count = i64::try_from(arguments).unwrap_or(i64::MAX);
        let last = if self.last < 0 { count.saturating_add(self.last) } else { self.last.min(count - 1) };
        let step = usize::try_from(self.step).unwrap_or(1).max(1);
        let first = usize::try_from(self.first).unwrap_or(0);
        let end = if first == 0 { 0 } else { usize::try_from(last).map_or(0, |last| last + 1) };
        (first..end).step_by(step)
    }
}

/// What `COMMAND` tells, by lower-case name; those in containers as `xgroup|create`.
#[derive(Debug, Default)]
pub(super) struct Table(HashMap<String, Entry>);

impl Table {
    /// Asks the server.
    pub(super) async fn ask(connection: &mut Connection) -> Result<Table, Error> {
        let reply = connection.ask(&[b"COMMAND"]).await?;
        let mut table = Table::default();
        if let Reply::Array(commands) = &reply {
            commands.iter().for_each(|command| table.add(command));
        }
        Ok(table)
    }

    fn add(&mut self, command: &Reply) {
        let Reply::Array(fields) = command else { return };
        let Some(name) = fields.first().and_then(Reply::bytes) else { return };
        let flags = match fields.get(2) {
            Some(Reply::Array(flags)) => flags.as_slice(),
            _ => &[],
        };
        let flag = |name: &[u8]| flags.iter().any(|flag| flag.bytes() == Some(name));
        let number = |at: usize| fields.get(at).and_then(Reply::int).unwrap_or(0);
        let entry = Entry {
            writes: flag(b"write"),
            movable: flag(b"movablekeys"),
            first: number(3),
            last: number(4),
            step: number(5),
        };
        self.0.insert(String::from_utf8_lossy(name).to_ascii_lowercase(), entry);
        if let Some(Reply::Array(members)) = fields.get(9) {
            members.iter().for_each(|member| self.add(member));
        }
    }

    /// A command, by its lower-case name and its second word.
    pub(super) fn get(&self, name: &str, second: Option<&[u8]>) -> Option<Entry> {
        let found = self.0.get(name)?;
        if found.first != 0 || found.writes {
            return Some(*found);
        }
        let member = second.filter(|word| word.len() < 32).and_then(|word| {
            let word = std::str::from_utf8(word).ok()?.to_ascii_lowercase();
            self.0.get(&format!("{name}|{word}"))
        });
        Some(*member.unwrap_or(found))
    }
}

#[cfg(test)]
impl Table {
    /// A table of so many commands: name, writes, movable, first, last, step.
    pub(super) fn of(commands: &[(&str, bool, bool, i64, i64, i64)]) -> Table {
        let entry = |&(name, writes, movable, first, last, step): &(&str, bool, bool, i64, i64, i64)| {
            (name.to_owned(), Entry { writes, movable, first, last, step })
        };
        Table(commands.iter().map(entry).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_where_the_table_says() {
        let keys = |first, last, step, arguments| -> Vec<usize> {
            Entry { writes: true, movable: false, first, last, step }.keys(arguments).collect()
        };
        assert_eq!(keys(1, 1, 1, 3), [1]);
        assert_eq!(keys(1, -1, 1, 4), [1, 2, 3]);
        assert_eq!(keys(1, -1, 2, 5), [1, 3]);
        assert_eq!(keys(2, -1, 1, 4), [2, 3]);
        assert_eq!(keys(0, 0, 0, 2), [0; 0]);
        assert_eq!(keys(1, 1, 1, 1), [0; 0]);
        assert_eq!(keys(1, -9, 1, 3), [0; 0]);
    }
}
