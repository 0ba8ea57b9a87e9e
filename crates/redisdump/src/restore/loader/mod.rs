//! Turns the events of a reader into commands, distributed over several pipelines.

mod visitor;

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};

use super::capabilities::Capabilities;
use super::choice::Matched;
use super::chunked::{self, ChunkedRestore};
use super::collisions::Collisions;
use super::pipeline::{Operation, Pipeline, Queue};
use super::routes::Routes;
use super::settings::{OnExisting, RestoreOptions};
use crate::client::resp::text_of;
use crate::client::wire::command;
use crate::cluster::{Tags, slot_of};
use crate::conflict::{Conflict, Remedy};
use crate::convert::commands::{Emitter, Limits, PlaceholderExpiries, Unsupported, UnsupportedValues};
use crate::convert::export::{convert, loads, module_of};
use crate::rdb::{Dialect, Kind, Lint, ValueType, Walker, dump};
use crate::verify::structure::Structure;

/// Longer values are sent as several commands, so that a value is never held in memory together with its payload and
/// command.
const GIANT: usize = 8 << 20;
/// Memory of a large value beyond this size is released before the next value.
const MAX_KEPT_MEMORY: usize = 4 << 20;
/// Maximum number of databases whose origin is tracked; more than any server has.
const DATABASES: usize = 100_000;
/// Maximum number of reasons that are listed.
const NAMED: usize = 20;

/// State of the loader.
pub(super) struct Loader<'a> {
    settings: &'a RestoreOptions,
    pub(super) capabilities: &'a Capabilities,
    /// Which parts of the choice have matched keys of the source; tracked in a dry run.
    pub(super) matched: Matched,
    /// New names of keys; tracked in a dry run.
    pub(super) collisions: Option<Collisions>,
    /// When the RDB was written, if it says so: keys that had expired by then are dropped, whatever happens to
    /// expiries.
    moment: i64,
    /// The server supports ABSTTL, IDLETIME and FREQ (5.0 and later).
    absolute: bool,
    now: i64,
    /// A dry run: nothing is sent, only unsupported values are collected.
    dry: bool,
    pub(super) pipelines: Vec<Pipeline>,
    next: usize,
    /// Which pipelines lead to which node of a cluster.
    routes: Option<&'a Routes>,
    /// The type byte and the value as in the RDB: the beginning of a payload.
    raw: Vec<u8>,
    payload: Vec<u8>,
    metadata: Vec<u8>,
    dialect: Dialect,
    version: u16,
    db: u64,
    name: Vec<u8>,
    value_type: Option<ValueType>,
    expiry: Option<i64>,
    idle: Option<u64>,
    frequency: Option<u8>,
    skip: bool,
    /// The value's bytes are not needed: in a dry run, a value that is restored unchanged.
    light: bool,
    chunked: Option<ChunkedRestore>,
    /// Prefix of temporary names that no key has, and how many were used.
    temporary_name: String,
    given: u64,
    /// The source database of the keys of each target database.
    origins: BTreeMap<u64, u64>,
    /// Why keys cannot be restored into their databases.
    pub(super) conflicts: Vec<Conflict>,
    /// Set if commands follow that may change expiries.
    pub(super) placeholders: Option<PlaceholderExpiries>,
    pub(super) keys: u64,
    /// Size of the selected values, as in the RDB, in bytes.
    pub(super) wanted_bytes: u64,
    pub(super) expired: u64,
    pub(super) unwanted: u64,
    pub(super) empty: u64,
    /// Hashes with field TTLs that are sent as commands because of placeholders.
    pub(super) mortal: u64,
    pub(super) functions: u64,
    pub(super) modules: Vec<String>,
    pub(super) unsupported: UnsupportedValues,
    /// Payloads that a validating server may refuse; collected in a dry run.
    pub(super) doubtful: Vec<MalformedValue>,
    structure: Structure,
}

/// A value that is readable although no server writes it in this form.
pub(super) struct MalformedValue {
    pub(super) db: u64,
    pub(super) name: Vec<u8>,
    pub(super) lint: Lint,
    pub(super) payload: Vec<u8>,
}

impl<'a> Loader<'a> {
    pub(super) fn new(
        settings: &'a RestoreOptions,
        capabilities: &'a Capabilities,
        absolute: bool,
        now: i64,
    ) -> Loader<'a> {
        let pipelines = (0..settings.connections.max(1)).map(|_| Pipeline::default()).collect();
        Loader {
            settings,
            capabilities,
            matched: Matched::default(),
            collisions: None,
            moment: i64::MIN,
            absolute,
            now,
            dry: false,
            pipelines,
            next: 0,
            routes: None,
            raw: Vec::new(),
            payload: Vec::new(),
            metadata: Vec::new(),
            dialect: Dialect::Redis,
            version: 0,
            db: 0,
            name: Vec::new(),
            value_type: None,
            expiry: None,
            idle: None,
            frequency: None,
            skip: false,
            light: false,
            chunked: None,
            temporary_name: format!("dbhaul:{:016x}", RandomState::new().hash_one(0_u8)),
            given: 0,
            origins: BTreeMap::new(),
            conflicts: Vec::new(),
            placeholders: None,
            keys: 0,
            wanted_bytes: 0,
            expired: 0,
            unwanted: 0,
            empty: 0,
            mortal: 0,
            functions: 0,
            modules: Vec::new(),
            unsupported: UnsupportedValues::default(),
            doubtful: Vec::new(),
            structure: Structure::default(),
        }
    }

    /// Makes this a dry run, which only collects unsupported values.
    pub(super) fn only_look(mut self) -> Self {
        self.dry = true;
        self.collisions = (!self.settings.choice.rename.is_empty()).then(Collisions::default);
        self
    }

    /// Sends each key through a pipeline of the node that serves its slot.
    pub(super) fn routed(mut self, routes: &'a Routes) -> Self {
        self.routes = Some(routes);
        self
    }

    /// Chooses the pipeline of the next key.
    fn choose_pipeline(&mut self) {
        self.next = match self.routes {
            Some(routes) => routes.pipeline(slot_of(&self.name), self.next),
            None => (self.next + 1) % self.pipelines.len().max(1),
        };
    }

    /// Discards the ready commands of a dry run.
    pub(super) fn discard(&mut self) {
        for pipeline in &mut self.pipelines {
            pipeline.out.clear();
            pipeline.commands = 0;
            pipeline.queue = Queue::default();
        }
    }

    /// The value as in the RDB.
    fn value(&self) -> &[u8] {
        self.raw.get(1..).unwrap_or_default()
    }

    fn gone(&self) -> bool {
        self.expiry.is_some_and(|at| at <= self.now)
    }

    /// The target database of a key. It takes the keys of only one source database, and must exist.
    fn database(&mut self, from: u64) -> u64 {
        let db = self.settings.choice.database(from);
        let conflict = match self.origins.get(&db) {
            Some(origin) if *origin == from => return db,
            Some(origin) => format!(
                "the keys of databases {origin} and {from} would both go to database {db}: choose different databases"
            ),
            None => {
                if self.origins.len() < DATABASES {
                    self.origins.insert(db, from);
                }
                match self.capabilities.databases {
                    Some(all) if db >= all => format!(
                        "keys go to database {db}, but the server has {all}: raise its setting `databases`, or choose \
                         another database"
                    ),
                    _ => return db,
                }
            }
        };
        let conflict = Conflict::with_remedy(conflict, Remedy::ChangeDatabase { from });
        if self.conflicts.len() < NAMED && !self.conflicts.contains(&conflict) {
            self.conflicts.push(conflict);
        }
        db
    }

    /// Seals the payload for RESTORE in `self.raw`; false if the server does not support the value.
    fn make_payload(&mut self, value_type: ValueType) -> bool {
        let rdb = self.capabilities.target.rdb();
        let plain = loads(rdb, value_type);
        // Metadata of keys precedes the type; only servers that support it write it.
        if !self.metadata.is_empty() && rdb.0 == self.dialect && rdb.1 >= self.version {
            self.raw.splice(..0, self.metadata.iter().copied());
            dump::seal(&mut self.raw, 0, self.version);
            return true;
        }
        if plain {
            dump::seal(&mut self.raw, 0, value_type.since().unwrap_or(rdb.1));
            return true;
        }
        self.payload.clear();
        match convert(
            value_type,
            self.raw.get(1..).unwrap_or_default(),
            self.capabilities.target,
            &mut self.payload,
        ) {
            Ok((stamp, harmless)) => {
                dump::seal(&mut self.payload, 0, stamp);
                std::mem::swap(&mut self.raw, &mut self.payload);
                for value in &harmless {
                    self.unsupported.add(value, self.db, &self.name);
                }
                true
            }
            Err(value) => {
                self.unsupported.add(&value, self.db, &self.name);
                false
            }
        }
    }

    /// RESTORE with an absolute expiry.
    fn restore(&mut self, kind: Kind) {
        // Where RESTORE takes only a remaining time, a separate command sets the exact expiry; if a key of that name
        // may exist, before the key gets its name.
        let after = self.expiry.filter(|_| !self.absolute);
        let apart = after.is_some() && self.settings.on_existing == OnExisting::Skip;
        let temporary_name = apart.then(|| self.temporary_name());
        let name = temporary_name.as_ref().unwrap_or(&self.name);
        let ttl = self.expiry.filter(|_| self.absolute).unwrap_or(0);
        let (mut digits, mut others) = ([0; 20], [0; 20]);
        let ttl = text_of(&mut digits, ttl.unsigned_abs());
        let mut arguments: [&[u8]; 8] = [b"RESTORE", name, ttl, &self.raw, b"", b"", b"", b""];
        let mut count = 4;
        let mut add = |argument: &'a [u8]| {
            if let Some(free) = arguments.get_mut(count) {
                *free = argument;
                count += 1;
            }
        };
        if self.settings.on_existing == OnExisting::Replace {
            add(b"REPLACE");
        }
        if self.absolute && self.expiry.is_some() {
            add(b"ABSTTL");
        }
        // A server accepts only one of the two.
        let usage = match (self.idle, self.frequency) {
            _ if !self.absolute => None,
            (Some(idle), _) => Some((b"IDLETIME".as_slice(), idle)),
            (None, frequency) => frequency.map(|frequency| (b"FREQ".as_slice(), u64::from(frequency))),
        };
        if let Some((word, n)) = usage {
            add(word);
            if let Some(free) = arguments.get_mut(count) {
                *free = text_of(&mut others, n);
                count += 1;
            }
        }
        let Some(pipeline) = self.pipelines.get_mut(self.next) else { return };
        pipeline.select(self.db);
        command(&mut pipeline.out, arguments.get(..count).unwrap_or_default());
        if let Some(at) = after {
            pipeline.note(Operation::Part(kind), self.db, &self.name);
            command(&mut pipeline.out, &[b"PEXPIREAT", name, at.to_string().as_bytes()]);
        }
        match &temporary_name {
            Some(temporary_name) => {
                pipeline.note(Operation::Part(kind), self.db, &self.name);
                pipeline.rename(temporary_name, self.db, &self.name, kind);
            }
            None => pipeline.note(Operation::Key(kind), self.db, &self.name),
        }
        self.keys += 1;
    }

    /// A name that no key has, different each time, so that undoing on one connection does not affect another one.
    fn temporary_name(&mut self) -> Vec<u8> {
        self.given += 1;
        let name = format!("{}:{}", self.temporary_name, self.given);
        match self.routes {
            // The renamed key stays in its slot.
            Some(_) => format!("{name}:{{{}}}", Tags::of(slot_of(&self.name))).into_bytes(),
            None => name.into_bytes(),
        }
    }

    /// Begins to send the value as commands, with the part that has been read so far.
    fn begin_pieces(&mut self, value_type: ValueType) {
        self.choose_pipeline();
        self.mortal += u64::from(self.placeholders.is_some() && value_type.has_field_expiry());
        let limits = Limits { bulk: self.capabilities.longest, ..Limits::default() };
        let replace = self.settings.on_existing == OnExisting::Replace;
        let mut emitter =
            Emitter::with_limits(self.capabilities.target.features(), limits).replacing(replace);
        if let Some(placeholders) = self.placeholders {
            emitter = emitter.with_placeholders(placeholders);
        }
        if self.settings.choice.drop_field_expiries {
            emitter = emitter.without_field_expiries(self.moment);
        }
        let apart = self.settings.on_existing == OnExisting::Skip;
        let temporary_name = apart.then(|| self.temporary_name());
        let kind = value_type.kind();
        let key = chunked::Key { db: self.db, name: self.name.clone(), kind, expiry: self.expiry };
        match ChunkedRestore::begin(emitter, key, temporary_name, value_type) {
            Ok(mut chunked) => {
                if let Some(pipeline) = self.pipelines.get_mut(self.next) {
                    pipeline.select(self.db);
                }
                chunked.feed(self.value());
                self.chunked = Some(chunked);
            }
            Err(value) => {
                self.unsupported.add(&value, self.db, &self.name);
                self.skip = true;
            }
        }
        self.raw.clear();
    }

    /// Whether this is a hash whose field TTLs change: extended or removed.
    fn changes_fields(&self, value_type: ValueType) -> bool {
        let changes = self.placeholders.is_some() || self.settings.choice.drop_field_expiries;
        changes && value_type.has_field_expiry()
    }

    fn end_chunked(&mut self, chunked: ChunkedRestore) {
        let Some(pipeline) = self.pipelines.get_mut(self.next) else { return };
        match chunked.end(pipeline) {
            Ok(harmless) => {
                self.keys += 1;
                for value in &harmless {
                    self.unsupported.add(value, self.db, &self.name);
                }
            }
            Err(Unsupported::Expired) => self.expired += 1,
            Err(value) => self.unsupported.add(&value, self.db, &self.name),
        }
    }

    /// Whether the server lacks the module of this value.
    fn lacks_module(&mut self, kind: Kind) -> bool {
        if kind != Kind::Module {
            return false;
        }
        let module = module_of(self.value());
        let lacks = !self.capabilities.has_module(&module) || self.capabilities.no_restore.is_some();
        if lacks {
            self.unsupported.add(&Unsupported::Module { module }, self.db, &self.name);
        }
        lacks
    }
}

impl Loader<'_> {
    /// What is wrong with a value; only in a dry run against a validating server.
    fn lint(&mut self, value_type: ValueType) -> Option<Lint> {
        if !self.dry || !self.capabilities.sanitizes {
            return None;
        }
        self.structure.begin(value_type);
        Walker::new(value_type).walk(self.raw.get(1..)?, &mut self.structure).ok()?;
        self.structure.end();
        self.structure.found().next()
    }

    /// In a dry run, whether this value is certainly supported: a payload that the server loads unchanged, or an
    /// ordinary value of any size sent as commands.
    fn is_plain(&self, value_type: ValueType) -> bool {
        const USUAL: u64 = 512 << 20;
        let kind = value_type.kind();
        self.dry
            && self.capabilities.no_restore.is_none()
            && !self.capabilities.sanitizes
            && self.capabilities.longest >= USUAL
            && !matches!(kind, Kind::Stream | Kind::Module)
            && !self.changes_fields(value_type)
            && loads(self.capabilities.target.rdb(), value_type)
    }
}
