//! Statistics of a captured RDB: counts and the digest of the keyspace.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ServerIdentity;
use crate::capture::Consistency;
use crate::cluster::{SlotSet, slot_of};
use crate::compare::digest::{Digester, KeyspaceDigest};
use crate::compare::digest_log::DigestLog;
use crate::rdb::{Checksum, Corrupt, Dialect, Forward, Key, Kind, Reader, Visitor};
use crate::restore::written;

/// Key counts of one database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DatabaseCount {
    /// Number of keys.
    pub keys: u64,
    /// Number of keys with an expiry.
    pub expires: u64,
}

/// Maximum number of databases counted separately. A server usually has 16; a file may claim one for every key.
const DATABASES: usize = 100_000;

/// The number under which a database's keys are counted: its own, or `u64::MAX` for all beyond the maximum.
pub(crate) fn counted_as<T>(databases: &BTreeMap<u64, T>, db: u64) -> u64 {
    if databases.len() < DATABASES || databases.contains_key(&db) { db } else { u64::MAX }
}

/// The result of a capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CaptureReport {
    /// The captured server.
    pub server: ServerIdentity,
    /// The flavor whose RDB versions are used.
    pub dialect: Dialect,
    /// The RDB version in that flavor.
    pub rdb_version: u16,
    /// Size of the RDB in bytes.
    pub bytes: u64,
    /// The result of its checksum.
    pub checksum: Checksum,
    /// The replication id of the capture; empty if keys were read one by one.
    pub replication_id: String,
    /// The replication offset of the capture; -1 if keys were read one by one.
    pub replication_offset: i64,
    /// Keys by database.
    pub databases: BTreeMap<u64, DatabaseCount>,
    /// Keys by type.
    pub types: BTreeMap<Kind, u64>,
    /// Number of function libraries.
    pub functions: u64,
    /// Modules that store data outside of keys.
    pub modules: Vec<String>,
    /// The digest of all keys.
    pub digest: KeyspaceDigest,
    /// The point in time that it represents.
    #[serde(default)]
    pub consistency: Consistency,
    /// Warnings about the capture.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Number of keys that expired or were deleted between being found and being read, if read one by one.
    #[serde(default)]
    pub gone_meanwhile: u64,
    /// The masters of a cluster that was captured as a whole, in slot order; empty for a single server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<CapturedNode>,
}

impl CaptureReport {
    /// The total number of keys.
    pub fn keys(&self) -> u64 {
        self.digest.keys()
    }
}

/// One captured master of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CapturedNode {
    /// The node id, which never changes.
    pub id: String,
    /// Its address: host and port.
    pub address: String,
    /// Its slots, as ranges.
    pub slots: String,
    /// Number of keys.
    pub keys: u64,
    /// As [`CaptureReport::replication_id`].
    pub replication_id: String,
    /// As [`CaptureReport::replication_offset`].
    pub replication_offset: i64,
    /// How many milliseconds its point in time is after that of the first master.
    pub after_ms: u64,
}

/// Collects the statistics from the events of a reader.
#[derive(Debug, Default)]
pub(crate) struct CaptureStats {
    digester: Digester,
    current: (u64, Vec<u8>, Option<i64>),
    kind: Option<Kind>,
    pub(crate) databases: BTreeMap<u64, DatabaseCount>,
    pub(crate) types: BTreeMap<Kind, u64>,
    pub(crate) functions: u64,
    pub(crate) modules: Vec<String>,
    pub(crate) digest: KeyspaceDigest,
    /// Stores each key's digest, if requested.
    pub(crate) log: Option<DigestLog>,
    metadata: bool,
    /// The slots of the captured cluster node: clients of the cluster do not see keys of other slots.
    pub(crate) slots: Option<Arc<SlotSet>>,
    outside: u64,
    first_outside: Option<Vec<u8>>,
}

impl CaptureStats {
    /// Keys in slots that the node does not serve, with the first of them.
    pub(crate) fn outside(&self) -> Option<(u64, &[u8])> {
        self.first_outside.as_deref().map(|key| (self.outside, key))
    }

    /// Stores the digest of each key, too.
    pub(crate) fn keeping(log: Option<DigestLog>) -> CaptureStats {
        let digester = log.as_ref().map(DigestLog::digester).unwrap_or_default();
        CaptureStats { digester, log, ..CaptureStats::default() }
    }
}

impl CaptureStats {
    /// The report of a stream of one point in time that this reader has read to its end.
    ///
    /// # Errors
    /// The stream does not end where an RDB does.
    pub(crate) fn report(&self, server: ServerIdentity, reader: &Reader) -> Result<CaptureReport, Corrupt> {
        let (dialect, rdb_version) = reader.version();
        Ok(CaptureReport {
            server,
            dialect,
            rdb_version,
            bytes: reader.offset(),
            checksum: reader.finish()?,
            replication_id: String::new(),
            replication_offset: -1,
            databases: self.databases.clone(),
            types: self.types.clone(),
            functions: self.functions,
            modules: self.modules.clone(),
            digest: self.digest,
            consistency: Consistency::PointInTime,
            warnings: Vec::new(),
            gone_meanwhile: 0,
            nodes: Vec::new(),
        })
    }
}

impl Forward for CaptureStats {
    type To = Digester;

    fn to(&mut self) -> Option<&mut Digester> {
        Some(&mut self.digester)
    }
}

impl Visitor for CaptureStats {
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
