//! The elements of values in canonical form: what a walker tells of them.

use super::odd::Odd;

/// The id of a stream entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Milliseconds since the epoch, mostly.
    pub ms: u64,
    /// Counts within the millisecond.
    pub seq: u64,
}

impl StreamId {
    /// Both numbers, big-endian: the form in which pending lists keep ids, and the one that is hashed.
    pub fn to_bytes(self) -> [u8; 16] {
        ((u128::from(self.ms) << 64) | u128::from(self.seq)).to_be_bytes()
    }

    /// Reads both numbers, big-endian.
    pub fn from_bytes(bytes: [u8; 16]) -> StreamId {
        let both = u128::from_be_bytes(bytes).to_be_bytes();
        let (ms, seq) = both.split_at(8);
        StreamId {
            ms: ms.try_into().map(u64::from_be_bytes).unwrap_or_default(),
            seq: seq.try_into().map(u64::from_be_bytes).unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// What a stream says about itself beside its entries. Streams of before 7.0 do not say the last two; a server derives
/// them while it loads, and so does the walker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamMeta {
    /// Entries now.
    pub length: u64,
    /// The id given last.
    pub last_id: StreamId,
    /// The greatest id that was ever deleted.
    pub max_deleted: StreamId,
    /// Entries ever added.
    pub entries_added: u64,
    /// Consumer groups that follow.
    pub groups: u64,
}

/// Takes the elements of a value in canonical form. Every method has an empty body by default.
#[allow(unused_variables, reason = "the default bodies ignore what they are given")]
pub trait Elements {
    /// How many elements follow, where the bytes say so up front: those of a table, the nodes of a quicklist or a stream.
    fn elements(&mut self, count: u64) {}
    /// A string's bytes.
    fn string(&mut self, bytes: &[u8]) {}
    /// A long string begins: so many bytes follow by [`Elements::long_part`], and [`Elements::string`] is not called, so
    /// that it is never in memory whole, compressed or not.
    fn long_string(&mut self, length: u64) {}
    /// The next bytes of a long string.
    fn long_part(&mut self, bytes: &[u8]) {}
    /// The next item of a list.
    fn item(&mut self, bytes: &[u8]) {}
    /// A node of a quicklist has ended.
    fn node_end(&mut self) {}
    /// A member of a set.
    fn member(&mut self, bytes: &[u8]) {}
    /// A member of a sorted set.
    fn scored(&mut self, member: &[u8], score: f64) {}
    /// A field of a hash; `expiry` in absolute milliseconds, if it has one.
    fn field(&mut self, field: &[u8], value: &[u8], expiry: Option<i64>) {}
    /// The next node of a stream as it stands: the id that its entries' ids are relative to, and its listpack.
    fn node(&mut self, id: StreamId, listpack: &[u8]) {}
    /// The next entry of a stream: fields and values in turn, each behind its length (`u32`, little-endian).
    fn entry(&mut self, id: StreamId, fields: &[u8]) {}
    /// What a stream says of itself; after its entries.
    fn stream(&mut self, meta: &StreamMeta) {}
    /// A consumer group begins. `entries_read` is nothing where the server does not know.
    fn group(&mut self, name: &[u8], last_id: StreamId, entries_read: Option<u64>) {}
    /// An entry pending in the group: delivered last at `at` (milliseconds), `count` times.
    fn pending(&mut self, id: StreamId, at: i64, count: u64) {}
    /// A consumer of the group; its pending entries follow.
    fn consumer(&mut self, name: &[u8], seen: i64) {}
    /// When the consumer that was told last got entries last, in milliseconds (7.2).
    fn active(&mut self, at: i64) {}
    /// An entry of the group's pending ones that is this consumer's.
    fn owned(&mut self, id: StreamId) {}
    /// An entry of the group's pending ones that was given back by its consumer, and is nobody's (XNACK, 8.8).
    fn nacked(&mut self, id: StreamId) {}
    /// The group ends.
    fn group_end(&mut self) {}
    /// How many producers a stream's table of idempotent messages knows: a cache that expires by itself (8.6).
    fn producers(&mut self, count: u64) {}
    /// Where an array goes on when an element is inserted; nothing where none ever was.
    fn insert_index(&mut self, index: Option<u64>) {}
    /// An element of an array, at its index.
    fn slot(&mut self, index: u64, bytes: &[u8]) {}
    /// Something is wrong with the value that does not keep it from being read. It may be told several times.
    fn odd(&mut self, odd: Odd) {}
    /// Raw bytes of something that has no canonical form here: a module's value, its type's id first.
    fn opaque(&mut self, raw: &[u8]) {}
}

/// Ignores every element.
impl Elements for () {}
