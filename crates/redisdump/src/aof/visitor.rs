//! What the reader of an AOF reports: its contents while it reads, and a summary at the end.

use super::command::Command;
use crate::rdb::{self, Checksum};

/// Receives the content of an AOF: first that of a preamble, then annotations and commands.
#[allow(unused_variables, reason = "the default bodies ignore what they are given")]
pub trait Visitor: rdb::Visitor {
    /// The preamble ended without error; commands may follow.
    fn preamble_end(&mut self, length: u64, checksum: Checksum) {}
    /// A line between commands, without its `#` and line end.
    fn annotation(&mut self, offset: u64, text: &[u8]) {}
    /// A command. Between MULTI and EXEC it takes effect only with EXEC.
    fn command(&mut self, command: &Command<'_>) {}
}

impl rdb::Visitor for () {}
impl Visitor for () {}

/// Why the tail of a file is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CutReason {
    /// The file ends within a command.
    ShortRead,
    /// The file ends between MULTI and EXEC.
    UnfinishedTransaction,
    /// The rest is later than the requested point in time.
    LaterThanAsked,
}

impl std::fmt::Display for CutReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            CutReason::ShortRead => "the file ends within a command",
            CutReason::UnfinishedTransaction => "the file ends between MULTI and EXEC",
            CutReason::LaterThanAsked => "the rest is later than the requested point in time",
        })
    }
}

/// A dropped tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tail {
    /// The offset at which it begins; everything before is valid.
    pub offset: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Why it is dropped.
    pub reason: CutReason,
}

/// The summary of a completely read file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct End {
    /// Size in bytes.
    pub bytes: u64,
    /// Number of commands that take effect.
    pub commands: u64,
    /// The last `#TS:` annotation before the tail, in seconds since the epoch.
    pub timestamp: Option<i64>,
    /// The preamble's length and the result of its checksum.
    pub preamble: Option<(u64, Checksum)>,
    /// The dropped tail, if any.
    pub tail: Option<Tail>,
    /// Bytes after the end of an RDB ([`Reader::rdb_may_trail`](super::Reader::rdb_may_trail)).
    pub trailing: u64,
}
