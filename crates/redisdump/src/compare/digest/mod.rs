//! Canonical digests of keys: type, value and expiry, regardless of encoding, order or server version.
//!
//! Every element is hashed with XXH3-128. Unordered elements (members, fields, groups) are added modulo 2^128, ordered
//! ones (items, entries) are chained. The digest of a key is a hash over its database, name, type, value and expiry;
//! the digests of keys are added, so that the sum does not depend on the order of the keys. Keys that can expire are
//! summed separately from those that cannot: the latter must be equal on both sides at any time.
//!
//! Omitted on purpose, because no two servers agree on them or because clients cannot see them: encodings, idle times
//! and frequencies, the time when a consumer was last seen, the sign of a zero score, and a stream's table of
//! idempotent producers (a cache with its own expiry).

mod vector_set;

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::compare::field_ttl::{Fields, Watch};
use crate::rdb::{Elements, Kind, StreamId, StreamMeta, module_name, module_piece};
use vector_set::VectorSet;

/// A 128-bit digest, shown as 32 hexadecimal digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Digest(pub u128);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16)
            .map(Digest)
            .map_err(|_| D::Error::custom("a digest is 32 hexadecimal digits"))
    }
}

/// A number of keys and the sum of their digests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sum {
    /// How many keys.
    pub keys: u64,
    /// The sum of their digests modulo 2^128.
    pub digest: Digest,
}

impl Sum {
    fn and(self, other: Sum) -> Sum {
        let digest = self.digest.0.wrapping_add(other.digest.0);
        Sum { keys: self.keys.saturating_add(other.keys), digest: Digest(digest) }
    }

    fn add(&mut self, digest: u128) {
        self.keys += 1;
        self.digest.0 = self.digest.0.wrapping_add(digest);
    }
}

/// The digest of a keyspace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KeyspaceDigest {
    /// Keys that never expire, neither as a whole nor by field.
    pub persistent: Sum,
    /// Keys with an expiry, their own or of a field.
    pub volatile: Sum,
}

impl KeyspaceDigest {
    /// Adds a key.
    pub fn add(&mut self, db: u64, name: &[u8], expiry: Option<i64>, value: &CanonicalDigest) {
        let digest = value.key_digest(db, name, expiry);
        if expiry.is_some() || value.field_expiry {
            self.volatile.add(digest);
        } else {
            self.persistent.add(digest);
        }
    }

    /// The keys of both parts of a keyspace, in any order.
    #[must_use]
    pub fn and(self, other: KeyspaceDigest) -> KeyspaceDigest {
        KeyspaceDigest {
            persistent: self.persistent.and(other.persistent),
            volatile: self.volatile.and(other.volatile),
        }
    }

    /// All keys.
    pub fn keys(&self) -> u64 {
        self.persistent.keys + self.volatile.keys
    }
}

/// The canonical digest of a value, without its key and expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanonicalDigest {
    /// The type.
    pub kind: Kind,
    /// The digest of the value, including the expiries of hash fields.
    pub value: u128,
    /// True if one of its fields can expire.
    pub field_expiry: bool,
    /// For a module's value, the id of its type without the encoding version; otherwise 0.
    pub module: u64,
    /// True for a module's value with an unknown layout: its bytes are digested, and may differ although it is the same
    /// to clients.
    pub opaque: bool,
}

impl CanonicalDigest {
    fn key_digest(&self, db: u64, name: &[u8], expiry: Option<i64>) -> u128 {
        let mut bytes = [0; 56];
        let (fields, _) = bytes.as_chunks_mut::<8>();
        if let [f0, f1, f2, f3, f4, f5, f6] = fields {
            *f0 = db.to_le_bytes();
            let name = xxh3_128(name);
            (*f1, *f2) = halves(name);
            (*f3, *f4) = halves(self.value);
            *f5 = expiry.unwrap_or_default().to_le_bytes();
            *f6 = [u8::from(expiry.is_some()), self.kind as u8, 0, 0, 0, 0, 0, 0];
        }
        xxh3_128(&bytes)
    }
}

fn halves(n: u128) -> ([u8; 8], [u8; 8]) {
    #[allow(clippy::cast_possible_truncation, reason = "the two halves are taken apart")]
    let (low, high) = (n as u64, (n >> 64) as u64);
    (low.to_le_bytes(), high.to_le_bytes())
}

/// Digests one value from its elements.
#[derive(Clone)]
pub struct Digester {
    kind: Kind,
    chain: u128,
    sum: u128,
    count: u64,
    field_expiry: bool,
    group: u128,
    consumer: u128,
    scratch: Vec<u8>,
    /// A string that arrives in parts: its hash so far, and the number of missing bytes.
    long: Option<(Box<Xxh3>, u64)>,
    /// Whether stream counters are included, which servers have from 7.0 on.
    counters: bool,
    /// Tracks fields that expire, if requested.
    watch: Option<Watch>,
    /// The type id of a module's value.
    module: u64,
    vectors: Option<VectorSet>,
    /// Hash fields are digested without their expiries, and omitted if those had passed at this time.
    unexpiring: Option<i64>,
}

impl fmt::Debug for Digester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Digester")
            .field("kind", &self.kind)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl Default for Digester {
    fn default() -> Self {
        Digester {
            kind: Kind::String,
            chain: 0,
            sum: 0,
            count: 0,
            field_expiry: false,
            group: 0,
            consumer: 0,
            scratch: Vec::new(),
            long: None,
            counters: true,
            watch: None,
            module: 0,
            vectors: None,
            unexpiring: None,
        }
    }
}

impl Digester {
    /// Omits what servers before 7.0 do not store: the number of entries ever added to a stream, the newest deleted
    /// entry, and the number of entries read by a group. A value that was on such a server cannot be distinguished by
    /// them.
    #[must_use]
    pub fn without_counters(mut self) -> Digester {
        self.counters = false;
        self
    }

    /// Ignores the expiries of hash fields, except for fields that had expired at this time: they no longer exist.
    pub(crate) fn without_field_expiries(&mut self, moment: i64) {
        self.unexpiring = Some(moment);
    }

    /// Tracks fields that expire, for [`Digester::fields`].
    pub(crate) fn watch(&mut self, watch: Watch) {
        self.watch = Some(watch);
    }

    /// Sets the clock for tracked fields.
    pub(crate) fn set_now(&mut self, now: i64) {
        if let Some(watch) = &mut self.watch {
            watch.set_now(now);
        }
    }

    /// The expiring fields of the value that was fed; `None` if there are none or they are not tracked.
    pub(crate) fn fields(&mut self) -> Option<Fields> {
        let watch = self.watch.as_mut().filter(|_| self.field_expiry)?;
        Some(watch.take((self.sum, self.count)))
    }

    /// Begins a value.
    pub fn begin(&mut self, kind: Kind) {
        (self.kind, self.chain, self.sum, self.count, self.field_expiry) = (kind, 0, 0, 0, false);
        self.long = None;
        (self.module, self.vectors) = (0, None);
        if let Some(watch) = &mut self.watch {
            watch.begin();
        }
    }

    /// The canonical digest of the value that was fed.
    pub fn digest(&self) -> CanonicalDigest {
        let vectors = self.vectors.as_ref().and_then(VectorSet::digest);
        let as_it_stands = || tuple(&[self.chain, self.sum, u128::from(self.count)]);
        CanonicalDigest {
            kind: self.kind,
            value: vectors.unwrap_or_else(as_it_stands),
            field_expiry: self.field_expiry,
            module: self.module & !ENCODING,
            opaque: self.kind == Kind::Module && vectors.is_none(),
        }
    }

    /// True for a list, set, sorted set or hash without elements: no server has one.
    pub(crate) fn is_empty_collection(&self) -> bool {
        matches!(self.kind, Kind::List | Kind::Set | Kind::Zset | Kind::Hash) && self.count == 0
    }

    fn link(&mut self, hash: u128) {
        self.chain = tuple(&[self.chain, hash]);
        self.count += 1;
    }

    fn add(&mut self, hash: u128) {
        self.sum = self.sum.wrapping_add(hash);
        self.count += 1;
    }
}

/// The bits of a module type id that contain the encoding version.
const ENCODING: u64 = 0x3ff;

/// The digest of a hash with this sum of field digests.
pub(crate) fn hash_value(sum: u128, count: u64) -> u128 {
    tuple(&[0, sum, u128::from(count)])
}

/// The hash of several hashes.
#[inline]
fn tuple(parts: &[u128]) -> u128 {
    let mut bytes = [0; 64];
    let mut len = 0;
    for (to, part) in bytes.as_chunks_mut::<16>().0.iter_mut().zip(parts) {
        *to = part.to_le_bytes();
        len += 16;
    }
    xxh3_128(bytes.get(..len).unwrap_or_default())
}

impl Elements for Digester {
    fn string(&mut self, bytes: &[u8]) {
        self.link(xxh3_128(bytes));
    }

    fn long_string(&mut self, length: u64) {
        self.long = Some((Box::new(Xxh3::new()), length));
    }

    fn long_part(&mut self, bytes: &[u8]) {
        let Some((hash, left)) = &mut self.long else { return };
        hash.update(bytes);
        *left = left.saturating_sub(bytes.len() as u64);
        if *left == 0 {
            let whole = hash.digest128();
            self.long = None;
            self.link(whole);
        }
    }

    fn item(&mut self, bytes: &[u8]) {
        self.link(xxh3_128(bytes));
    }

    fn member(&mut self, bytes: &[u8]) {
        self.add(xxh3_128(bytes));
    }

    fn scored(&mut self, member: &[u8], score: f64) {
        // Adding zero turns -0 into 0 and leaves every other score unchanged.
        self.add(tuple(&[xxh3_128(member), u128::from((score + 0.0).to_bits())]));
    }

    fn field(&mut self, field: &[u8], value: &[u8], mut expiry: Option<i64>) {
        if let Some(moment) = self.unexpiring {
            if expiry.is_some_and(|at| at <= moment) {
                return;
            }
            expiry = None;
        }
        self.field_expiry |= expiry.is_some();
        let at = expiry.map_or(0, |at| u128::from(at.cast_unsigned()) | 1 << 64);
        let digest = tuple(&[xxh3_128(field), xxh3_128(value), at]);
        if let (Some(watch), Some(at)) = (&mut self.watch, expiry) {
            watch.note(at, digest);
        }
        self.add(digest);
    }

    fn entry(&mut self, id: StreamId, fields: &[u8]) {
        self.link(tuple(&[u128::from_be_bytes(id.to_bytes()), xxh3_128(fields)]));
    }

    fn stream(&mut self, meta: &StreamMeta) {
        self.scratch.clear();
        self.scratch.extend_from_slice(&meta.length.to_le_bytes());
        self.scratch.extend_from_slice(&meta.last_id.to_bytes());
        if self.counters {
            self.scratch.extend_from_slice(&meta.max_deleted.to_bytes());
            self.scratch.extend_from_slice(&meta.entries_added.to_le_bytes());
        }
        self.chain = tuple(&[self.chain, xxh3_128(&self.scratch)]);
    }

    fn group(&mut self, name: &[u8], last_id: StreamId, entries_read: Option<u64>) {
        let read = entries_read.filter(|_| self.counters).map_or(0, |read| u128::from(read) | 1 << 64);
        self.group = tuple(&[xxh3_128(name), u128::from_be_bytes(last_id.to_bytes()), read]);
    }

    fn pending(&mut self, id: StreamId, at: i64, count: u64) {
        let delivered = u128::from(at.cast_unsigned()) << 64 | u128::from(count);
        self.group = self.group.wrapping_add(tuple(&[u128::from_be_bytes(id.to_bytes()), delivered]));
    }

    fn consumer(&mut self, name: &[u8], _seen: i64) {
        self.consumer = xxh3_128(name);
        self.group = self.group.wrapping_add(tuple(&[self.consumer]));
    }

    fn owned(&mut self, id: StreamId) {
        let owned = tuple(&[self.consumer, u128::from_be_bytes(id.to_bytes()), 1]);
        self.group = self.group.wrapping_add(owned);
    }

    fn nacked(&mut self, id: StreamId) {
        self.group = self.group.wrapping_add(tuple(&[0, u128::from_be_bytes(id.to_bytes()), 2]));
    }

    fn insert_index(&mut self, index: Option<u64>) {
        self.chain = tuple(&[self.chain, index.map_or(0, |index| u128::from(index) | 1 << 64)]);
    }

    fn slot(&mut self, index: u64, bytes: &[u8]) {
        self.add(tuple(&[u128::from(index), xxh3_128(bytes)]));
    }

    fn group_end(&mut self) {
        self.add(tuple(&[self.group]));
    }

    fn opaque(&mut self, raw: &[u8]) {
        if let Some(vectors) = &mut self.vectors {
            vectors.piece(&module_piece(raw, &mut self.scratch));
        } else if let (0, Some(id)) = (self.count, raw.first_chunk::<8>()) {
            self.module = u64::from_le_bytes(*id);
            // For the first encoding version; another one may have a different layout.
            self.vectors = (self.module & ENCODING == 0 && module_name(self.module) == "vectorset")
                .then(VectorSet::default);
        }
        self.link(xxh3_128(raw));
    }
}

/// The hash of a function library, for comparing sets of them.
pub(crate) fn function(code: &[u8]) -> u128 {
    xxh3_128(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: Kind, tell: impl Fn(&mut Digester)) -> CanonicalDigest {
        let mut digester = Digester::default();
        digester.begin(kind);
        tell(&mut digester);
        digester.digest()
    }

    #[test]
    fn order_counts_where_it_has_a_meaning() {
        let list =
            |a: &'static [u8], b: &'static [u8]| of(Kind::List, |d| [a, b].iter().for_each(|i| d.item(i)));
        let set =
            |a: &'static [u8], b: &'static [u8]| of(Kind::Set, |d| [a, b].iter().for_each(|i| d.member(i)));
        assert_ne!(list(b"a", b"b"), list(b"b", b"a"));
        assert_eq!(set(b"a", b"b"), set(b"b", b"a"));
        assert_ne!(set(b"a", b"a"), set(b"b", b"b"));
    }

    #[test]
    fn a_string_in_parts_is_the_same_string() {
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let whole = of(Kind::String, |d| d.string(&bytes));
        let parts = of(Kind::String, |d| {
            d.long_string(bytes.len() as u64);
            bytes.chunks(777).for_each(|part| d.long_part(part));
        });
        assert_eq!(whole, parts);
    }

    #[test]
    fn every_part_of_a_field_counts() {
        let hash = |f: &'static [u8], v: &'static [u8], at| of(Kind::Hash, move |d| d.field(f, v, at));
        let all = [
            hash(b"f", b"v", None),
            hash(b"v", b"f", None),
            hash(b"f", b"v", Some(0)),
            hash(b"f", b"v", Some(1)),
            hash(b"fv", b"", None),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| other.value != one.value));
        }
    }

    #[test]
    fn a_key_is_its_database_name_and_expiry_too() {
        let canonical = of(Kind::String, |d| d.string(b"x"));
        let mut sums = Vec::new();
        for (db, name, expiry) in [(0, b"k", None), (1, b"k", None), (0, b"l", None), (0, b"k", Some(0))] {
            let mut digest = KeyspaceDigest::default();
            digest.add(db, name, expiry, &canonical);
            assert_eq!(digest.keys(), 1);
            sums.push((digest.persistent.digest.0).wrapping_add(digest.volatile.digest.0));
        }
        sums.sort_unstable();
        sums.dedup();
        assert_eq!(sums.len(), 4);
    }

    #[test]
    fn digests_survive_json() {
        let digest = Digest(0x0123_4567_89ab_cdef);
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(text, "\"00000000000000000123456789abcdef\"");
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), digest);
    }
}
