//! Collects statistics while a file is read.

use std::collections::BTreeMap;

use super::inspection::{Inspection, Sizes};
use super::prefixes::Prefixes;
use super::read::InspectOptions;
use super::record::KeyRecord;
use super::top::Top;
use crate::aof::{self, Command};
use crate::capture::stats::counted_as;
use crate::rdb::{Checksum, Dialect, Elements, Key, Kind, StreamId, Visitor, module_name};

/// Maximum number of distinct names of commands, auxiliary fields and modules; a file may contain arbitrarily many.
const NAMES: usize = 512;

/// Observes an RDB or AOF and collects its statistics.
pub struct Inspector<'a> {
    options: InspectOptions,
    on_key: &'a mut dyn FnMut(&KeyRecord),
    found: Inspection,
    prefixes: Prefixes,
    biggest: Top,
    longest: Top,
    current: KeyRecord,
    field_expiry: bool,
    usage: bool,
    module: Option<u64>,
    encodings: BTreeMap<(Kind, &'static str), Sizes>,
    /// Commands of the open transaction.
    open: Option<Vec<(String, u64, u64)>>,
}

impl std::fmt::Debug for Inspector<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inspector").field("found", &self.found).finish_non_exhaustive()
    }
}

impl<'a> Inspector<'a> {
    /// `on_key` is called for each key of the RDB at the end of its value.
    pub fn new(options: InspectOptions, on_key: &'a mut dyn FnMut(&KeyRecord)) -> Inspector<'a> {
        Inspector {
            options,
            on_key,
            found: Inspection::default(),
            prefixes: Prefixes::new(options.separator, options.prefix_depth, options.prefixes),
            biggest: Top::new(options.top),
            longest: Top::new(options.top),
            current: KeyRecord {
                db: 0,
                name: Vec::new(),
                kind: Kind::String,
                encoding: "",
                elements: 0,
                bytes: 0,
                expiry_ms: None,
            },
            field_expiry: false,
            usage: false,
            module: None,
            encodings: BTreeMap::new(),
            open: None,
        }
    }

    /// The result, at the end.
    pub fn finish(mut self, bytes: u64) -> Inspection {
        self.found.bytes = bytes;
        self.found.prefixes = self.prefixes.finish();
        self.found.prefixes_exact = self.prefixes.exact();
        self.found.biggest = self.biggest.into_sorted();
        self.found.longest = self.longest.into_sorted();
        self.found.encodings = self
            .encodings
            .into_iter()
            .map(|((kind, encoding), sizes)| (format!("{kind}/{encoding}"), sizes))
            .collect();
        self.found
    }

    pub(super) fn set_checksum(&mut self, checksum: Checksum) {
        self.found.checksum = Some(checksum);
    }
}

impl Elements for Inspector<'_> {
    fn string(&mut self, _bytes: &[u8]) {
        self.current.elements += 1;
    }

    fn long_string(&mut self, _length: u64) {
        self.current.elements += 1;
    }

    fn item(&mut self, _bytes: &[u8]) {
        self.current.elements += 1;
    }

    fn member(&mut self, _bytes: &[u8]) {
        self.current.elements += 1;
    }

    fn scored(&mut self, _member: &[u8], _score: f64) {
        self.current.elements += 1;
    }

    fn field(&mut self, _field: &[u8], _value: &[u8], expiry: Option<i64>) {
        self.current.elements += 1;
        self.field_expiry |= expiry.is_some();
    }

    fn entry(&mut self, _id: StreamId, _fields: &[u8]) {
        self.current.elements += 1;
    }

    fn slot(&mut self, _index: u64, _bytes: &[u8]) {
        self.current.elements += 1;
    }

    fn opaque(&mut self, raw: &[u8]) {
        if self.module.is_none() {
            self.module = raw.first_chunk::<8>().map(|id| u64::from_le_bytes(*id));
        }
    }
}

impl Visitor for Inspector<'_> {
    fn header(&mut self, dialect: Dialect, version: u16) {
        self.found.dialect = Some(dialect);
        self.found.rdb_version = Some(version);
    }

    fn aux(&mut self, name: &[u8], value: &[u8]) {
        // Old servers store whole scripts in auxiliary fields.
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes.get(..256).unwrap_or(bytes)).into_owned();
        if self.found.aux.len() < NAMES {
            self.found.aux.insert(text(name), text(value));
        }
    }

    fn function(&mut self, code: &[u8]) {
        self.found.functions.libraries += 1;
        self.found.functions.bytes += code.len() as u64;
        if self.found.functions.names.len() < NAMES {
            let line = code.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let line = String::from_utf8_lossy(line);
            let name = line.split_whitespace().find_map(|word| word.strip_prefix("name="));
            self.found.functions.names.push(name.unwrap_or("?").chars().take(256).collect());
        }
    }

    fn module_aux(&mut self, module: &str) {
        count(&mut self.found.module_data, module);
    }

    fn key(&mut self, key: &Key<'_>) {
        let current = &mut self.current;
        current.name.clear();
        current.name.extend_from_slice(key.name);
        (current.db, current.expiry_ms) = (key.db, key.expiry);
        (current.kind, current.encoding) = (key.value_type.kind(), key.value_type.encoding());
        (current.elements, current.bytes) = (0, key.name.len() as u64);
        (self.field_expiry, self.module) = (false, None);
        self.usage = key.idle.is_some() || key.frequency.is_some();
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.current.bytes += bytes.len() as u64;
    }

    fn key_end(&mut self) {
        let key = &self.current;
        let can_be_empty = matches!(key.kind, Kind::List | Kind::Set | Kind::Zset | Kind::Hash);
        if can_be_empty && key.elements == 0 {
            self.found.empty_keys += 1;
            return;
        }
        let one = Sizes {
            keys: 1,
            bytes: key.bytes,
            elements: key.elements,
            expires: u64::from(key.expiry_ms.is_some()),
        };
        self.found.sizes += one;
        self.found.keys_with_usage += u64::from(self.usage);
        let db = counted_as(&self.found.databases, key.db);
        let database = self.found.databases.entry(db).or_default();
        database.sizes += one;
        *database.types.entry(key.kind).or_default() += one;
        *self.encodings.entry((key.kind, key.encoding)).or_default() += one;
        if let Some(at) = key.expiry_ms {
            let expiries = &mut self.found.expiries;
            expiries.keys += 1;
            expiries.soonest_ms = Some(expiries.soonest_ms.map_or(at, |soonest| soonest.min(at)));
            expiries.latest_ms = Some(expiries.latest_ms.map_or(at, |latest| latest.max(at)));
            expiries.expired += u64::from(self.options.now_ms.is_some_and(|now| at <= now));
        }
        self.found.expiries.hashes_with_expiring_fields += u64::from(self.field_expiry);
        if key.kind == Kind::Module {
            count(&mut self.found.module_values, &module_name(self.module.unwrap_or(0)));
        }
        self.prefixes.add(&key.name, one);
        self.biggest.offer(key.bytes, key);
        if key.elements > 1 {
            self.longest.offer(key.elements, key);
        }
        (self.on_key)(key);
    }
}

impl aof::Visitor for Inspector<'_> {
    fn preamble_end(&mut self, _length: u64, checksum: Checksum) {
        self.set_checksum(checksum);
    }

    fn command(&mut self, command: &Command<'_>) {
        let name = command.argument(0).unwrap_or_default();
        let name: String =
            String::from_utf8_lossy(name).chars().take(64).collect::<String>().to_ascii_lowercase();
        if name == "multi" {
            self.open.get_or_insert_with(Vec::new);
        }
        // Commands of a transaction count only when it ends; until then, only sums are kept.
        if let Some(open) = &mut self.open {
            let room = open.len() < NAMES;
            if let Some(known) = open.iter_mut().find(|known| known.0 == name && known.1 == command.db) {
                known.2 += 1;
            } else if room {
                open.push((name.clone(), command.db, 1));
            }
            if name != "exec" && name != "discard" {
                return;
            }
            for (name, db, times) in self.open.take().unwrap_or_default() {
                self.ran(&name, db, times);
            }
            let stats = self.found.commands.get_or_insert_default();
            stats.transactions += u64::from(name == "exec");
            return;
        }
        self.ran(&name, command.db, 1);
    }
}

impl Inspector<'_> {
    fn ran(&mut self, name: &str, db: u64, times: u64) {
        let stats = self.found.commands.get_or_insert_default();
        stats.commands += times;
        let name =
            if stats.by_name.len() < NAMES || stats.by_name.contains_key(name) { name } else { "(other)" };
        match stats.by_name.get_mut(name) {
            Some(known) => *known += times,
            None => {
                stats.by_name.insert(name.to_owned(), times);
            }
        }
        let db = counted_as(&stats.by_database, db);
        *stats.by_database.entry(db).or_default() += times;
    }
}

fn count(counts: &mut BTreeMap<String, u64>, name: &str) {
    let room = counts.len() < NAMES;
    if let Some(known) = counts.get_mut(name) {
        *known += 1;
    } else if room {
        counts.insert(name.to_owned(), 1);
    }
}
