//! The result of an inspection.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::Serialize;

use super::prefixes::PrefixNode;
use super::record::KeyRecord;
use crate::aof::AofSummary;
use crate::rdb::{Checksum, Dialect, Kind};

/// Counts and sizes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sizes {
    /// Number of keys.
    pub keys: u64,
    /// Bytes of their names and values in the file.
    pub bytes: u64,
    /// Number of items, members, fields or entries.
    pub elements: u64,
    /// Number of keys with an expiry.
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

/// Statistics of one database.
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
    /// Number of keys with an expiry.
    pub keys: u64,
    /// Number of hashes with field TTLs.
    pub hashes_with_expiring_fields: u64,
    /// The earliest expiry of a key.
    pub soonest_ms: Option<i64>,
    /// The latest expiry of a key.
    pub latest_ms: Option<i64>,
    /// Number of keys that had expired at the reference time.
    pub expired: u64,
}

/// Function libraries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Functions {
    /// Number of libraries.
    pub libraries: u64,
    /// Bytes of their code.
    pub bytes: u64,
    /// Names of the first libraries, from their code.
    pub names: Vec<String>,
}

/// Commands of an AOF.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CommandStats {
    /// Number of effective commands.
    pub commands: u64,
    /// By name, in lower case; beyond a limit, under `(other)`.
    pub by_name: BTreeMap<String, u64>,
    /// By the selected database.
    pub by_database: BTreeMap<u64, u64>,
    /// Number of completed transactions.
    pub transactions: u64,
}

/// The contents of an RDB or an AOF.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Inspection {
    /// Number of bytes read.
    pub bytes: u64,
    /// The dialect of the RDB; `None` if there is none (an AOF without a preamble).
    pub dialect: Option<Dialect>,
    /// Its version.
    pub rdb_version: Option<u16>,
    /// The result of its checksum.
    pub checksum: Option<Checksum>,
    /// The server's auxiliary fields: `redis-ver`, `ctime`, `used-mem` …
    pub aux: BTreeMap<String, String>,
    /// All keys of the RDB, as counted by servers from 7.0 on.
    pub sizes: Sizes,
    /// Number of empty lists, sets, sorted sets and hashes, which such a server omits on loading.
    pub empty_keys: u64,
    /// By database; beyond 100,000 of them, the rest is under `u64::MAX`.
    pub databases: BTreeMap<u64, DatabaseStats>,
    /// By encoding, as type and encoding.
    pub encodings: BTreeMap<String, Sizes>,
    /// Expiries.
    pub expiries: Expiries,
    /// The largest keys by bytes in the file.
    pub biggest: Vec<KeyRecord>,
    /// The keys with the most elements.
    pub longest: Vec<KeyRecord>,
    /// By prefix of the keys' names.
    pub prefixes: PrefixNode,
    /// False when there were too many prefixes: the smallest are then counted under their parents.
    pub prefixes_exact: bool,
    /// Function libraries.
    pub functions: Functions,
    /// Types of module values, with the number of keys.
    pub module_values: BTreeMap<String, u64>,
    /// Modules with data without a key, with the number of records.
    pub module_data: BTreeMap<String, u64>,
    /// Number of keys with an idle time or access frequency; the values themselves are not collected.
    pub keys_with_usage: u64,
    /// The files of an AOF.
    pub aof: Option<AofSummary>,
    /// The commands of an AOF.
    pub commands: Option<CommandStats>,
}
