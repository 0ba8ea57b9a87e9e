//! Verifies the integrity of a file: structure and checksum of an RDB, an AOF file, or an AOF folder.
//!
//! Every value is decoded to its last element, in any encoding, so that faults which would break a server on loading or
//! on use are found. Anomalies that do not prevent reading are reported as [`Anomaly`], including duplicate keys,
//! members and fields, which are compared in memory or, if there are too many, in a temporary file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::aof::{self, AofSummary, FileError, Files, ReadOptions};
use crate::capture::stats::{DatabaseCount, counted_as};
use crate::rdb::{self, Checksum, Dialect, Forward, Key, Kind, Lint};
use crate::verify::duplicates::Duplicates;
use crate::verify::uniqueness::first_of;
use structure::Structure;

pub(crate) mod duplicates;
mod repair;
pub(crate) mod structure;
pub(crate) mod uniqueness;

pub use repair::{Repaired, repair};

/// The kind of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// An RDB.
    Rdb,
    /// A single-file AOF, with or without an RDB preamble.
    Aof,
    /// A multi-part AOF with a manifest.
    MultiPartAof,
}

/// The result for a readable file or folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verified {
    /// The path.
    pub path: PathBuf,
    /// Its kind.
    pub kind: FileKind,
    /// Total number of bytes.
    pub bytes: u64,
    /// The dialect of the RDB or preamble.
    pub dialect: Option<Dialect>,
    /// Its version.
    pub rdb_version: Option<u16>,
    /// The result of its checksum.
    pub checksum: Option<Checksum>,
    /// Bytes after the end of an RDB, which servers ignore.
    pub trailing_bytes: u64,
    /// Keys of the RDB or preamble, as counted by servers from 7.0 on.
    pub keys: u64,
    /// Number of empty lists, sets, sorted sets and hashes, which such a server omits on loading.
    pub empty_keys: u64,
    /// By database.
    pub databases: BTreeMap<u64, DatabaseCount>,
    /// By type.
    pub types: BTreeMap<Kind, u64>,
    /// Module types, by name.
    pub modules: BTreeMap<String, ModuleUse>,
    /// Function libraries.
    pub functions: u64,
    /// Effective commands of an AOF.
    pub commands: u64,
    /// The files of an AOF, and what a server would cut off.
    pub aof: Option<AofSummary>,
    /// Anomalies that do not prevent reading.
    pub anomalies: Vec<Anomaly>,
}

impl Verified {
    /// True when no server refuses the file and it contains no duplicates.
    pub fn is_whole(&self) -> bool {
        self.refusals().next().is_none() && !self.anomalies.iter().any(|anomaly| anomaly.what.is_duplicate())
    }

    /// True when its RDB version is newer than those of the tested servers; it was read according to the published
    /// format.
    pub fn is_untried(&self) -> bool {
        self.dialect == Some(Dialect::Redis) && self.rdb_version.is_some_and(|it| it > rdb::NEWEST_TRIED)
    }

    /// The anomalies because of which servers do not load the file.
    pub fn refusals(&self) -> impl Iterator<Item = &Anomaly> {
        self.anomalies.iter().filter(|anomaly| anomaly.refused_by.is_some())
    }
}

/// An anomaly that does not prevent reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Anomaly {
    /// Its kind.
    pub what: Lint,
    /// Which servers do not load such a file: see [`Lint::refused_by`].
    pub refused_by: Option<&'static str>,
    /// Number of affected keys.
    pub keys: u64,
    /// The database of the first of them.
    pub db: u64,
    /// Its name, for display.
    pub key: String,
}

/// The use of a module type in a file: a server loads it only with a module that supports the type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ModuleUse {
    /// The modules that support it, as named by `MODULE LIST`; empty if unknown.
    pub modules: Vec<String>,
    /// Keys with values of it.
    pub values: u64,
    /// Number of data records without a key.
    pub data: u64,
}

/// The first fault, and the position of the reader.
#[derive(Debug, thiserror::Error)]
#[error("{source}{}", place(.key, *.keys_before))]
pub struct Fault {
    /// The file, the offset and the fault.
    pub source: FileError,
    /// The key whose value was being read: database, name, type.
    pub key: Option<(u64, String, Kind)>,
    /// Number of keys before it.
    pub keys_before: u64,
    /// True if the fault may be a feature of a later version.
    newer: bool,
}

impl Fault {
    /// The byte offset of the fault in its file, if known.
    pub fn offset(&self) -> Option<u64> {
        self.source.offset()
    }

    /// True when the file is not known to be damaged: its RDB version, or something in it, is newer than the known
    /// ones.
    pub fn is_newer(&self) -> bool {
        self.newer
    }

    /// True when the file could not be read, as opposed to being faulty.
    pub fn is_io(&self) -> bool {
        matches!(self.source, FileError::Io { .. } | FileError::NotFound { .. })
    }
}

fn place(key: &Option<(u64, String, Kind)>, keys_before: u64) -> String {
    let within = key
        .as_ref()
        .map(|(db, name, kind)| format!(" (in key {name} of database {db}, a {kind})"))
        .unwrap_or_default();
    format!("{within}; {keys_before} keys before it can be read")
}

/// Options of a verification.
#[derive(Debug, Clone, Copy, Default)]
pub struct VerifyOptions {
    /// Try to read RDB versions newer than the known ones.
    pub try_newer: bool,
}

/// Verifies an RDB file, an AOF file, or an AOF folder (see [`Files::locate`] for paths). Blocks on disk I/O.
/// `on_progress` is called with the number of bytes read of the current file.
///
/// # Errors
/// The first fault. A truncated tail that servers drop is not a fault: [`Verified::aof`] describes it.
pub fn verify_file(
    path: &Path,
    options: VerifyOptions,
    on_progress: &mut dyn FnMut(u64),
) -> Result<Verified, Fault> {
    let mut census = CountingVisitor::default();
    let outcome = read(path, options, &mut census, on_progress);
    let (files, summary) = outcome.map_err(|source| Fault {
        // Outside a value, the fault is not in the last key.
        key: census.within.then(|| (census.db, crate::display::shown(&census.name), census.kind)),
        keys_before: census.keys,
        newer: is_newer(&source, census.version),
        source,
    })?;
    let first = summary.files.first();
    let rdb_alone = first.is_some_and(aof::FileSummary::is_rdb);
    let kind = match (&files.manifest, rdb_alone && !census.aof_base) {
        (Some(_), _) => FileKind::MultiPartAof,
        (None, true) => FileKind::Rdb,
        (None, false) => FileKind::Aof,
    };
    let spill = |source| Fault {
        source: FileError::Io { path: std::env::temp_dir(), source },
        key: None,
        keys_before: census.keys,
        newer: false,
    };
    if let Some(error) = census.structure.failure() {
        return Err(spill(error));
    }
    let twice = census.names.take().map_err(spill)?;
    if !twice.is_empty() {
        let named = summary.files.iter().find(|file| file.preamble_bytes.is_some()).and_then(|file| {
            let file = std::fs::File::open(&file.path).ok()?;
            first_of(&census.names, file, &twice)
        });
        let (db, name) = named.unwrap_or_default();
        let dialect = census.version.map_or(Dialect::Redis, |(dialect, _)| dialect);
        let (what, keys, key) = (Lint::KeyTwice, twice.len() as u64, crate::display::shown(&name));
        census.anomalies.insert(what, Anomaly { what, refused_by: what.refused_by(dialect), keys, db, key });
    }
    Ok(Verified {
        path: path.to_owned(),
        kind,
        bytes: summary.files.iter().map(|file| file.bytes).sum(),
        dialect: census.version.map(|(dialect, _)| dialect),
        rdb_version: census.version.map(|(_, version)| version),
        checksum: summary.files.iter().find_map(|file| file.checksum),
        trailing_bytes: summary.files.iter().map(|file| file.trailing_bytes).sum(),
        keys: census.keys,
        empty_keys: census.empty,
        databases: census.databases,
        types: census.types.into_iter().collect(),
        functions: census.functions,
        modules: census.modules,
        commands: summary.files.iter().map(|file| file.commands).sum(),
        aof: (kind != FileKind::Rdb).then_some(summary),
        anomalies: census.anomalies.into_values().collect(),
    })
}

/// Whether a fault may be a feature of a later version: the version itself, or a type introduced after the tested
/// versions.
fn is_newer(fault: &FileError, version: Option<(Dialect, u16)>) -> bool {
    let FileError::Corrupt { source, .. } = fault else { return false };
    let late = version.is_some_and(|(dialect, version)| match dialect {
        Dialect::Redis => version > rdb::NEWEST_TRIED,
        Dialect::Valkey => version > rdb::NEWEST_VALKEY,
    });
    match source.problem {
        rdb::Problem::Version { .. } => true,
        rdb::Problem::Type(_) => late,
        _ => false,
    }
}

fn read(
    path: &Path,
    options: VerifyOptions,
    census: &mut CountingVisitor,
    on_progress: &mut dyn FnMut(u64),
) -> Result<(Files, AofSummary), FileError> {
    let files = Files::locate(path)?;
    let read = ReadOptions { try_newer: options.try_newer, ..ReadOptions::default() };
    let summary = aof::read(&files, read, census, &mut |_, bytes| on_progress(bytes))?;
    Ok((files, summary))
}

/// Counts, and tracks the position of the reader.
#[derive(Debug)]
struct CountingVisitor {
    version: Option<(Dialect, u16)>,
    aof_base: bool,
    keys: u64,
    empty: u64,
    within: bool,
    db: u64,
    name: Vec<u8>,
    kind: Kind,
    expires: bool,
    structure: Structure,
    names: Duplicates,
    anomalies: BTreeMap<Lint, Anomaly>,
    databases: BTreeMap<u64, DatabaseCount>,
    types: BTreeMap<Kind, u64>,
    functions: u64,
    modules: BTreeMap<String, ModuleUse>,
}

impl CountingVisitor {
    /// The entry of a module type; `None` if a file contains too many.
    fn module(&mut self, name: &str) -> Option<&mut ModuleUse> {
        const MAX_MODULES: usize = 512;
        if self.modules.len() >= MAX_MODULES && !self.modules.contains_key(name) {
            return None;
        }
        Some(self.modules.entry(name.to_owned()).or_insert_with(|| ModuleUse {
            modules: crate::restore::modules_of(name).iter().map(|module| (*module).to_owned()).collect(),
            values: 0,
            data: 0,
        }))
    }
}

impl Default for CountingVisitor {
    fn default() -> Self {
        CountingVisitor {
            version: None,
            aof_base: false,
            keys: 0,
            empty: 0,
            within: false,
            db: 0,
            name: Vec::new(),
            kind: Kind::String,
            expires: false,
            structure: Structure::default(),
            names: Duplicates::default(),
            anomalies: BTreeMap::new(),
            databases: BTreeMap::new(),
            types: BTreeMap::new(),
            functions: 0,
            modules: BTreeMap::new(),
        }
    }
}

impl Forward for CountingVisitor {
    type To = Structure;

    fn to(&mut self) -> Option<&mut Structure> {
        Some(&mut self.structure)
    }
}

impl rdb::Visitor for CountingVisitor {
    fn header(&mut self, dialect: Dialect, version: u16) {
        self.version.get_or_insert((dialect, version));
    }

    fn aux(&mut self, name: &[u8], value: &[u8]) {
        self.aof_base |= (name == b"aof-base" || name == b"aof-preamble") && value == b"1";
    }

    fn function(&mut self, _code: &[u8]) {
        self.functions += 1;
    }

    fn module_aux(&mut self, module: &str) {
        if let Some(module) = self.module(module) {
            module.data += 1;
        }
    }

    fn key(&mut self, key: &Key<'_>) {
        self.within = true;
        self.name.clear();
        self.name.extend_from_slice(key.name);
        (self.db, self.kind) = (key.db, key.value_type.kind());
        self.expires = key.expiry.is_some();
        self.structure.begin(key.value_type);
    }

    fn key_end(&mut self) {
        self.within = false;
        let dialect = self.version.map_or(Dialect::Redis, |(dialect, _)| dialect);
        self.structure.end();
        let module = self.structure.module().map(rdb::module_name);
        if let Some(module) = module.and_then(|name| self.module(&name)) {
            module.values += 1;
        }
        for lint in self.structure.found() {
            let (db, name) = (self.db, &self.name);
            let anomaly = self.anomalies.entry(lint).or_insert_with(|| Anomaly {
                what: lint,
                refused_by: lint.refused_by(dialect),
                keys: 0,
                db,
                key: crate::display::shown(name),
            });
            anomaly.keys += 1;
        }
        if self.structure.is_empty_collection() {
            self.empty += 1;
            return;
        }
        self.keys += 1;
        self.names.add(self.db, &self.name);
        let db = counted_as(&self.databases, self.db);
        let count = self.databases.entry(db).or_default();
        count.keys += 1;
        count.expires += u64::from(self.expires);
        *self.types.entry(self.kind).or_default() += 1;
    }
}

impl aof::Visitor for CountingVisitor {}
