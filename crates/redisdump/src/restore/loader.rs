//! Turns what a reader tells into commands, spread over several connections.

use super::settings::{OnExisting, RestoreOptions};
use crate::emit::{Emitter, Limits, Losses, StandIns, Target, emit};
use crate::export::convert;
use crate::rdb::{Dialect, Elements, Key, Kind, ValueType, Visitor, dump};
use crate::wire::command;

/// What a reply is awaited for.
#[derive(Debug)]
pub(super) enum Sent {
    /// `SELECT`.
    Select,
    /// A function library.
    Function,
    /// One of several commands that make a key, and not the last.
    Part { db: u64, name: Vec<u8>, kind: Kind },
    /// The command that makes a key, or completes it.
    Key { db: u64, name: Vec<u8>, kind: Kind },
}

/// Commands for one connection.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) out: Vec<u8>,
    pub(super) queue: Vec<Sent>,
    selected: u64,
}

/// What the loader goes by.
pub(super) struct Loader<'a> {
    settings: &'a RestoreOptions,
    target: Target,
    /// ABSTTL, IDLETIME and FREQ came with 5.0.
    absolute: bool,
    now: i64,
    /// The longest argument that the server takes.
    longest: u64,
    pub(super) lanes: Vec<Lane>,
    next: usize,
    /// The value as it stands in the RDB.
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
    /// Set where commands follow that may change expiries.
    pub(super) stand_ins: Option<StandIns>,
    pub(super) keys: u64,
    pub(super) expired: u64,
    pub(super) unwanted: u64,
    pub(super) empty: u64,
    /// Hashes with fields that expire, told by commands for the sake of stand-ins.
    pub(super) mortal: u64,
    pub(super) functions: u64,
    pub(super) modules: Vec<String>,
    pub(super) losses: Losses,
}

impl<'a> Loader<'a> {
    pub(super) fn new(
        settings: &'a RestoreOptions,
        target: Target,
        absolute: bool,
        now: i64,
        longest: u64,
    ) -> Loader<'a> {
        let lanes = (0..settings.connections.max(1)).map(|_| Lane::default()).collect();
        Loader {
            settings,
            target,
            absolute,
            now,
            longest,
            lanes,
            next: 0,
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
            stand_ins: None,
            keys: 0,
            expired: 0,
            unwanted: 0,
            empty: 0,
            mortal: 0,
            functions: 0,
            modules: Vec::new(),
            losses: Losses::default(),
        }
    }

    fn gone(&self) -> bool {
        self.expiry.is_some_and(|at| at <= self.now)
    }

    /// The payload for RESTORE in `self.payload`, sealed; false when the server cannot hold the value.
    fn make_payload(&mut self, value_type: ValueType) -> bool {
        self.payload.clear();
        // Metadata of keys stands before the type, and only servers that know it write it.
        if !self.metadata.is_empty() && self.target.rdb() >= (self.dialect, self.version) {
            self.payload.extend_from_slice(&self.metadata);
            self.payload.push(value_type.code());
            self.payload.extend_from_slice(&self.raw);
            dump::seal(&mut self.payload, 0, self.version);
            return true;
        }
        match convert(value_type, &self.raw, self.target, &mut self.payload) {
            Ok((stamp, harmless)) => {
                dump::seal(&mut self.payload, 0, stamp);
                for loss in &harmless {
                    self.losses.add(loss, self.db, &self.name);
                }
                true
            }
            Err(loss) => {
                self.losses.add(&loss, self.db, &self.name);
                false
            }
        }
    }

    /// RESTORE with an absolute expiry.
    fn restore(&mut self, kind: Kind) {
        // Where an expiry can only be told as the time that is left, it is told exactly by a command of its own; but not
        // to a key that may be another's.
        let after = self.expiry.filter(|_| !self.absolute && self.settings.on_existing != OnExisting::Skip);
        let ttl = match self.expiry {
            Some(at) if self.absolute => at,
            Some(at) if after.is_none() => at.saturating_sub(self.now).max(1),
            _ => 0,
        };
        let (ttl, idle, frequency) =
            (ttl.to_string(), self.idle.map(|n| n.to_string()), self.frequency.map(|n| n.to_string()));
        let mut arguments: Vec<&[u8]> = vec![b"RESTORE", &self.name, ttl.as_bytes(), &self.payload];
        if self.settings.on_existing == OnExisting::Replace {
            arguments.push(b"REPLACE");
        }
        if self.absolute {
            if self.expiry.is_some() {
                arguments.push(b"ABSTTL");
            }
            // A server takes one of the two.
            if let Some(idle) = &idle {
                arguments.extend([b"IDLETIME".as_slice(), idle.as_bytes()]);
            } else if let Some(frequency) = &frequency {
                arguments.extend([b"FREQ".as_slice(), frequency.as_bytes()]);
            }
        }
        let Some(lane) = self.lanes.get_mut(self.next) else { return };
        lane.select(self.db);
        command(&mut lane.out, &arguments);
        if let Some(at) = after {
            lane.queue.push(Sent::Part { db: self.db, name: self.name.clone(), kind });
            command(&mut lane.out, &[b"PEXPIREAT", &self.name, at.to_string().as_bytes()]);
        }
        lane.queue.push(Sent::Key { db: self.db, name: self.name.clone(), kind });
        self.keys += 1;
    }

    /// Commands that make a value which no single argument can hold.
    fn in_pieces(&mut self, value_type: ValueType) {
        let limits = Limits { bulk: self.longest, ..Limits::default() };
        let replace = self.settings.on_existing == OnExisting::Replace;
        let mut emitter = Emitter::with_limits(self.target.features(), limits).replacing(replace);
        if let Some(stand_ins) = self.stand_ins {
            emitter = emitter.standing_in(stand_ins);
        }
        // The connection has chosen the database already.
        if let Err(loss) = emit(&mut emitter, 0, &self.name, self.expiry, value_type, &self.raw) {
            self.losses.add(&loss, self.db, &self.name);
            return;
        }
        let Some(lane) = self.lanes.get_mut(self.next) else { return };
        lane.select(self.db);
        let replies = emitter.take_into(&mut lane.out);
        let kind = value_type.kind();
        for _ in 1..replies {
            lane.queue.push(Sent::Part { db: self.db, name: self.name.clone(), kind });
        }
        lane.queue.push(Sent::Key { db: self.db, name: self.name.clone(), kind });
        self.keys += 1;
    }
}

impl Lane {
    fn select(&mut self, db: u64) {
        if self.selected != db {
            self.selected = db;
            command(&mut self.out, &[b"SELECT", db.to_string().as_bytes()]);
            self.queue.push(Sent::Select);
        }
    }
}

/// Memory that one large value has taken is given back before the next.
const KEPT: usize = 4 << 20;

impl Elements for Loader<'_> {}

impl Visitor for Loader<'_> {
    fn header(&mut self, dialect: Dialect, version: u16) {
        (self.dialect, self.version) = (dialect, version);
    }

    fn function(&mut self, code: &[u8]) {
        if !self.target.features().functions {
            self.losses.add(&crate::emit::Inexpressible::Function, 0, b"");
            return;
        }
        let Some(lane) = self.lanes.first_mut() else { return };
        match self.settings.on_existing {
            OnExisting::Replace => command(&mut lane.out, &[b"FUNCTION", b"LOAD", b"REPLACE", code]),
            _ => command(&mut lane.out, &[b"FUNCTION", b"LOAD", code]),
        }
        lane.queue.push(Sent::Function);
        self.functions += 1;
    }

    fn module_aux(&mut self, module: &str) {
        if !self.modules.iter().any(|known| known == module) {
            self.modules.push(module.to_owned());
        }
    }

    fn key(&mut self, key: &Key<'_>) {
        self.raw.clear();
        for buffer in [&mut self.raw, &mut self.payload] {
            if buffer.capacity() > KEPT {
                *buffer = Vec::new();
            }
        }
        self.metadata.clear();
        self.metadata.extend_from_slice(key.metadata);
        self.name.clear();
        self.name.extend_from_slice(key.name);
        self.db = self.settings.choice.database(key.db);
        (self.expiry, self.value_type) = (key.expiry, Some(key.value_type));
        if let Some(stand_ins) = self.stand_ins {
            self.expiry = key.expiry.map(|at| stand_ins.told(at));
        }
        (self.idle, self.frequency) = (key.idle, key.frequency);
        self.skip = false;
        if self.gone() {
            self.skip = true;
            self.expired += 1;
        } else if !self.settings.choice.wants(key.name) {
            self.skip = true;
            self.unwanted += 1;
        }
    }

    fn raw(&mut self, bytes: &[u8]) {
        if !self.skip {
            self.raw.extend_from_slice(bytes);
        }
    }

    fn key_end(&mut self) {
        let Some(value_type) = self.value_type.take() else { return };
        if self.skip {
            return;
        }
        if value_type.is_empty(&self.raw) {
            self.empty += 1;
            return;
        }
        self.next = (self.next + 1) % self.lanes.len().max(1);
        // Room for the footer.
        let long = self.raw.len() as u64 + 64 > self.longest;
        let mortal = self.stand_ins.is_some() && value_type.has_field_expiry();
        self.mortal += u64::from(mortal);
        if (long && value_type.kind() != Kind::Module) || mortal {
            self.in_pieces(value_type);
        } else if self.make_payload(value_type) {
            self.restore(value_type.kind());
        }
    }
}
