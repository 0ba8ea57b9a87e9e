//! Writes RESTORE commands with payloads that the target loads.
//!
//! A payload is framed by its length and checksum, so it is buffered; a value longer than [`GIANT`] is written as
//! ordinary commands instead.

use std::hash::{BuildHasher as _, RandomState};

use super::convert::{convert, loads};
use super::sink::Sink;
use crate::convert::commands::{ChunkedValue, Commands, Emitter, Target, Unsupported, UnsupportedValues};
use crate::rdb::{Corrupt, Dialect, Elements, Key, Kind, Reader, ValueType, Visitor, dump};

/// Writes RESTORE commands.
#[derive(Debug)]
pub(super) struct RestoreWriter {
    target: Target,
    rdb: (Dialect, u16),
    /// ABSTTL, IDLETIME and FREQ require 5.0.
    absolute: bool,
    replace: bool,
    modules: bool,
    out: Commands,
    db: u64,
    name: Vec<u8>,
    expiry: Option<i64>,
    idle: Option<u64>,
    frequency: Option<u8>,
    value_type: Option<ValueType>,
    has_metadata: bool,
    payload: Vec<u8>,
    /// The current value, if it is written as commands, and its temporary name.
    giant: Option<(ChunkedValue, Vec<u8>)>,
    /// A prefix that no key has, and the number of names used.
    temporary_name: String,
    given: u64,
    number: Vec<u8>,
    unsupported: UnsupportedValues,
    keys: u64,
}

/// Longer values (in bytes) are written as commands.
const GIANT: usize = 8 << 20;
/// The first RDB version with module metadata.
const METADATA: u16 = 13;
/// Larger buffers (in bytes) are released when the value was written.
const KEEP: usize = 4 << 20;

impl RestoreWriter {
    pub(super) fn new(target: Target, replace: bool, modules: bool) -> RestoreWriter {
        RestoreWriter {
            target,
            rdb: target.rdb(),
            absolute: target.features().streams,
            replace,
            modules,
            out: Commands::default(),
            db: 0,
            name: Vec::new(),
            expiry: None,
            idle: None,
            frequency: None,
            value_type: None,
            has_metadata: false,
            payload: Vec::new(),
            giant: None,
            temporary_name: format!("dbhaul:{:016x}", RandomState::new().hash_one(0_u8)),
            given: 0,
            number: Vec::new(),
            unsupported: UnsupportedValues::default(),
            keys: 0,
        }
    }

    /// Creates the payload of the current value.
    fn seal(&mut self, value_type: ValueType) -> Result<(), Unsupported> {
        let body = self.payload.get(1..).unwrap_or_default();
        if value_type.kind() == Kind::Module && !self.modules {
            return Err(Unsupported::Module { module: super::convert::module_of(body) });
        }
        let version = if self.has_metadata {
            // Metadata precedes the type byte; its format belongs to one version.
            if self.rdb.0 != Dialect::Redis || self.rdb.1 < METADATA || !self.modules {
                return Err(Unsupported::Module { module: "(of a key's metadata)".to_owned() });
            }
            self.rdb.1
        } else if loads(self.rdb, value_type) {
            value_type.since().unwrap_or(self.rdb.1)
        } else {
            let mut converted = Vec::new();
            let (version, harmless) = convert(value_type, body, self.target, &mut converted)?;
            for value in harmless {
                self.unsupported.add(&value, self.db, &self.name);
            }
            self.payload = converted;
            version
        };
        dump::seal(&mut self.payload, 0, version);
        Ok(())
    }

    /// Starts to write a value as commands, beginning with what has arrived. As with RESTORE, an existing key is kept
    /// unless it is to be replaced: the value is renamed at its end.
    fn begin_giant(&mut self, value_type: ValueType) {
        let mut emitter = Emitter::new(self.target.features()).replacing(self.replace);
        let name = if self.replace {
            self.name.clone()
        } else {
            self.given += 1;
            format!("{}:{}", self.temporary_name, self.given).into_bytes()
        };
        // The database is already selected.
        match emitter.begin(0, &name, value_type.kind(), self.expiry) {
            Ok(()) => {
                let mut value = ChunkedValue::new(emitter, value_type);
                value.feed(self.payload.get(1..).unwrap_or_default());
                self.giant = Some((value, name));
            }
            Err(value) => {
                self.unsupported.add(&value, self.db, &self.name);
                self.value_type = None;
            }
        }
        self.payload = Vec::new();
    }

    fn take_giant(&mut self) {
        if let Some((value, _)) = &mut self.giant {
            self.out.replies += value.emitter.take_into(&mut self.out.resp);
        }
    }

    fn end_giant(&mut self) {
        let ended = self.giant.as_mut().map(|(value, _)| value.emitter.end());
        self.take_giant();
        let Some((Some(ended), (_, name))) = self.giant.take().map(|giant| (ended, giant)) else { return };
        match ended {
            Ok(()) => {
                if name != self.name {
                    self.out.push(&[b"RENAMENX", &name, &self.name]);
                    self.out.push(&[b"DEL", &name]);
                }
                self.keys += 1;
            }
            Err(value) => self.unsupported.add(&value, self.db, &self.name),
        }
    }

    fn number(&mut self, n: i64) {
        use std::io::Write as _;
        self.number.clear();
        // Writing to a vector does not fail.
        let _ = write!(self.number, "{n}");
    }

    fn put(&mut self) {
        let ttl = self.expiry.filter(|_| self.absolute);
        let usage = self.absolute && (self.idle.is_some() || self.frequency.is_some());
        let more = u64::from(self.replace) + u64::from(ttl.is_some()) + 2 * u64::from(usage);
        self.out.begin(4 + more);
        self.out.argument(b"RESTORE");
        self.out.argument(&self.name);
        self.number(ttl.unwrap_or(0));
        self.out.argument(&self.number);
        self.out.argument(&self.payload);
        if self.replace {
            self.out.argument(b"REPLACE");
        }
        if ttl.is_some() {
            self.out.argument(b"ABSTTL");
        }
        if usage {
            // A server accepts only one of the two.
            let (word, n): (&[u8], i64) = match (self.idle, self.frequency) {
                (Some(idle), _) => (b"IDLETIME", i64::try_from(idle).unwrap_or(i64::MAX)),
                (None, frequency) => (b"FREQ", i64::from(frequency.unwrap_or(0))),
            };
            self.out.argument(word);
            self.number(n);
            self.out.argument(&self.number);
        }
        if let Some(at) = self.expiry.filter(|_| !self.absolute) {
            self.number(at);
            self.out.push(&[b"PEXPIREAT", &self.name, &self.number]);
        }
    }
}

impl Elements for RestoreWriter {}

impl Visitor for RestoreWriter {
    fn function(&mut self, code: &[u8]) {
        if !self.target.features().functions {
            self.unsupported.add(&Unsupported::Function, 0, b"");
        } else if self.replace {
            self.out.push(&[b"FUNCTION", b"LOAD", b"REPLACE", code]);
        } else {
            self.out.push(&[b"FUNCTION", b"LOAD", code]);
        }
    }

    fn module_aux(&mut self, module: &str) {
        self.unsupported.add(&Unsupported::ModuleData { module: module.to_owned() }, 0, b"");
    }

    fn key(&mut self, key: &Key<'_>) {
        if self.db != key.db {
            self.db = key.db;
            self.out.push(&[b"SELECT", key.db.to_string().as_bytes()]);
        }
        self.name.clear();
        self.name.extend_from_slice(key.name);
        (self.expiry, self.idle, self.frequency) = (key.expiry, key.idle, key.frequency);
        self.value_type = Some(key.value_type);
        self.has_metadata = !key.metadata.is_empty();
        self.payload.clear();
        self.payload.extend_from_slice(key.metadata);
        self.payload.push(key.value_type.code());
    }

    fn raw(&mut self, bytes: &[u8]) {
        if let Some((value, _)) = &mut self.giant {
            value.feed(bytes);
            return self.take_giant();
        }
        let Some(value_type) = self.value_type else { return };
        self.payload.extend_from_slice(bytes);
        let whole = self.has_metadata || matches!(value_type.kind(), Kind::Module | Kind::Array);
        if self.payload.len() > GIANT && !whole {
            self.begin_giant(value_type);
        }
    }

    fn key_end(&mut self) {
        let Some(value_type) = self.value_type.take() else { return };
        if self.giant.is_some() {
            return self.end_giant();
        }
        let body = self.payload.get(1..).unwrap_or_default();
        if !self.has_metadata && value_type.is_empty(body) {
            // No server accepts it.
            return;
        }
        match self.seal(value_type) {
            Ok(()) => {
                self.put();
                self.keys += 1;
            }
            Err(value) => self.unsupported.add(&value, self.db, &self.name),
        }
        if self.payload.capacity() > KEEP {
            self.payload = Vec::new();
        }
    }
}

impl Sink for RestoreWriter {
    fn feed(&mut self, reader: &mut Reader, bytes: &[u8]) -> Result<usize, Corrupt> {
        reader.feed(bytes, self)
    }

    fn ready(&self) -> usize {
        self.out.resp.len()
    }

    fn take_into(&mut self, out: &mut Vec<u8>) {
        if out.is_empty() {
            std::mem::swap(out, &mut self.out.resp);
        } else {
            out.append(&mut self.out.resp);
        }
    }

    fn unsupported(&self) -> &UnsupportedValues {
        &self.unsupported
    }

    fn keys(&self) -> u64 {
        self.keys
    }
}
