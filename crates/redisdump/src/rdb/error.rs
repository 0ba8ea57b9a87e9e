//! Faults in RDB data, and their positions.

/// A fault in an RDB stream or in a `DUMP` payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: {problem}")]
#[non_exhaustive]
pub struct Corrupt {
    /// Offset of the faulty item from the beginning of the stream, in bytes.
    pub offset: u64,
    /// The kind of fault.
    pub problem: Problem,
}

/// The kinds of faults.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The first nine bytes are neither `REDIS` nor `VALKEY` with a version.
    #[error("not an RDB file: it begins with neither REDISnnnn nor VALKEYnnn")]
    Magic,
    /// A version that is not known to this release.
    #[error(
        "RDB version {magic} is newer than the supported ones (up to REDIS{redis:04} and VALKEY{valkey:03})"
    )]
    Version {
        /// The nine bytes as text.
        magic: String,
        /// The newest known version of Redis' numbering.
        redis: u16,
        /// The newest known version of Valkey's numbering.
        valkey: u16,
    },
    /// The stream ended early.
    #[error("the data ends within an item")]
    Truncated,
    /// The checksum at the end does not match.
    #[error("checksum mismatch: stored {stored:016x}, computed {computed:016x}")]
    Checksum {
        /// As stored.
        stored: u64,
        /// As computed.
        computed: u64,
    },
    /// A type byte or opcode that this dialect does not have.
    #[error("type or opcode {0} is unknown in this dialect")]
    Type(u8),
    /// A module value in the format before Redis 4.0 GA, which cannot be skipped because it has no structure of its
    /// own.
    #[error(
        "a module value in the format of the 4.0 release candidates, whose end cannot be found without the module"
    )]
    ModulePreGa,
    /// Other faults: the item and what is wrong with it.
    #[error("{0}")]
    Item(&'static str),
}
