//! What an inspection tells.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::Serialize;

use super::prefixes::PrefixNode;
use super::record::KeyRecord;
use crate::aof::AofSummary;
use crate::rdb::{Checksum, Dialect, Kind};

/// How many, how large.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sizes {
    /// Keys.
    pub keys: u64,
    /// Bytes of their names and values in the file.
    pub bytes: u64,
    /// Items, members, fields, entries.
    pub elements: u64,
    /// Keys with an expiry.
    pub expires: u64,
}

impl AddAssign for Sizes {
    fn add_assign(&mut self, other: Sizes) {
        self.keys += other.keys;
        self.bytes += other.bytes;
        self.elements += other.elements;
        self.expires += other.expires;
    }
}

/// One database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DatabaseStats {
    /// All of its keys.
    #[serde(flatten)]
    pub sizes: Sizes,
    /// By type.
    pub types: BTreeMap<Kind, Sizes>,
}

/// Expiries of keys, in milliseconds since the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Expiries {
    /// Keys that have one.
    pub keys: u64,
    /// Hashes with fields that have one.
    pub hashes_with_expiring_fields: u64,
    /// The soonest of a key.
    pub soonest_ms: Option<i64>,
    /// The latest of a key.
    pub latest_ms: Option<i64>,
    /// Keys that had expired at the time that was given to compare with.
    pub expired: u64,
}

/// Libraries of functions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Functions {
    /// How many.
    pub libraries: u64,
    /// Bytes of their code.
    pub bytes: u64,
    /// The names of the first of them, as their code says.
    pub names: Vec<String>,
}

/// Commands of an AOF.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CommandStats {
    /// All that count.
    pub commands: u64,
    /// By name, in lower case; beyond a bound, under `(other)`.
    pub by_name: BTreeMap<String, u64>,
    /// By the database that was selected.
    pub by_database: BTreeMap<u64, u64>,
    /// Transactions that came to their end.
    pub transactions: u64,
}

/// What is in an RDB or an AOF.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Inspection {
    /// Bytes read.
    pub bytes: u64,
    /// Whose numbering the RDB is in; nothing where there is none (an AOF without a preamble).
    pub dialect: Option<Dialect>,
    /// Its version.
    pub rdb_version: Option<u16>,
    /// What its checksum said.
    pub checksum: Option<Checksum>,
    /// What the server wrote about itself: `redis-ver`, `ctime`, `used-mem` …
    pub aux: BTreeMap<String, String>,
    /// All keys of the RDB, as a server from 7.0 on counts them.
    pub sizes: Sizes,
    /// Lists, sets, sorted sets and hashes without elements, which such a server leaves out when it loads the file.
    pub empty_keys: u64,
    /// By database; beyond 100,000 of them, the rest under `u64::MAX`.
    pub databases: BTreeMap<u64, DatabaseStats>,
    /// By encoding, as type and encoding.
    pub encodings: BTreeMap<String, Sizes>,
    /// Expiries.
    pub expiries: Expiries,
    /// The biggest keys by bytes in the file.
    pub biggest: Vec<KeyRecord>,
    /// The keys with the most elements.
    pub longest: Vec<KeyRecord>,
    /// By the parts of the keys' names.
    pub prefixes: PrefixNode,
    /// False when there were too many prefixes to keep: the smallest are then counted under what is above them.
    pub prefixes_exact: bool,
    /// Libraries of functions.
    pub functions: Functions,
    /// Types of module values, with the number of keys.
    pub module_values: BTreeMap<String, u64>,
    /// Modules with data beside their keys, with the number of records.
    pub module_data: BTreeMap<String, u64>,
    /// Keys by idle time or frequency are not told, only how many keys carry one.
    pub keys_with_usage: u64,
    /// The files of an AOF.
    pub aof: Option<AofSummary>,
    /// The commands of an AOF.
    pub commands: Option<CommandStats>,
}
