//! The types of values, by the type byte before each.

use super::dialect::Dialect;
use super::error::Problem;

/// The type of a key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A string.
    String,
    /// A list.
    List,
    /// A set.
    Set,
    /// A sorted set.
    Zset,
    /// A hash.
    Hash,
    /// A stream.
    Stream,
    /// A module's value, which is opaque here.
    Module,
    /// An array (Redis 8.8).
    Array,
}

impl Kind {
    /// As returned by the `TYPE` command, except for modules, which have their own type names.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::List => "list",
            Kind::Set => "set",
            Kind::Zset => "zset",
            Kind::Hash => "hash",
            Kind::Stream => "stream",
            Kind::Module => "module",
            Kind::Array => "array",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The type byte before a value, in one dialect: the constants `RDB_TYPE_*` of `rdb.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ValueType {
    code: u8,
    dialect: Dialect,
    pub(super) kind: Kind,
    pub(super) shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Shape {
    Plain,
    Strings,
    Scores { binary: bool },
    Pairs,
    PairsMeta,
    PairsMetaPreGa,
    PairsValkey,
    Zipmap,
    Ziplist,
    Listpack,
    ListpackTtl { minimum: bool },
    Intset,
    Quicklist,
    Quicklist2,
    Stream(u8),
    Module,
    Array,
    Template { packed: bool },
}

impl ValueType {
    /// True for the types of hashes with field TTLs.
    pub(crate) fn has_field_expiry(self) -> bool {
        self.kind == Kind::Hash && (22..=25).contains(&self.code)
    }

    /// The value type for a type byte.
    ///
    /// # Errors
    /// [`Problem::Type`] if the dialect does not have it.
    pub fn new(code: u8, dialect: Dialect) -> Result<ValueType, Problem> {
        use Shape::{
            Array, Intset, Listpack, ListpackTtl, Module, Pairs, PairsMeta, PairsMetaPreGa, PairsValkey,
            Plain, Quicklist, Quicklist2, Scores, Stream, Strings, Template, Ziplist, Zipmap,
        };
        let (kind, shape) = match (code, dialect) {
            (0, _) => (Kind::String, Plain),
            (1, _) => (Kind::List, Strings),
            (2, _) => (Kind::Set, Strings),
            (3, _) => (Kind::Zset, Scores { binary: false }),
            (4, _) => (Kind::Hash, Pairs),
            (5, _) => (Kind::Zset, Scores { binary: true }),
            (6, _) => return Err(Problem::ModulePreGa),
            (7, _) => (Kind::Module, Module),
            (9, _) => (Kind::Hash, Zipmap),
            (10, _) => (Kind::List, Ziplist),
            (11, _) => (Kind::Set, Intset),
            (12, _) => (Kind::Zset, Ziplist),
            (13, _) => (Kind::Hash, Ziplist),
            (14, _) => (Kind::List, Quicklist),
            (15, _) => (Kind::Stream, Stream(1)),
            (16, _) => (Kind::Hash, Listpack),
            (17, _) => (Kind::Zset, Listpack),
            (18, _) => (Kind::List, Quicklist2),
            (19, _) => (Kind::Stream, Stream(2)),
            (20, _) => (Kind::Set, Listpack),
            (21, _) => (Kind::Stream, Stream(3)),
            (22, Dialect::Valkey) => (Kind::Hash, PairsValkey),
            (22, Dialect::Redis) => (Kind::Hash, PairsMetaPreGa),
            (23, Dialect::Redis) => (Kind::Hash, ListpackTtl { minimum: false }),
            (24, Dialect::Redis) => (Kind::Hash, PairsMeta),
            (25, Dialect::Redis) => (Kind::Hash, ListpackTtl { minimum: true }),
            (26, Dialect::Redis) => (Kind::Stream, Stream(4)),
            (27, Dialect::Redis) => (Kind::Stream, Stream(5)),
            (28, Dialect::Redis) => (Kind::Array, Array),
            // The reader converts 30 and 32, which refer to a template of the file, to 31.
            (29, Dialect::Redis) => (Kind::Hash, Template { packed: true }),
            (31, Dialect::Redis) => (Kind::Hash, Template { packed: false }),
            _ => return Err(Problem::Type(code)),
        };
        Ok(ValueType { code, dialect, kind, shape })
    }

    /// The type byte.
    pub fn code(self) -> u8 {
        self.code
    }

    /// The dialect of the type byte.
    pub fn dialect(self) -> Dialect {
        self.dialect
    }

    /// The type as seen by clients.
    pub fn kind(self) -> Kind {
        self.kind
    }

    /// The encoding, in the server's terms; `table` means element by element.
    pub fn encoding(self) -> &'static str {
        match self.shape {
            Shape::Plain => "string",
            Shape::Strings
            | Shape::Scores { .. }
            | Shape::Pairs
            | Shape::PairsMeta
            | Shape::PairsMetaPreGa
            | Shape::PairsValkey => "table",
            Shape::Zipmap => "zipmap",
            Shape::Ziplist => "ziplist",
            Shape::Listpack => "listpack",
            Shape::ListpackTtl { .. } => "listpackex",
            Shape::Intset => "intset",
            Shape::Quicklist => "quicklist",
            Shape::Quicklist2 => "quicklist2",
            Shape::Stream(_) => "stream",
            Shape::Module => "module",
            Shape::Array => "array",
            Shape::Template { .. } => "template",
        }
    }

    /// The lowest RDB version that supports this type byte, which may be used as the version of a `DUMP` payload.
    /// Released layouts never change, so the version only decides which servers accept the payload. `None` for module
    /// values, which may depend on the version.
    pub fn since(self) -> Option<u16> {
        Some(match (self.code, self.dialect) {
            (0..=4 | 9..=13, _) => 6,
            (14, _) => 7,
            (5, _) => 8,
            (15, _) => 9,
            (16..=19, _) => 10,
            (20 | 21, _) => 11,
            (22, Dialect::Valkey) => 80,
            (22..=25, Dialect::Redis) => 12,
            (26, Dialect::Redis) => 13,
            (27 | 28, Dialect::Redis) => 14,
            (29 | 31, Dialect::Redis) => 15,
            _ => return None,
        })
    }
}
