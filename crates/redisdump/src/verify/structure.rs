//! Consistency of a value beyond its encoding: no duplicates, no dangling references.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use xxhash_rust::xxh3::xxh3_128;

use crate::rdb::{Elements, Kind, Lint, StreamId, StreamMeta, ValueType};
use crate::verify::duplicates::Duplicates;

/// Maximum number of remembered ids or names of one stream; later ones are assumed correct.
const MAX_SEEN: usize = 1 << 16;

/// Checks the elements of one value after another.
#[derive(Debug, Default)]
pub(crate) struct Structure {
    /// The lint for a duplicate member or field.
    twice: Option<Lint>,
    any: bool,
    can_be_empty: bool,
    found: BTreeSet<Lint>,
    members: Duplicates,
    /// A hash that servers convert to a listpack on loading, in which case they do not check for duplicates.
    small_hash: bool,
    fields: u64,
    failed: Option<io::Error>,
    nodes: SeenElements,
    /// Entries of the stream, and the greatest id among them.
    entries: u64,
    last: StreamId,
    groups: SeenElements,
    consumers: SeenElements,
    owned: SeenElements,
    /// The group's pending entries, and whether each has a consumer.
    pending: BTreeMap<u128, bool>,
    pending_full: bool,
    /// The type of a module's value, as the number in its first bytes.
    module: Option<u64>,
}

/// The elements seen so far, up to a limit.
#[derive(Debug, Default)]
struct SeenElements(BTreeSet<u128>);

impl SeenElements {
    /// False when it was seen before.
    fn first(&mut self, what: u128) -> bool {
        if self.0.len() >= MAX_SEEN { !self.0.contains(&what) } else { self.0.insert(what) }
    }
}

fn number(id: StreamId) -> u128 {
    u128::from(id.ms) << 64 | u128::from(id.seq)
}

impl Structure {
    /// Begins a value.
    pub(crate) fn begin(&mut self, ty: ValueType) {
        self.twice = match (ty.kind(), ty.encoding()) {
            (Kind::List | Kind::Stream | Kind::Module | Kind::String | Kind::Array, _) => None,
            // Servers from 7.0 on rebuild these two on loading, and notice duplicates.
            (_, "ziplist" | "zipmap") => Some(Lint::Twice),
            (_, "table") => Some(Lint::TableTwice),
            // The ascending order of an intset is checked elsewhere.
            (_, "intset") => None,
            _ => Some(Lint::PackedTwice),
        };
        self.can_be_empty = matches!(ty.kind(), Kind::List | Kind::Set | Kind::Zset | Kind::Hash);
        (self.small_hash, self.fields) = (ty.kind() == Kind::Hash, 0);
        self.any = false;
        self.module = None;
        self.found.clear();
        self.members.clear();
        if ty.kind() == Kind::Stream {
            self.nodes.0.clear();
            (self.entries, self.last) = (0, StreamId::default());
            self.groups.0.clear();
            self.begin_group();
        }
    }

    /// True for an empty list, set, sorted set or hash.
    pub(crate) fn is_empty_collection(&self) -> bool {
        self.can_be_empty && !self.any
    }

    /// Ends the value and checks its members for duplicates.
    pub(crate) fn end(&mut self) {
        let lint = match self.twice {
            Some(Lint::TableTwice) if self.small_hash => Lint::PackedTwice,
            Some(lint) => lint,
            None => return,
        };
        if self.members.is_trivial() {
            return self.members.clear();
        }
        match self.members.take() {
            Ok(twice) => self.expect(twice.is_empty(), lint),
            Err(error) => drop(self.failed.get_or_insert(error)),
        }
    }

    /// Why members could not be checked: an error of the temporary file.
    pub(crate) fn failure(&mut self) -> Option<io::Error> {
        self.failed.take()
    }

    /// The findings in the value, after its end.
    pub(crate) fn found(&self) -> impl Iterator<Item = Lint> + '_ {
        self.found.iter().copied()
    }

    /// The number of a module's type, after its value.
    pub(crate) fn module(&self) -> Option<u64> {
        self.module
    }

    fn begin_group(&mut self) {
        self.consumers.0.clear();
        self.owned.0.clear();
        self.pending.clear();
        self.pending_full = false;
    }

    #[inline]
    fn element(&mut self, name: &[u8]) {
        self.any = true;
        if self.twice.is_some() {
            self.members.add(0, name);
        }
    }

    fn expect(&mut self, holds: bool, lint: Lint) {
        if !holds {
            self.found.insert(lint);
        }
    }
}

impl Elements for Structure {
    fn lint(&mut self, lint: Lint) {
        self.found.insert(lint);
    }

    fn item(&mut self, _bytes: &[u8]) {
        self.any = true;
    }

    fn member(&mut self, bytes: &[u8]) {
        self.element(bytes);
    }

    fn scored(&mut self, member: &[u8], _score: f64) {
        self.element(member);
    }

    fn field(&mut self, field: &[u8], value: &[u8], _expiry: Option<i64>) {
        // Defaults of `hash-max-listpack-entries` and `hash-max-listpack-value`.
        const ENTRIES: u64 = 512;
        const VALUE: usize = 64;
        self.fields += 1;
        self.small_hash &= self.fields <= ENTRIES && field.len() <= VALUE && value.len() <= VALUE;
        self.element(field);
    }

    fn node(&mut self, id: StreamId, _listpack: &[u8]) {
        let first = self.nodes.first(number(id));
        self.expect(first, Lint::NodeTwice);
    }

    fn entry(&mut self, id: StreamId, _fields: &[u8]) {
        self.entries += 1;
        self.last = self.last.max(id);
    }

    fn stream(&mut self, meta: &StreamMeta) {
        let fits = meta.length == self.entries && meta.last_id >= self.last;
        self.expect(fits, Lint::StreamCounters);
        self.expect(meta.length == 0 || !self.nodes.0.is_empty(), Lint::NoNodes);
    }

    fn group(&mut self, name: &[u8], _last_id: StreamId, _entries_read: Option<u64>) {
        self.begin_group();
        let first = self.groups.first(xxh3_128(name));
        self.expect(first, Lint::GroupTwice);
    }

    fn pending(&mut self, id: StreamId, _at: i64, _count: u64) {
        if self.pending.len() < MAX_SEEN {
            let before = self.pending.insert(number(id), false);
            self.expect(before.is_none(), Lint::PendingTwice);
        } else {
            self.pending_full = true;
        }
    }

    fn consumer(&mut self, name: &[u8], _seen: i64) {
        self.owned.0.clear();
        let first = self.consumers.first(xxh3_128(name));
        self.expect(first, Lint::ConsumerTwice);
    }

    fn owned(&mut self, id: StreamId) {
        match self.pending.get_mut(&number(id)) {
            Some(owned) => *owned = true,
            None => self.expect(self.pending_full, Lint::OwnedNotPending),
        }
        let first = self.owned.first(number(id));
        self.expect(first, Lint::OwnedTwice);
    }

    fn nacked(&mut self, id: StreamId) {
        match self.pending.get_mut(&number(id)) {
            Some(owned) => *owned = true,
            None => self.expect(self.pending_full, Lint::OwnedNotPending),
        }
    }

    fn opaque(&mut self, raw: &[u8]) {
        let id = || raw.first_chunk::<8>().map_or(0, |id| u64::from_le_bytes(*id));
        self.module.get_or_insert_with(id);
    }

    fn group_end(&mut self) {
        let all = self.pending_full || self.pending.values().all(|owned| *owned);
        self.expect(all, Lint::PendingNotOwned);
    }
}
