//! The result of the replay of an AOF.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::settle::SettledExpiries;
use crate::ServerIdentity;
use crate::aof::{AofSummary, CutReason, FileSummary, TruncatedTail};

/// The result of the replay of an AOF.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AofReport {
    /// The target server.
    pub server: ServerIdentity,
    /// The files, in the order in which they were loaded.
    pub files: Vec<FileSummary>,
    /// The truncated tail, which no server loads either.
    pub cut: Option<TruncatedTail>,
    /// The last `#TS:` annotation, in seconds since the epoch.
    pub timestamp: Option<i64>,
    /// Number of keys in the base, before the commands.
    pub base_keys: u64,
    /// Number of function libraries in the base.
    pub functions: u64,
    /// Data of the base that the server does not support.
    pub left_out: crate::convert::commands::UnsupportedValues,
    /// Number of commands that the server answered without an error, except those of unfinished transactions.
    pub commands: u64,
    /// The first commands that were answered with an error, by file and offset. Any server with the same keys gives the
    /// same error, so that the one which wrote the file ignored it as well.
    pub error_replies: Vec<String>,
    /// How many there are.
    pub errors: u64,
    /// Expiries that the file states relative to an unknown time, and their base in milliseconds since the epoch (the
    /// earliest).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undated_expiries: Option<UndatedExpiries>,
    /// Number of streams that servers of version 5.0 wrote as an `XADD` with the id 0-0, which later servers answer
    /// with an error: they were created empty with another id.
    pub empty_streams: u64,
    /// Number of commands whose stream counters were omitted, since the server has none (before 7.0).
    pub stream_counters_left_out: u64,
    /// Number of commands for keys that were not selected; they were not sent.
    pub unwanted: u64,
    /// Number of keys that had expired at the end and no longer exist.
    pub expired: u64,
    /// The same for hash fields.
    pub expired_fields: u64,
    /// Scripts and functions that were run again, by command; they see the current time.
    pub scripts: std::collections::BTreeMap<String, u64>,
    /// The first commands that were omitted or refused, as allowed by the options, by file and offset.
    pub refused: Vec<String>,
    /// How many there are.
    pub refusals: u64,
    /// Number of keys that the server evicted during the replay because of its `maxmemory`.
    pub evicted: u64,
    /// Number of keys that the server holds now.
    pub keys: u64,
    /// False if some expiries may be off by a millisecond, because the server does not report them exactly.
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
            write!(f, ", and {} commands with an error", self.errors)?;
        }
        if self.functions > 0 {
            write!(f, ", {} function libraries of the base", self.functions)?;
        }
        write!(f, "; {} had expired", self.expired)?;
        if self.expired_fields > 0 {
            write!(f, ", and {} fields of hashes", self.expired_fields)?;
        }
        if self.unwanted > 0 {
            write!(f, "; {} commands were for keys that were not selected", self.unwanted)?;
        }
        for (name, count) in &self.scripts {
            write!(f, "\n{name} was executed again, {count} times, with the current time")?;
        }
        if let Some(cut) = &self.cut {
            let why = match cut.tail.reason {
                CutReason::ShortRead => "a truncated command, which no server loads",
                CutReason::UnfinishedTransaction => "an unfinished transaction, which no server loads",
                CutReason::LaterThanAsked => "they are later than the requested time",
            };
            let (path, tail) = (cut.path.display(), cut.tail);
            write!(f, "\n{path}: {} bytes from byte {} on were ignored: {why}", tail.bytes, tail.offset)?;
        }
        if self.evicted > 0 {
            write!(f, "\nthe server EVICTED {} keys meanwhile: its maxmemory is too small", self.evicted)?;
        }
        if !self.left_out.is_empty() {
            write!(f, "\nleft out, because the server does not support it:\n{}", self.left_out)?;
        }
        named(f, "LEFT OUT", &self.refused, self.refusals)?;
        named(f, "ignored, as a server does that loads the file", &self.error_replies, self.errors)?;
        if let Some(UndatedExpiries { count, from_ms }) = self.undated_expiries {
            let from = crate::aof::time_range::shown(from_ms.div_euclid(1000));
            write!(f, "\n{count} expiries have no date in the file, and are relative to {from}")?;
        }
        if self.empty_streams > 0 {
            write!(
                f,
                "\n{} empty streams are written as an XADD with the id 0-0, an error on servers after 5.0: created with another id",
                self.empty_streams
            )?;
        }
        if self.stream_counters_left_out > 0 {
            write!(
                f,
                "\n{} commands sent without stream counters, which the server does not have (before 7.0)",
                self.stream_counters_left_out
            )?;
        }
        if !self.expiry_exact {
            write!(
                f,
                "\nsome expiries may be off by a millisecond: the server does not report them exactly"
            )?;
        }
        Ok(())
    }
}

/// Expiries without a known base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct UndatedExpiries {
    /// How many.
    pub count: u64,
    /// Their base, in milliseconds since the epoch; for several files, the earliest.
    pub from_ms: i64,
}

/// The first of many commands, and the number of further ones.
fn named(f: &mut fmt::Formatter<'_>, what: &str, first: &[String], all: u64) -> fmt::Result {
    for one in first {
        write!(f, "\n{what}: {one}")?;
    }
    match all.saturating_sub(first.len() as u64) {
        0 => Ok(()),
        more => write!(f, "\n… and {more} more commands"),
    }
}

/// The result of a replay.
pub(super) struct Finished {
    pub(super) commands: u64,
    pub(super) unwanted: u64,
    pub(super) scripts: BTreeMap<String, u64>,
    pub(super) refused: Vec<String>,
    pub(super) refusals: u64,
    pub(super) error_replies: Vec<String>,
    pub(super) errors: u64,
    pub(super) undated: Option<UndatedExpiries>,
    pub(super) counters: u64,
    pub(super) empty_streams: u64,
    pub(super) placeholders: u64,
    pub(super) field_placeholders: u64,
}

impl AofReport {
    /// Adds the result of the commands, after the base.
    pub(super) fn replayed(&mut self, finished: Finished, settled: &SettledExpiries) {
        self.commands = finished.commands;
        self.unwanted += finished.unwanted;
        self.scripts = finished.scripts;
        (self.error_replies, self.errors) = (finished.error_replies, finished.errors);
        self.empty_streams = finished.empty_streams;
        (self.undated_expiries, self.stream_counters_left_out) = (finished.undated, finished.counters);
        (self.refused, self.refusals) = (finished.refused, finished.refusals);
        (self.expired, self.expired_fields) = (settled.expired, settled.expired_fields);
        self.expiry_exact = settled.exact;
    }

    /// For files that have been read, before anything is sent.
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
