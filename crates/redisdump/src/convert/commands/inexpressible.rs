//! What a target cannot hold.

use serde::{Deserialize, Serialize};

/// Something of a value that the target cannot express.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
#[non_exhaustive]
pub enum Inexpressible {
    /// A module's value: only that module can read it.
    #[error("a value of module type {module}, which only that module can read")]
    Module {
        /// The name of the module's type.
        module: String,
    },
    /// Data of a module that belongs to no key.
    #[error("data of module {module} beside its keys, which only that module can read")]
    ModuleData {
        /// The name of the module's type.
        module: String,
    },
    /// Streams came with 5.0.
    #[error("a stream; the target knows none (they came with Redis 5.0)")]
    Stream,
    /// Expiries of hash fields came with Redis 7.4 and Valkey 9.0.
    #[error("a hash whose fields expire; the target cannot do that (it came with Redis 7.4 and Valkey 9.0)")]
    FieldExpiry,
    /// The same, where it was asked for: every field is there, and none expires any more.
    #[error("a hash whose fields expire: as requested, it was written without their expiries")]
    FieldExpiryDropped,
    /// A hash all of whose fields had expired, where fields are written without their expiries.
    #[error("a hash whose fields had all expired")]
    Expired,
    /// Arrays came with Redis 8.8.
    #[error("an array, which the target does not know or takes by RESTORE alone (they came with Redis 8.8)")]
    Array,
    /// Pending entries that are nobody's came with Redis 8.8.
    #[error(
        "a stream with pending entries that were given back (XNACK), which the target cannot hold or takes by RESTORE alone (they came with Redis 8.8)"
    )]
    Nacked,
    /// Function libraries came with 7.0.
    #[error("a library of functions; the target knows none (they came with Redis 7.0)")]
    Function,
    /// Entries added, greatest deleted id and entries read came with 7.0. The entries, groups and pending entries are
    /// the same without them.
    #[error(
        "a stream's counters (entries added, greatest deleted id, entries read by groups), which the target does not \
         keep (they came with Redis 7.0)"
    )]
    StreamCounters,
    /// The table by which Redis 8.6 recognizes messages that were sent twice. It expires by itself.
    #[error(
        "a stream's table of idempotent producers, which the target does not keep (it came with Redis 8.6)"
    )]
    Producers,
    /// One string is longer than the target takes in a command, and it cannot be put together of pieces.
    #[error("an element of {bytes} bytes, more than the target takes in one command (proto-max-bulk-len)")]
    TooLong {
        /// Its length.
        bytes: u64,
    },
    /// Entries that are pending and deleted must be made before the stream's entries, which a large stream is not held
    /// back for.
    #[error("{count} pending entries of deleted entries in a stream of more than {limit} bytes")]
    PendingOfDeleted {
        /// How many.
        count: u64,
        /// How many bytes of a stream are held back.
        limit: u64,
    },
    /// Pending entries that no consumer owns, or that a consumer owns and the group does not know.
    #[error("{count} pending entries whose consumer and group disagree")]
    PendingWithoutOwner {
        /// How many.
        count: u64,
    },
    /// A stream that says of itself what no server would: counters that contradict each other.
    #[error("a stream whose last id or counters contradict its entries")]
    Contradiction,
    /// The value's bytes are damaged.
    #[error("damaged bytes: {0}", problem)]
    Damaged {
        /// What is wrong with them.
        problem: String,
    },
}

impl Inexpressible {
    /// True when every client sees the same value without it: counters and caches that the target's version has not; and
    /// for what was asked to be left out. Such a loss is told, and refused only where somebody asks for that.
    pub fn is_harmless(&self) -> bool {
        matches!(
            self,
            Inexpressible::StreamCounters | Inexpressible::Producers | Inexpressible::FieldExpiryDropped
        )
    }
}
