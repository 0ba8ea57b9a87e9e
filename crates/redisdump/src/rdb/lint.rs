//! Anomalies of values that can still be read.

use super::dialect::Dialect;

/// An anomaly that no server writes but that does not prevent reading a value. Reading continues, so that such keys of
/// a running server can be copied; verification of a file reports them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Lint {
    /// The backward links of a ziplist do not match its entries.
    ZiplistLinks,
    /// A zipmap states a different number of fields.
    ZipmapCount,
    /// The backward lengths of a listpack do not match its entries.
    ListpackLinks,
    /// An intset is not in ascending order.
    IntsetOrder,
    /// A node of a quicklist is an item of zero bytes.
    EmptyNode,
    /// A hash's field expires later than Redis supports.
    FieldExpiry,
    /// The same in a listpack, which servers do not check.
    PackedFieldExpiry,
    /// A duplicate member or field in a ziplist or a zipmap.
    Twice,
    /// A duplicate member or field in a table.
    TableTwice,
    /// A duplicate member or field in a listpack, or in a hash that becomes one, which servers check only if configured
    /// to.
    PackedTwice,
    /// Two keys of a database have the same name.
    KeyTwice,
    /// Two nodes of a stream have the same id.
    NodeTwice,
    /// A stream states entries but has none.
    NoNodes,
    /// A stream's length differs from its number of entries, or its last id from that of the last entry.
    StreamCounters,
    /// Two groups of a stream have the same name.
    GroupTwice,
    /// Two consumers of a group have the same name.
    ConsumerTwice,
    /// An entry is pending twice in a group.
    PendingTwice,
    /// An entry is pending twice for a consumer.
    OwnedTwice,
    /// A consumer's pending entry is not pending in its group.
    OwnedNotPending,
    /// An entry is pending in a group, but for none of its consumers.
    PendingNotOwned,
}

/// Valkey versions that check files thoroughly on loading.
const VALKEY: &str = "Valkey from 9.1 on";

impl Lint {
    /// True for duplicates: no server creates them, and they break a server that loads them.
    pub fn is_duplicate(self) -> bool {
        matches!(self, Lint::Twice | Lint::TableTwice | Lint::PackedTwice | Lint::KeyTwice)
    }

    /// Which servers, as the subject of a sentence, refuse to load a file with it under their default settings. `None`
    /// if those of the file's own fork load it and break later. Valkey from 9.1 on checks every file thoroughly, and so
    /// does every server from 7.0 on with `sanitize-dump-payload` on.
    pub fn refused_by(self, dialect: Dialect) -> Option<&'static str> {
        match self {
            Lint::ZiplistLinks | Lint::Twice => Some("servers from 7.0 on"),
            Lint::ZipmapCount | Lint::NoNodes | Lint::TableTwice => Some("servers from 6.2 on"),
            Lint::EmptyNode
            | Lint::KeyTwice
            | Lint::FieldExpiry
            | Lint::NodeTwice
            | Lint::GroupTwice
            | Lint::ConsumerTwice
            | Lint::PendingTwice
            | Lint::OwnedTwice
            | Lint::OwnedNotPending => Some("servers"),
            Lint::ListpackLinks
            | Lint::PackedTwice
            | Lint::IntsetOrder
            | Lint::StreamCounters
            | Lint::PendingNotOwned
                if dialect == Dialect::Valkey =>
            {
                Some(VALKEY)
            }
            Lint::PackedFieldExpiry
            | Lint::PackedTwice
            | Lint::ListpackLinks
            | Lint::IntsetOrder
            | Lint::StreamCounters
            | Lint::PendingNotOwned => None,
        }
    }
}

impl std::fmt::Display for Lint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Lint::ZiplistLinks => {
                "a ziplist cannot be read backwards: lengths or its tail do not match its entries"
            }
            Lint::ZipmapCount => "a zipmap states a wrong number of fields",
            Lint::ListpackLinks => "a listpack cannot be read backwards: lengths do not match its entries",
            Lint::IntsetOrder => "an intset is not in ascending order",
            Lint::EmptyNode => "a list's node is an item of zero bytes",
            Lint::FieldExpiry | Lint::PackedFieldExpiry => {
                "a hash's field expires later than servers support"
            }
            Lint::Twice | Lint::TableTwice | Lint::PackedTwice => "duplicate member or field",
            Lint::KeyTwice => "duplicate key",
            Lint::NodeTwice => "two nodes of a stream have the same id",
            Lint::NoNodes => "a stream states entries but has none",
            Lint::StreamCounters => "a stream's length or last id does not match its entries",
            Lint::GroupTwice => "two groups of a stream have the same name",
            Lint::ConsumerTwice => "two consumers of a group have the same name",
            Lint::PendingTwice => "an entry is pending twice in a group",
            Lint::OwnedTwice => "an entry is pending twice for a consumer",
            Lint::OwnedNotPending => "an entry is pending for a consumer but not in its group",
            Lint::PendingNotOwned => "an entry is pending in a group but for none of its consumers",
        })
    }
}

impl serde::Serialize for Lint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
