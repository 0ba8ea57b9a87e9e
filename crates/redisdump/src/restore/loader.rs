//! Turns what a reader tells into commands, spread over several pipelines.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};

use super::capabilities::Capabilities;
use super::choice::{Matched, written};
use super::chunked::{self, ChunkedRestore};
use super::collisions::Collisions;
use super::pipeline::{Operation, Pipeline, Queue};
use super::routes::Routes;
use super::settings::{OnExisting, RestoreOptions};
use crate::client::resp::text_of;
use crate::client::wire::command;
use crate::cluster::{Tags, slot_of};
use crate::convert::commands::{Emitter, Limits, PlaceholderExpiries, Unsupported, UnsupportedValues};
use crate::convert::export::{convert, loads, module_of};
use crate::rdb::{Dialect, EMPTY, Elements, Key, Kind, Lint, ValueType, Visitor, Walker, dump};
use crate::verify::structure::Structure;

/// A value that is longer goes as commands, so that it is never in memory whole: beside it a payload and a command would
/// be.
const GIANT: usize = 8 << 20;
/// Memory that one large value has taken is given back before the next.
const KEPT: usize = 4 << 20;
/// Databases whose origin is remembered, which is more than a server has.
const DATABASES: usize = 100_000;
/// Reasons that are named.
const NAMED: usize = 20;

/// What the loader goes by.
pub(super) struct Loader<'a> {
    settings: &'a RestoreOptions,
    capabilities: &'a Capabilities,
    /// What of the choice has matched keys of the source; noted where nothing is sent.
    pub(super) matched: Matched,
    /// New names of keys, noted where nothing is sent.
    pub(super) collisions: Option<Collisions>,
    /// When the RDB was written, where it says that: what had expired by then is gone, whatever becomes of expiries.
    moment: i64,
    /// ABSTTL, IDLETIME and FREQ came with 5.0.
    absolute: bool,
    now: i64,
    /// Nothing is sent: only what the server cannot hold is wanted.
    dry: bool,
    pub(super) pipelines: Vec<Pipeline>,
    next: usize,
    /// Which pipelines lead to which node, where the server is a cluster.
    routes: Option<&'a Routes>,
    /// The type byte and the value as it stands in the RDB: what a payload begins with.
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
    /// The value is taken as it stands, and nothing is sent: its bytes are of no interest.
    light: bool,
    chunked: Option<ChunkedRestore>,
    /// Names that no key has begin so, and how many were given.
    temporary_name: String,
    given: u64,
    /// Which database the keys of each one come from.
    origins: BTreeMap<u64, u64>,
    /// Why the keys cannot go where they are to go.
    pub(super) conflicts: Vec<String>,
    /// Set where commands follow that may change expiries.
    pub(super) placeholders: Option<PlaceholderExpiries>,
    pub(super) keys: u64,
    /// Bytes of the values that are wanted, as they stand in the RDB.
    pub(super) wanted_bytes: u64,
    pub(super) expired: u64,
    pub(super) unwanted: u64,
    pub(super) empty: u64,
    /// Hashes with fields that expire, told by commands for the sake of placeholders.
    pub(super) mortal: u64,
    pub(super) functions: u64,
    pub(super) modules: Vec<String>,
    pub(super) unsupported: UnsupportedValues,
    /// Payloads that a server which looks closely may refuse, noted where nothing is sent.
    pub(super) doubtful: Vec<Doubtful>,
    structure: Structure,
}

/// A value that can be read, and that no server writes like this.
pub(super) struct Doubtful {
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

    /// Sends nothing, and only finds out what would be lost.
    pub(super) fn only_look(mut self) -> Self {
        self.dry = true;
        self.collisions = (!self.settings.choice.rename.is_empty()).then(Collisions::default);
        self
    }

    /// Sends each key on a pipeline of the node that has its slot.
    pub(super) fn routed(mut self, routes: &'a Routes) -> Self {
        self.routes = Some(routes);
        self
    }

    /// Chooses the pipeline of the next key.
    fn choose_lane(&mut self) {
        self.next = match self.routes {
            Some(routes) => routes.pipeline(slot_of(&self.name), self.next),
            None => (self.next + 1) % self.pipelines.len().max(1),
        };
    }

    /// Drops what is ready: nothing is sent.
    pub(super) fn discard(&mut self) {
        for pipeline in &mut self.pipelines {
            pipeline.out.clear();
            pipeline.commands = 0;
            pipeline.queue = Queue::default();
        }
    }

    /// The value as it stands in the RDB.
    fn value(&self) -> &[u8] {
        self.raw.get(1..).unwrap_or_default()
    }

    fn gone(&self) -> bool {
        self.expiry.is_some_and(|at| at <= self.now)
    }

    /// The database that a key goes to. Each takes the keys of one only, and the server must have it.
    fn database(&mut self, from: u64) -> u64 {
        let db = self.settings.choice.database(from);
        let conflict = match self.origins.get(&db) {
            Some(origin) if *origin == from => return db,
            Some(origin) => format!(
                "the keys of databases {origin} and {from} would both go to database {db}: send them apart (--db {from}=…)"
            ),
            None => {
                if self.origins.len() < DATABASES {
                    self.origins.insert(db, from);
                }
                match self.capabilities.databases {
                    Some(all) if db >= all => format!(
                        "keys go to database {db}, and the server has {all}: raise its setting `databases`, or send them \
                         elsewhere (--db {from}=…)"
                    ),
                    _ => return db,
                }
            }
        };
        if self.conflicts.len() < NAMED && !self.conflicts.contains(&conflict) {
            self.conflicts.push(conflict);
        }
        db
    }

    /// Seals the payload for RESTORE in `self.raw`; false when the server cannot hold the value.
    fn make_payload(&mut self, value_type: ValueType) -> bool {
        let rdb = self.capabilities.target.rdb();
        let plain = loads(rdb, value_type);
        // Metadata of keys stands before the type, and only servers that know it write it.
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
        // Where an expiry can only be told as the time that is left, it is told exactly by a command of its own; to a key
        // that may be another's, before it gets its name.
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
        // A server takes one of the two.
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

    /// A name that no key has, another one each time: what is undone on one connection is not what another one makes.
    fn temporary_name(&mut self) -> Vec<u8> {
        self.given += 1;
        let name = format!("{}:{}", self.temporary_name, self.given);
        match self.routes {
            // What is renamed stays in its slot.
            Some(_) => format!("{name}:{{{}}}", Tags::of(slot_of(&self.name))).into_bytes(),
            None => name.into_bytes(),
        }
    }

    /// Begins to send the value by commands, with what of it has come so far.
    fn begin_pieces(&mut self, value_type: ValueType) {
        self.choose_lane();
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

    /// Whether it is a hash whose fields are not to expire as they say: later, or not at all.
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

    /// Whether the server lacks the module that this value is of.
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

impl Elements for Loader<'_> {}

impl Visitor for Loader<'_> {
    fn header(&mut self, dialect: Dialect, version: u16) {
        (self.dialect, self.version) = (dialect, version);
    }

    fn aux(&mut self, name: &[u8], value: &[u8]) {
        self.moment = written(name, value).unwrap_or(self.moment);
    }

    fn function(&mut self, code: &[u8]) {
        if !self.capabilities.target.features().functions {
            self.unsupported.add(&crate::convert::commands::Unsupported::Function, 0, b"");
            return;
        }
        // Each master of a cluster has functions of its own.
        let (each, nodes) = self.routes.map_or((1, 1), |routes| (routes.pipelines_each(), routes.nodes()));
        for pipeline in self.pipelines.iter_mut().step_by(each).take(nodes) {
            match self.settings.on_existing {
                OnExisting::Replace => command(&mut pipeline.out, &[b"FUNCTION", b"LOAD", b"REPLACE", code]),
                _ => command(&mut pipeline.out, &[b"FUNCTION", b"LOAD", code]),
            }
            pipeline.note(Operation::Function, 0, b"");
        }
        self.functions += 1;
    }

    fn module_aux(&mut self, module: &str) {
        if !self.modules.iter().any(|known| known == module) {
            self.modules.push(module.to_owned());
        }
        if self.dry && !self.capabilities.has_module(module) {
            self.unsupported.add(&Unsupported::ModuleData { module: module.to_owned() }, 0, b"");
        }
    }

    fn key(&mut self, key: &Key<'_>) {
        for buffer in [&mut self.raw, &mut self.payload] {
            if buffer.capacity() > KEPT {
                *buffer = Vec::new();
            }
        }
        self.raw.clear();
        self.raw.push(key.value_type.code());
        self.metadata.clear();
        self.metadata.extend_from_slice(key.metadata);
        self.name.clear();
        let settings = self.settings;
        let choice = &settings.choice;
        self.name.extend_from_slice(&choice.name(key.name));
        self.expiry = choice.expiry(key.expiry, self.moment);
        (self.value_type, self.chunked) = (Some(key.value_type), None);
        if self.dry {
            self.matched.note(choice, key.db, key.name);
        }
        if let Some(placeholders) = self.placeholders {
            self.expiry = key.expiry.map(|at| placeholders.told(at));
        }
        (self.idle, self.frequency) = (key.idle, key.frequency);
        self.skip = false;
        if self.gone() || choice.had_expired(key.expiry, self.moment) {
            self.skip = true;
            self.expired += 1;
        } else if !choice.selects(key.db, key.name) {
            self.skip = true;
            self.unwanted += 1;
        } else {
            self.db = self.database(key.db);
            if let Some(collisions) = &mut self.collisions
                && choice.may_collide(&self.name)
            {
                collisions.add(self.db, &self.name);
            }
            self.light = self.is_plain(key.value_type);
        }
    }

    fn raw(&mut self, bytes: &[u8]) {
        if self.skip {
            return;
        }
        self.wanted_bytes += bytes.len() as u64;
        if self.light && self.raw.len() > EMPTY + 1 {
            return;
        }
        if let Some(chunked) = &mut self.chunked {
            chunked.feed(bytes);
            if let Some(pipeline) = self.pipelines.get_mut(self.next) {
                chunked.take_into(pipeline);
            }
            return;
        }
        self.raw.extend_from_slice(bytes);
        if self.raw.len() > GIANT
            && let Some(value_type) =
                self.value_type.filter(|ty| !matches!(ty.kind(), Kind::Module | Kind::Array))
        {
            self.begin_pieces(value_type);
        }
    }

    fn key_end(&mut self) {
        let Some(value_type) = self.value_type.take() else { return };
        if self.skip {
            return;
        }
        if let Some(chunked) = self.chunked.take() {
            return self.end_chunked(chunked);
        }
        let kind = value_type.kind();
        if value_type.is_empty(self.value()) {
            self.empty += 1;
            return;
        }
        if self.lacks_module(kind) {
            return;
        }
        if self.light {
            self.keys += 1;
            return;
        }
        // Room for the footer.
        let long = self.raw.len() as u64 + 64 > self.capabilities.longest;
        let by_commands = long || self.capabilities.no_restore.is_some();
        if (by_commands && kind != Kind::Module) || self.changes_fields(value_type) {
            self.begin_pieces(value_type);
            if let Some(chunked) = self.chunked.take() {
                self.end_chunked(chunked);
            }
        } else {
            let lint = self.lint(value_type);
            if self.make_payload(value_type) {
                if let Some(lint) = lint {
                    let (name, payload) = (self.name.clone(), self.raw.clone());
                    self.doubtful.push(Doubtful { db: self.db, name, lint, payload });
                }
                self.choose_lane();
                self.restore(kind);
            }
        }
    }
}

impl Loader<'_> {
    /// What is wrong with a value, where nothing is sent and the server looks closely.
    fn lint(&mut self, value_type: ValueType) -> Option<Lint> {
        if !self.dry || !self.capabilities.sanitizes {
            return None;
        }
        self.structure.begin(value_type);
        Walker::new(value_type).walk(self.raw.get(1..)?, &mut self.structure).ok()?;
        self.structure.end();
        self.structure.found().next()
    }

    /// Whether nothing about this value can prove unsupported, while nothing is sent: a payload that the server loads as
    /// it stands, or an ordinary value of any size by commands.
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
