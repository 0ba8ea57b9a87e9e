//! The result of a comparison.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::ServerIdentity;

/// The progress of a job.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    /// Bytes so far.
    pub bytes: u64,
    /// Keys so far.
    pub keys: u64,
}

/// How a key differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DifferenceKind {
    /// Only the right side has it.
    MissingLeft,
    /// Only the left side has it.
    MissingRight,
    /// The types differ.
    Type,
    /// The values differ.
    Value,
    /// The expiries differ, or only one side has one.
    Expiry,
}

impl fmt::Display for DifferenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DifferenceKind::MissingLeft => "missing on the left",
            DifferenceKind::MissingRight => "missing on the right",
            DifferenceKind::Type => "of another type",
            DifferenceKind::Value => "another value",
            DifferenceKind::Expiry => "another expiry",
        })
    }
}

/// One key that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Difference {
    /// The database.
    pub db: u64,
    /// The key, printable.
    pub key: String,
    /// How it differs.
    pub kind: DifferenceKind,
    /// Details of both sides, if short.
    pub details: String,
}

/// A comparison of two servers, or of a snapshot with a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Comparison {
    /// The left side: a server, or a snapshot.
    pub left: String,
    /// The right side.
    pub right: ServerIdentity,
    /// Number of keys compared.
    pub keys: u64,
    /// Number of keys that are equal: type, value and expiry.
    pub equal_keys: u64,
    /// Number of keys that differ.
    pub different_keys: u64,
    /// Number of keys that exist on one side only because they have expired by the server's clock.
    pub expired_meanwhile: u64,
    /// The same for hash fields, in keys that count as equal.
    pub expired_fields: u64,
    /// Number of keys that the right side does not support and that were left out there.
    pub left_out: u64,
    /// Keys that exist on both sides, with module values whose bytes differ: only the module knows whether they are the
    /// same to clients. By the name of the module's type; they count neither as equal nor as different.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub not_verified: BTreeMap<String, u64>,
    /// Number of additional keys on the right side that are only counted.
    pub unnamed_extra: u64,
    /// True if the left side has more keys than may be kept in memory, so that further keys were only counted.
    pub extra_is_counted: bool,
    /// Keys that could not be compared, and why: one of the sides lacks their database or does not serve their slot.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreachable: Vec<String>,
    /// The first of the keys that differ.
    pub differences: Vec<Difference>,
    /// True if both sides have the same function libraries; `None` if a server does not support any.
    pub functions_equal: Option<bool>,
    /// True when every expiry was compared to the millisecond.
    pub expiry_exact: bool,
    /// The tolerance in milliseconds within which two expiries count as equal: 0, unless the clock of a server before
    /// 7.0 advanced during every query for the remaining time.
    pub expiry_within: u64,
    /// False if stream counters were not compared, because a server is too old to have them (before 7.0).
    pub counters_compared: bool,
    /// Number of keys with additional module metadata, which was not compared.
    pub with_metadata: u64,
    /// True if slots of a cluster moved meanwhile, so that additional keys on the right side may have been missed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub slots_moved: bool,
}

impl Comparison {
    /// Number of keys that could not be verified ([`Comparison::not_verified`]).
    pub fn unverified(&self) -> u64 {
        self.not_verified.values().sum()
    }

    /// True if nothing differs and everything could be compared.
    pub fn equal(&self) -> bool {
        self.different_keys == 0
            && self.unnamed_extra == 0
            && self.unreachable.is_empty()
            && self.functions_equal != Some(false)
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "left:  {}", self.left)?;
        writeln!(f, "right: {}", self.right)?;
        for difference in &self.differences {
            writeln!(
                f,
                "db {} key {}: {} {}",
                difference.db, difference.key, difference.kind, difference.details
            )?;
        }
        let named = self.differences.len() as u64;
        if self.different_keys > named {
            writeln!(f, "… and {} more keys", self.different_keys - named)?;
        }
        if self.unnamed_extra > 0 {
            writeln!(f, "the right side has {} more keys", self.unnamed_extra)?;
        }
        if self.extra_is_counted {
            writeln!(
                f,
                "additional keys were only counted, because the left side has too many names to keep in memory: as many as expired meanwhile may be hidden"
            )?;
        }
        for unreachable in &self.unreachable {
            writeln!(f, "NOT compared: {unreachable}")?;
        }
        if self.functions_equal == Some(false) {
            writeln!(f, "the function libraries are DIFFERENT")?;
        }
        if self.left_out > 0 {
            writeln!(
                f,
                "{} keys were left out, because the right side does not support them",
                self.left_out
            )?;
        }
        for (module, keys) in &self.not_verified {
            writeln!(
                f,
                "{keys} keys of the module type {module} were NOT verified: their payloads differ, which those of many modules \
                 do after each load"
            )?;
        }
        if self.expired_meanwhile > 0 {
            writeln!(f, "{} keys expired meanwhile, and count as equal", self.expired_meanwhile)?;
        }
        if self.expired_fields > 0 {
            writeln!(f, "{} hash fields expired meanwhile, and count as equal", self.expired_fields)?;
        }
        if self.with_metadata > 0 {
            writeln!(
                f,
                "{} keys have additional module metadata, which was NOT compared",
                self.with_metadata
            )?;
        }
        if !self.expiry_exact {
            writeln!(
                f,
                "some expiries were compared within {} ms: the server's clock advanced during every query",
                self.expiry_within
            )?;
        }
        if !self.counters_compared {
            writeln!(
                f,
                "stream counters (entries ever added, the newest deleted, entries read) were not compared: a server before 7.0 does not have them"
            )?;
        }
        if self.slots_moved {
            writeln!(
                f,
                "slots of the cluster moved meanwhile: keys that only the right side has may have been missed"
            )?;
        }
        write!(f, "{} keys compared: {} equal, {} different", self.keys, self.equal_keys, self.different_keys)
    }
}
