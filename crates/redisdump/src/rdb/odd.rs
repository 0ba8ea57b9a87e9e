//! What is wrong with a value that can be read all the same.

use super::dialect::Dialect;

/// Something that no server writes, and that does not keep a value from being read. Reading goes on, so that keys which
/// a running server holds like that can be copied; who verifies a file tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Odd {
    /// A ziplist's way backwards does not lead through its entries.
    ZiplistLinks,
    /// A zipmap states another number of fields.
    ZipmapCount,
    /// A listpack's way backwards does not lead through its entries.
    ListpackLinks,
    /// An intset is not in ascending order.
    IntsetOrder,
    /// A node of a quicklist is an item without any bytes.
    EmptyNode,
    /// A hash's field expires later than Redis takes.
    FieldExpiry,
    /// The same in a listpack, where a server does not look.
    PackedFieldExpiry,
    /// A member or a field stands twice in a ziplist or a zipmap.
    Twice,
    /// A member or a field stands twice in a table.
    TableTwice,
    /// A member or a field stands twice in a listpack, or in a hash that becomes one, where servers do not look unless they
    /// are told to.
    PackedTwice,
    /// Two keys of a database have one name.
    KeyTwice,
    /// Two nodes of a stream have one id.
    NodeTwice,
    /// A stream states entries, and has none.
    NoNodes,
    /// A stream's length is not the number of its entries, or its last id is not the last.
    StreamCounters,
    /// Two groups of a stream have one name.
    GroupTwice,
    /// Two consumers of a group have one name.
    ConsumerTwice,
    /// An entry is pending twice in a group.
    PendingTwice,
    /// An entry is a consumer's twice.
    OwnedTwice,
    /// A consumer's entry is none of its group's pending ones.
    OwnedNotPending,
    /// An entry is pending in a group, and no consumer's.
    PendingNotOwned,
}

/// Which Valkeys look closely at every file that they load.
const VALKEY: &str = "Valkey from 9.1 on";

impl Odd {
    /// True for what stands twice: no server makes it, and one that loads it stumbles over it later.
    pub fn is_duplicate(self) -> bool {
        matches!(self, Odd::Twice | Odd::TableTwice | Odd::PackedTwice | Odd::KeyTwice)
    }

    /// Which servers, as the subject of a sentence, do not load a file with it, with the settings that they come with.
    /// Nothing where those of the file's own fork load it, and stumble over it later; Valkey from 9.1 on looks closely at
    /// every file, and so does every server from 7.0 on whose `sanitize-dump-payload` is on.
    pub fn refused_by(self, dialect: Dialect) -> Option<&'static str> {
        match self {
            Odd::ZiplistLinks | Odd::Twice => Some("servers from 7.0 on"),
            Odd::ZipmapCount | Odd::NoNodes | Odd::TableTwice => Some("servers from 6.2 on"),
            Odd::EmptyNode
            | Odd::KeyTwice
            | Odd::FieldExpiry
            | Odd::NodeTwice
            | Odd::GroupTwice
            | Odd::ConsumerTwice
            | Odd::PendingTwice
            | Odd::OwnedTwice
            | Odd::OwnedNotPending => Some("servers"),
            Odd::ListpackLinks
            | Odd::PackedTwice
            | Odd::IntsetOrder
            | Odd::StreamCounters
            | Odd::PendingNotOwned
                if dialect == Dialect::Valkey =>
            {
                Some(VALKEY)
            }
            Odd::PackedFieldExpiry
            | Odd::PackedTwice
            | Odd::ListpackLinks
            | Odd::IntsetOrder
            | Odd::StreamCounters
            | Odd::PendingNotOwned => None,
        }
    }
}

impl std::fmt::Display for Odd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Odd::ZiplistLinks => {
                "a ziplist cannot be read backwards: lengths or its tail do not fit its entries"
            }
            Odd::ZipmapCount => "a zipmap states another number of fields than it has",
            Odd::ListpackLinks => "a listpack cannot be read backwards: lengths do not fit its entries",
            Odd::IntsetOrder => "an intset is not in ascending order",
            Odd::EmptyNode => "a list's node holds an item without any bytes",
            Odd::FieldExpiry | Odd::PackedFieldExpiry => "a hash's field expires later than a server takes",
            Odd::Twice | Odd::TableTwice | Odd::PackedTwice => "duplicate member or field",
            Odd::KeyTwice => "the key stands there twice",
            Odd::NodeTwice => "two nodes of a stream have the same id",
            Odd::NoNodes => "a stream states entries, and has none",
            Odd::StreamCounters => "a stream's length or last id does not fit its entries",
            Odd::GroupTwice => "two groups of a stream have the same name",
            Odd::ConsumerTwice => "two consumers of a group have the same name",
            Odd::PendingTwice => "an entry is pending twice in a group",
            Odd::OwnedTwice => "an entry is pending twice for a consumer",
            Odd::OwnedNotPending => "an entry is pending for a consumer, and not in its group",
            Odd::PendingNotOwned => "an entry is pending in a group, and for none of its consumers",
        })
    }
}

impl serde::Serialize for Odd {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
