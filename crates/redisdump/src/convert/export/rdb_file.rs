//! Writes an RDB for a server of a given version.

use super::convert::{Converter, loads, module_of};
use super::encode;
use super::sink::Sink;
use crate::convert::commands::{Target, Unsupported, UnsupportedValues};
use crate::rdb::value::EMPTY;
use crate::rdb::{Corrupt, Crc64, Dialect, Forward, Key, Kind, Reader, ValueType, Visitor};

/// Writes an RDB.
#[derive(Debug)]
pub(super) struct RdbWriter {
    rdb: (Dialect, u16),
    modules: bool,
    out: Vec<u8>,
    /// This many bytes of `out` are final.
    safe: usize,
    crc: Crc64,
    db: Option<u64>,
    name: (u64, Vec<u8>),
    state: State,
    value_type: Option<ValueType>,
    /// The unmodified beginning of the value, and its length.
    beginning: Vec<u8>,
    length: usize,
    converter: Converter,
    unsupported: UnsupportedValues,
    keys: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The value is copied unchanged.
    Raw,
    /// A module's value: its name is needed before it is dropped.
    Module,
    /// The value is converted.
    Convert,
    /// The value is omitted.
    Skip,
}

impl RdbWriter {
    /// With `modules`, module values are written too: the file then loads only where the modules are.
    pub(super) fn new(target: Target, modules: bool) -> RdbWriter {
        let rdb = target.rdb();
        let magic = match rdb {
            (Dialect::Redis, version) => format!("REDIS{version:04}"),
            (Dialect::Valkey, version) => format!("VALKEY{version:03}"),
        };
        RdbWriter {
            rdb,
            modules,
            safe: magic.len(),
            out: magic.into_bytes(),
            crc: Crc64::default(),
            db: None,
            name: (0, Vec::new()),
            state: State::Skip,
            value_type: None,
            beginning: Vec::new(),
            length: 0,
            converter: Converter::new(rdb),
            unsupported: UnsupportedValues::default(),
            keys: 0,
        }
    }

    fn omit(&mut self, what: &Unsupported) {
        self.unsupported.add(what, self.name.0, &self.name.1);
        self.out.truncate(self.safe);
        self.state = State::Skip;
    }

    fn version(&self) -> u16 {
        self.rdb.1
    }
}

impl Forward for RdbWriter {
    type To = Converter;

    fn to(&mut self) -> Option<&mut Converter> {
        (self.state == State::Convert).then_some(&mut self.converter)
    }
}

impl Visitor for RdbWriter {
    fn aux(&mut self, name: &[u8], value: &[u8]) {
        // Keep what describes the server and the time; drop replication data, and the mark of an AOF base.
        const KEPT: [&[u8]; 5] = [b"redis-ver", b"valkey-ver", b"redis-bits", b"ctime", b"used-mem"];
        if self.version() >= 7 && KEPT.contains(&name) {
            self.out.push(250);
            encode::string(&mut self.out, name);
            encode::string(&mut self.out, value);
            self.safe = self.out.len();
        }
    }

    fn function(&mut self, code: &[u8]) {
        if self.version() < 10 {
            self.unsupported.add(&Unsupported::Function, 0, b"");
            return;
        }
        self.out.push(245);
        encode::string(&mut self.out, code);
        self.safe = self.out.len();
    }

    fn module_aux(&mut self, module: &str) {
        self.unsupported.add(&Unsupported::ModuleData { module: module.to_owned() }, 0, b"");
    }

    fn key(&mut self, key: &Key<'_>) {
        self.name.0 = key.db;
        self.name.1.clear();
        self.name.1.extend_from_slice(key.name);
        if self.db != Some(key.db) {
            self.db = Some(key.db);
            self.out.push(254);
            encode::length(&mut self.out, key.db);
            self.safe = self.out.len();
        }
        let (dialect, version) = self.rdb;
        let takes_metadata = self.modules && dialect == Dialect::Redis && version >= 13;
        if !(key.metadata.is_empty() || takes_metadata) {
            return self.omit(&Unsupported::Module { module: "(of a key's metadata)".to_owned() });
        }
        let as_it_is = loads(self.rdb, key.value_type);
        let code = match (as_it_is, key.value_type.kind()) {
            (true, _) => Ok(key.value_type.code()),
            (false, Kind::Module) => Err(Unsupported::Module { module: "of 4.0 or later".to_owned() }),
            (false, _) => self.converter.begin(key.value_type),
        };
        let code = match code {
            Ok(code) => code,
            Err(value) => return self.omit(&value),
        };
        self.state = match (as_it_is, key.value_type.kind()) {
            (true, Kind::Module) if !self.modules => State::Module,
            (true, _) => State::Raw,
            (false, _) => State::Convert,
        };
        if let Some(at) = key.expiry {
            self.out.push(252);
            self.out.extend_from_slice(&at.to_le_bytes());
        }
        if version >= 9 {
            if let Some(idle) = key.idle {
                self.out.push(248);
                encode::length(&mut self.out, idle);
            }
            if let Some(frequency) = key.frequency {
                self.out.extend_from_slice(&[249, frequency]);
            }
        }
        self.out.extend_from_slice(key.metadata);
        self.out.push(code);
        encode::string(&mut self.out, key.name);
        self.value_type = Some(key.value_type);
        self.beginning.clear();
        self.length = 0;
    }

    fn raw(&mut self, bytes: &[u8]) {
        if self.length <= EMPTY {
            self.beginning.extend_from_slice(bytes.get(..EMPTY).unwrap_or(bytes));
        }
        self.length = self.length.saturating_add(bytes.len());
        // A short value may turn out to be empty: write nothing of its key before its end.
        let short = self.length <= EMPTY;
        match self.state {
            State::Raw => {
                self.out.extend_from_slice(bytes);
                if !short {
                    self.safe = self.out.len();
                }
            }
            State::Convert if self.converter.has_failed() => {
                // Keep nothing more of it; the reason is reported at its end.
                self.converter.out.clear();
            }
            State::Convert if !short && self.converter.is_safe() => {
                self.out.append(&mut self.converter.out);
                self.safe = self.out.len();
            }
            State::Module => self.omit(&Unsupported::Module { module: module_of(bytes) }),
            State::Convert | State::Skip => {}
        }
    }

    fn key_end(&mut self) {
        let empty =
            self.length <= EMPTY && self.value_type.is_some_and(|kind| kind.is_empty(&self.beginning));
        match self.state {
            State::Skip => return,
            _ if empty => {
                if self.state == State::Convert {
                    // Drop it in any case.
                    let _ = self.converter.end();
                    self.converter.harmless.clear();
                }
                self.converter.out.clear();
                self.out.truncate(self.safe);
                return;
            }
            State::Convert => match self.converter.end() {
                Ok(()) => {
                    self.out.append(&mut self.converter.out);
                    for value in self.converter.harmless.drain(..) {
                        self.unsupported.add(&value, self.name.0, &self.name.1);
                    }
                }
                Err(value) => {
                    self.converter.out = Vec::new();
                    return self.omit(&value);
                }
            },
            State::Raw | State::Module => {}
        }
        self.safe = self.out.len();
        self.keys += 1;
    }
}

impl Sink for RdbWriter {
    fn feed(&mut self, reader: &mut Reader, bytes: &[u8]) -> Result<usize, Corrupt> {
        reader.feed(bytes, self)
    }

    fn ready(&self) -> usize {
        self.safe
    }

    fn take_into(&mut self, out: &mut Vec<u8>) {
        let ready = self.out.get(..self.safe).unwrap_or_default();
        self.crc.update(ready);
        out.extend_from_slice(ready);
        self.out.drain(..self.safe);
        self.safe = 0;
    }

    fn discard(&mut self) {
        // Neither copied nor included in the checksum.
        self.out.drain(..self.safe);
        self.safe = 0;
    }

    fn finish(&mut self) {
        self.out.push(255);
        let mut crc = self.crc.clone();
        crc.update(&self.out);
        // Checksums exist since version 5; no target is older.
        self.out.extend_from_slice(&crc.value().to_le_bytes());
        self.safe = self.out.len();
    }

    fn unsupported(&self) -> &UnsupportedValues {
        &self.unsupported
    }

    fn keys(&self) -> u64 {
        self.keys
    }
}
