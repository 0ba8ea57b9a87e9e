//! What can be wrong with RDB bytes, and where.

/// A fault in an RDB stream or in a `DUMP` payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {problem}")]
#[non_exhaustive]
pub struct Corrupt {
    /// Bytes before the item that is at fault, from the beginning of the stream.
    pub offset: u64,
    /// What is wrong with it.
    pub problem: Problem,
}

/// The kinds of faults.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The first nine bytes are neither `REDIS` nor `VALKEY` with a version.
    #[error("this is no RDB file: it begins with neither REDISnnnn nor VALKEYnnn")]
    Magic,
    /// A version that nobody has written yet when this was built.
    #[error(
        "RDB version {magic} is newer than this reader knows (up to REDIS{redis:04} and VALKEY{valkey:03})"
    )]
    Version {
        /// The nine bytes as text.
        magic: String,
        /// The newest version of Redis that is known.
        redis: u16,
        /// The newest version of Valkey that is known.
        valkey: u16,
    },
    /// The stream ended early.
    #[error("the data ends in the middle of an item")]
    Truncated,
    /// The checksum at the end does not fit the bytes.
    #[error("checksum mismatch: the data says {stored:016x}, its bytes give {computed:016x}")]
    Checksum {
        /// As stored.
        stored: u64,
        /// As computed.
        computed: u64,
    },
    /// A type byte or an opcode that is not known in this dialect.
    #[error("type or opcode {0} is unknown in this dialect")]
    Type(u8),
    /// Values of module types before Redis 4.0 GA cannot be skipped: they have no structure of their own.
    #[error(
        "a module value in the form of 4.0 release candidates: its end cannot be found without the module"
    )]
    ModulePreGa,
    /// Anything else: which item, and what about it.
    #[error("{0}")]
    Item(&'static str),
}
