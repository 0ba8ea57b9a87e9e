//! The elements of values in canonical form, as reported by a walker.

use super::lint::Lint;

/// The id of a stream entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Usually milliseconds since the epoch.
    pub ms: u64,
    /// Sequence number within the millisecond.
    pub seq: u64,
}

impl StreamId {
    /// Both numbers, big-endian, as in pending entry lists and in digests.
    pub fn to_bytes(self) -> [u8; 16] {
        ((u128::from(self.ms) << 64) | u128::from(self.seq)).to_be_bytes()
    }

    /// Parses both numbers, big-endian.
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

/// Metadata of a stream. Before 7.0 the last two values are not stored; servers derive them on loading, and so does the
/// walker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamMeta {
    /// Number of entries.
    pub length: u64,
    /// The last generated id.
    pub last_id: StreamId,
    /// The greatest deleted id.
    pub max_deleted: StreamId,
    /// Number of entries ever added.
    pub entries_added: u64,
    /// Number of consumer groups that follow.
    pub groups: u64,
}

/// Receives the elements of a value in canonical form. By default, all methods do nothing.
#[allow(unused_variables, reason = "the default bodies ignore what they are given")]
pub trait Elements {
    /// The number of elements that follow, if it is known in advance: those of a table, or nodes of a quicklist or
    /// stream.
    fn elements(&mut self, count: u64) {}
    /// A string.
    fn string(&mut self, bytes: &[u8]) {}
    /// Begins a long string of this length, which follows in calls of [`Elements::long_part`] instead of
    /// [`Elements::string`], so that it is never entirely in memory.
    fn long_string(&mut self, length: u64) {}
    /// The next bytes of a long string.
    fn long_part(&mut self, bytes: &[u8]) {}
    /// The next item of a list.
    fn item(&mut self, bytes: &[u8]) {}
    /// A node of a quicklist ended.
    fn node_end(&mut self) {}
    /// A member of a set.
    fn member(&mut self, bytes: &[u8]) {}
    /// A member of a sorted set.
    fn scored(&mut self, member: &[u8], score: f64) {}
    /// A field of a hash; `expiry` in absolute milliseconds, if it has one.
    fn field(&mut self, field: &[u8], value: &[u8], expiry: Option<i64>) {}
    /// The next raw node of a stream: the id to which its entries' ids are relative, and its listpack.
    fn node(&mut self, id: StreamId, listpack: &[u8]) {}
    /// The next entry of a stream: fields and values alternating, each after its length (`u32`, little-endian).
    fn entry(&mut self, id: StreamId, fields: &[u8]) {}
    /// The metadata of a stream, after its entries.
    fn stream(&mut self, meta: &StreamMeta) {}
    /// Begins a consumer group. `entries_read` is `None` if the server does not know it.
    fn group(&mut self, name: &[u8], last_id: StreamId, entries_read: Option<u64>) {}
    /// A pending entry of the group: last delivered at `at` (milliseconds since the epoch), `count` times.
    fn pending(&mut self, id: StreamId, at: i64, count: u64) {}
    /// A consumer of the group; its pending entries follow.
    fn consumer(&mut self, name: &[u8], seen: i64) {}
    /// When the last reported consumer last received entries, in milliseconds since the epoch (7.2).
    fn active(&mut self, at: i64) {}
    /// A pending entry of the group that belongs to this consumer.
    fn owned(&mut self, id: StreamId) {}
    /// A pending entry of the group that its consumer gave back and that has no consumer (XNACK, 8.8).
    fn nacked(&mut self, id: StreamId) {}
    /// The group ends.
    fn group_end(&mut self) {}
    /// Number of producers in a stream's table of idempotent messages: a cache that expires by itself (8.6).
    fn producers(&mut self, count: u64) {}
    /// The index at which an array continues inserting; `None` if nothing was inserted yet.
    fn insert_index(&mut self, index: Option<u64>) {}
    /// An element of an array, at its index.
    fn slot(&mut self, index: u64, bytes: &[u8]) {}
    /// An anomaly of the value that does not prevent reading it. May be reported repeatedly.
    fn lint(&mut self, lint: Lint) {}
    /// Raw bytes without a canonical form: a module's value, beginning with the id of its type.
    fn opaque(&mut self, raw: &[u8]) {}
}

/// Ignores all elements.
impl Elements for () {}

/// Passes the signature of every method of [`Elements`] to a macro, so that forwarding implementations need not list
/// them.
macro_rules! every_element {
    ($forward:ident) => {
        $forward!(
            elements(count: u64);
            string(bytes: &[u8]);
            long_string(length: u64);
            long_part(bytes: &[u8]);
            item(bytes: &[u8]);
            node_end();
            member(bytes: &[u8]);
            scored(member: &[u8], score: f64);
            field(field: &[u8], value: &[u8], expiry: Option<i64>);
            node(id: StreamId, listpack: &[u8]);
            entry(id: StreamId, fields: &[u8]);
            stream(meta: &StreamMeta);
            group(name: &[u8], last_id: StreamId, entries_read: Option<u64>);
            pending(id: StreamId, at: i64, count: u64);
            consumer(name: &[u8], seen: i64);
            active(at: i64);
            owned(id: StreamId);
            nacked(id: StreamId);
            group_end();
            producers(count: u64);
            insert_index(index: Option<u64>);
            slot(index: u64, bytes: &[u8]);
            lint(lint: Lint);
            opaque(raw: &[u8]);
        );
    };
}
pub(super) use every_element;
