//! What became of an AOF.

use std::fmt;

use serde::Serialize;

use crate::ServerIdentity;
use crate::aof::{AofSummary, Cut, CutReason, FileSummary};

/// What became of an AOF.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AofReport {
    /// The server that was filled.
    pub server: ServerIdentity,
    /// The files, in the order in which they were loaded.
    pub files: Vec<FileSummary>,
    /// The tail that does not count, as it does for no server.
    pub cut: Option<Cut>,
    /// The last `#TS:` annotation, in seconds since the epoch.
    pub timestamp: Option<i64>,
    /// Keys of the base, before the commands.
    pub base_keys: u64,
    /// Function libraries of the base.
    pub functions: u64,
    /// What of the base the server cannot hold.
    pub left_out: crate::convert::commands::UnsupportedValues,
    /// Commands of the files that the server answered without an error; those of transactions that were not finished do
    /// not count.
    pub commands: u64,
    /// Commands that the server answered with an error, as any server does with the same keys, so that the one which wrote
    /// the file ignored them as well: the first of them, by file and offset.
    pub error_replies: Vec<String>,
    /// How many there are.
    pub errors: u64,
    /// Expiries that the file states relative to a moment which it does not state, and what they were counted from, in
    /// milliseconds since the epoch (the earliest).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undated_expiries: Option<UndatedExpiries>,
    /// Streams that servers of version 5.0 wrote as an `XADD` with the id 0-0, which later servers answer with an error: they
    /// were made empty by another id.
    pub empty_streams: u64,
    /// Commands whose counters of streams were left out, since the server keeps none (before 7.0).
    pub stream_counters_left_out: u64,
    /// Commands for keys that were not asked for, and were not sent.
    pub unwanted: u64,
    /// Keys that had expired when all was done, and are gone.
    pub expired: u64,
    /// Fields of hashes likewise.
    pub expired_fields: u64,
    /// Scripts and functions that were run anew, by command: a time that they look at is now.
    pub scripts: std::collections::BTreeMap<String, u64>,
    /// Commands that were left out or refused, since that was allowed: the first of them, by file and offset.
    pub refused: Vec<String>,
    /// How many there are.
    pub refusals: u64,
    /// Keys that the server evicted meanwhile, to stay within its `maxmemory`.
    pub evicted: u64,
    /// Keys that the server holds now.
    pub keys: u64,
    /// False when some expiries may be off by a millisecond, for the server does not tell them exactly.
    pub expiry_exact: bool,
}

impl fmt::Display for AofReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} keys of the base, then {} commands answered without an error: {} keys",
            self.base_keys, self.commands, self.keys
        )?;
        if self.errors > 0 {
            write!(f, ", and {} commands answered with an error", self.errors)?;
        }
        if self.functions > 0 {
            write!(f, ", {} function libraries of the base", self.functions)?;
        }
        write!(f, "; {} had expired", self.expired)?;
        if self.expired_fields > 0 {
            write!(f, ", and {} fields of hashes", self.expired_fields)?;
        }
        if self.unwanted > 0 {
            write!(f, "; {} commands were for keys that were not asked for", self.unwanted)?;
        }
        for (name, count) in &self.scripts {
            write!(f, "\n{name} was run anew, {count} times: what it makes of the time is of now")?;
        }
        if let Some(cut) = &self.cut {
            let why = match cut.tail.reason {
                CutReason::ShortRead => "a command is cut off there, and no server loads that",
                CutReason::UnfinishedTransaction => "a transaction is not finished, and no server loads that",
                CutReason::LaterThanAsked => "they are later than was asked for",
            };
            let (path, tail) = (cut.path.display(), cut.tail);
            write!(f, "\n{path}: {} bytes from byte {} on do not count: {why}", tail.bytes, tail.offset)?;
        }
        if self.evicted > 0 {
            write!(
                f,
                "\nthe server EVICTED {} keys meanwhile: its maxmemory is too small for all of this",
                self.evicted
            )?;
        }
        if !self.left_out.is_empty() {
            write!(f, "\nleft out, for the server cannot hold it:\n{}", self.left_out)?;
        }
        named(f, "LEFT OUT", &self.refused, self.refusals)?;
        named(f, "ignored, as a server does that loads the file", &self.error_replies, self.errors)?;
        if let Some(UndatedExpiries { count, from_ms }) = self.undated_expiries {
            let from = crate::aof::time_range::shown(from_ms.div_euclid(1000));
            write!(f, "\n{count} expiries have no date in the file, and are counted from {from}")?;
        }
        if self.empty_streams > 0 {
            write!(
                f,
                "\n{} empty streams are written as an XADD with the id 0-0, an error to servers after 5.0: made by another id",
                self.empty_streams
            )?;
        }
        if self.stream_counters_left_out > 0 {
            write!(
                f,
                "\n{} commands told without counters of streams, which the server does not keep (before 7.0)",
                self.stream_counters_left_out
            )?;
        }
        if !self.expiry_exact {
            write!(f, "\nsome expiries may be off by a millisecond: the server does not tell them exactly")?;
        }
        Ok(())
    }
}

/// Expiries without a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct UndatedExpiries {
    /// How many.
    pub count: u64,
    /// What they were counted from, in milliseconds since the epoch; the earliest, of several files.
    pub from_ms: i64,
}

/// The first of many commands, and how many more there are.
fn named(f: &mut fmt::Formatter<'_>, what: &str, first: &[String], all: u64) -> fmt::Result {
    for one in first {
        write!(f, "\n{what}: {one}")?;
    }
    match all.saturating_sub(first.len() as u64) {
        0 => Ok(()),
        more => write!(f, "\n… and {more} commands more"),
    }
}

impl AofReport {
    /// Of files that have been read, before anything is sent.
    pub(super) fn new(server: ServerIdentity, summary: &AofSummary) -> AofReport {
        AofReport {
            server,
            files: summary.files.clone(),
            cut: summary.cut.clone(),
            timestamp: summary.timestamp,
            base_keys: 0,
            functions: 0,
            left_out: crate::convert::commands::UnsupportedValues::default(),
            commands: 0,
            error_replies: Vec::new(),
            errors: 0,
            undated_expiries: None,
            stream_counters_left_out: 0,
            empty_streams: 0,
            unwanted: 0,
            expired: 0,
            expired_fields: 0,
            scripts: std::collections::BTreeMap::new(),
            refused: Vec::new(),
            refusals: 0,
            evicted: 0,
            keys: 0,
            expiry_exact: true,
        }
    }
}
