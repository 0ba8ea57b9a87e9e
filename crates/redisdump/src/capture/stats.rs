//! What passed by in an RDB: counts and the digest of the key space.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ServerIdentity;
use crate::capture::Consistency;
use crate::cluster::{SlotSet, slot_of};
use crate::compare::digest::{Digester, KeyspaceDigest};
use crate::compare::digest_log::DigestLog;
use crate::rdb::{Checksum, Dialect, Forward, Key, Kind, Visitor};
use crate::restore::written;

/// Keys of one database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DatabaseCount {
    /// Keys.
    pub keys: u64,
    /// Keys with an expiry.
    pub expires: u64,
}

/// Databases that are counted apart. A server has 16 mostly; a file may claim one for every key.
const DATABASES: usize = 100_000;

/// The number under which a database's keys are counted: its own, or `u64::MAX` for all that are too many.
pub(crate) fn counted_as<T>(databases: &BTreeMap<u64, T>, db: u64) -> u64 {
    if databases.len() < DATABASES || databases.contains_key(&db) { db } else { u64::MAX }
}

/// What a capture holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CaptureReport {
    /// The server it was taken from.
    pub server: ServerIdentity,
    /// The numbering of the RDB.
    pub dialect: Dialect,
    /// Its version in that numbering.
    pub rdb_version: u16,
    /// Its size.
    pub bytes: u64,
    /// What its checksum said.
    pub checksum: Checksum,
    /// The replication id that the capture belongs to; empty when keys were read one by one.
    pub replication_id: String,
    /// The replication offset that it stands for; -1 when keys were read one by one.
    pub replication_offset: i64,
    /// Keys by database.
    pub databases: BTreeMap<u64, DatabaseCount>,
    /// Keys by type.
    pub types: BTreeMap<Kind, u64>,
    /// Libraries of functions.
    pub functions: u64,
    /// Modules that keep data beside the keys.
    pub modules: Vec<String>,
    /// The sum of all keys.
    pub digest: KeyspaceDigest,
    /// What moment it stands for.
    #[serde(default)]
    pub consistency: Consistency,
    /// What is to be known of it before it is used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Keys that expired or were deleted between being found and being read, one by one.
    #[serde(default)]
    pub gone_meanwhile: u64,
    /// The masters of a cluster that was captured as a whole, in the order of their slots; none of a single server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<CapturedNode>,
}

impl CaptureReport {
    /// All keys.
    pub fn keys(&self) -> u64 {
        self.digest.keys()
    }
}

/// One master of a cluster that was captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CapturedNode {
    /// The node's id, which it keeps for life.
    pub id: String,
    /// Where it listens: host and port.
    pub address: String,
    /// The slots that it holds, as ranges.
    pub slots: String,
    /// Keys.
    pub keys: u64,
    /// As [`CaptureReport::replication_id`].
    pub replication_id: String,
    /// As [`CaptureReport::replication_offset`].
    pub replication_offset: i64,
    /// How many milliseconds after the first of the masters its moment is.
    pub after_ms: u64,
}

/// Counts and sums what a reader tells.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    digester: Digester,
    current: (u64, Vec<u8>, Option<i64>),
    kind: Option<Kind>,
    pub(crate) databases: BTreeMap<u64, DatabaseCount>,
    pub(crate) types: BTreeMap<Kind, u64>,
    pub(crate) functions: u64,
    pub(crate) modules: Vec<String>,
    pub(crate) digest: KeyspaceDigest,
    /// Where each key's digest is kept, if anybody asks for them later.
    pub(crate) log: Option<DigestLog>,
    metadata: bool,
    /// The slots of a cluster's node that is counted: keys of others are not what clients of the cluster see.
    pub(crate) slots: Option<Arc<SlotSet>>,
    outside: u64,
    first_outside: Option<Vec<u8>>,
}

impl Tally {
    /// Keys of slots that the node does not hold, with the first of them.
    pub(crate) fn outside(&self) -> Option<(u64, &[u8])> {
        self.first_outside.as_deref().map(|key| (self.outside, key))
    }

    /// Keeps the digest of each key too.
    pub(crate) fn keeping(log: Option<DigestLog>) -> Tally {
        let digester = log.as_ref().map(DigestLog::digester).unwrap_or_default();
        Tally { digester, log, ..Tally::default() }
    }
}

impl Forward for Tally {
    type To = Digester;

    fn to(&mut self) -> Option<&mut Digester> {
        Some(&mut self.digester)
    }
}

impl Visitor for Tally {
    fn aux(&mut self, name: &[u8], value: &[u8]) {
        if let Some(log) = &mut self.log
            && let Some(moment) = written(name, value).and_then(|moment| log.written(moment))
        {
            self.digester.without_field_expiries(moment);
        }
    }

    fn function(&mut self, code: &[u8]) {
        self.functions += 1;
        if let Some(log) = &mut self.log {
            log.function(code);
        }
    }

    fn module_aux(&mut self, module: &str) {
        if !self.modules.iter().any(|known| known == module) {
            self.modules.push(module.to_owned());
        }
    }

    fn key(&mut self, key: &Key<'_>) {
        self.current.0 = key.db;
        self.current.1.clear();
        self.current.1.extend_from_slice(key.name);
        self.current.2 = key.expiry;
        self.metadata = !key.metadata.is_empty();
        if self.slots.as_ref().is_some_and(|slots| !slots.has(slot_of(key.name))) {
            self.outside += 1;
            self.first_outside.get_or_insert_with(|| key.name.to_vec());
        }
        self.kind = Some(key.value_type.kind());
        self.digester.begin(key.value_type.kind());
    }

    fn key_end(&mut self) {
        if self.digester.is_empty_collection() {
            return;
        }
        let (db, name, expiry) = &self.current;
        let count = self.databases.entry(counted_as(&self.databases, *db)).or_default();
        count.keys += 1;
        count.expires += u64::from(expiry.is_some());
        if let Some(kind) = self.kind {
            *self.types.entry(kind).or_default() += 1;
        }
        let canonical = self.digester.digest();
        self.digest.add(*db, name, *expiry, &canonical);
        if let Some(log) = &mut self.log {
            log.add((*db, name), *expiry, &canonical, self.digester.fields(), self.metadata);
        }
    }
}
