//! The target's own command table: which commands it knows, which write, and where key names are. In addition, what
//! servers of all versions may write into an append-only file, which the target's version alone does not reveal.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use redis::{Value, cmd, from_redis_value_ref};

use crate::Error;
use crate::client::connection::Connection;

/// What servers of every version write into their append-only files, by their own tables: see the file itself.
const REPLICATED: &str = include_str!("commands.txt");

/// Functions and shard channels came with 7.0, which has commands with the flag `may_replicate` but does not report it
/// (`MAY_REPLICATE` in `src/commands/fcall.json` and `spublish.json` of Redis 7.0).
const ALSO_REPLICATED: [&str; 2] = ["fcall", "spublish"];

/// Whether a server of any version may write this command into its append-only file.
pub(super) fn may_occur_in_aof(name: &str, second: Option<&[u8]>) -> bool {
    static COMMANDS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
        let lines = REPLICATED.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| line.split(' ').next()).chain(ALSO_REPLICATED).collect()
    });
    COMMANDS.contains(name) || member(name, second).is_some_and(|member| COMMANDS.contains(member.as_str()))
}

/// The name of a subcommand as used in command tables.
fn member(name: &str, second: Option<&[u8]>) -> Option<String> {
    let word = second.filter(|word| word.len() < 32).and_then(|word| std::str::from_utf8(word).ok())?;
    Some(format!("{name}|{}", word.to_ascii_lowercase()))
}

/// Where the key names of a command are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// It may write, or be replicated although it does not write.
    pub(super) writes: bool,
    /// Only the server itself can tell which arguments are keys.
    pub(super) movable: bool,
    first: i64,
    last: i64,
    step: i64,
}

impl Entry {
    /// The arguments that name keys, for a command with this number of arguments.
    pub(super) fn keys(self, arguments: usize) -> impl Iterator<Item = usize> {
        let count = i64::try_from(arguments).unwrap_or(i64::MAX);
        let last = if self.last < 0 { count.saturating_add(self.last) } else { self.last.min(count - 1) };
        let step = usize::try_from(self.step).unwrap_or(1).max(1);
        let first = usize::try_from(self.first).unwrap_or(0);
        let end = if first == 0 { 0 } else { usize::try_from(last).map_or(0, |last| last + 1) };
        (first..end).step_by(step)
    }
}

/// The reply to `COMMAND`, by lower-case name; subcommands as `xgroup|create`.
#[derive(Debug, Default)]
pub(super) struct Table(HashMap<String, Entry>);

impl Table {
    /// Queries the server.
    pub(super) async fn ask(connection: &mut Connection) -> Result<Table, Error> {
        let commands: Vec<Value> = connection.query(&cmd("COMMAND")).await?;
        let mut table = Table::default();
        commands.iter().for_each(|command| table.add(command));
        Ok(table)
    }

    fn add(&mut self, command: &Value) {
        let Some(fields) = command.as_sequence() else { return };
        let field = |at: usize| fields.get(at).unwrap_or(&Value::Nil);
        let Ok(name) = from_redis_value_ref::<String>(field(0)) else { return };
        let flags: Vec<String> = from_redis_value_ref(field(2)).unwrap_or_default();
        let flag = |name: &str| flags.iter().any(|flag| flag == name);
        let number = |at: usize| from_redis_value_ref(field(at)).unwrap_or(0);
        let entry = Entry {
            writes: flag("write") || flag("may_replicate"),
            movable: flag("movablekeys"),
            first: number(3),
            last: number(4),
            step: number(5),
        };
        self.0.insert(name.to_ascii_lowercase(), entry);
        field(9).as_sequence().unwrap_or_default().iter().for_each(|member| self.add(member));
    }

    /// A command, by its lower-case name and its second word.
    pub(super) fn get(&self, name: &str, second: Option<&[u8]>) -> Option<Entry> {
        let found = self.0.get(name)?;
        if found.first != 0 || found.writes {
            return Some(*found);
        }
        let member = member(name, second).and_then(|member| self.0.get(&member));
        Some(*member.unwrap_or(found))
    }
}

#[cfg(test)]
impl Table {
    /// A table of these commands: name, writes, movable, first, last, step.
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
    fn what_any_server_writes_into_an_aof() {
        for name in ["set", "pfcount", "eval", "fcall", "publish", "spublish", "script", "vadd", "delifeq"] {
            assert!(may_occur_in_aof(name, None), "{name}");
        }
        assert!(may_occur_in_aof("function", Some(b"LOAD")) && may_occur_in_aof("xgroup", Some(b"Create")));
        for name in ["get", "#", "write", "keys", "shutdown", ""] {
            assert!(!may_occur_in_aof(name, Some(b"x")), "{name}");
        }
        assert!(!may_occur_in_aof("function", Some(b"LIST")));
    }

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
