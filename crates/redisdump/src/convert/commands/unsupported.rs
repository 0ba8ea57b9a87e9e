//! Features of values that a target does not support.

use serde::{Deserialize, Serialize};

/// Part of a value that the target does not support.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
#[non_exhaustive]
pub enum Unsupported {
    /// A module's value, which only that module can read.
    #[error("a value of module type {module}, which only that module can read")]
    Module {
        /// The name of the module's type.
        module: String,
    },
    /// Module data that does not belong to a key.
    #[error("data of module {module} without a key, which only that module can read")]
    ModuleData {
        /// The name of the module's type.
        module: String,
    },
    /// A stream (5.0).
    #[error("a stream, which requires Redis 5.0")]
    Stream,
    /// A hash with field TTLs (Redis 7.4, Valkey 9.0).
    #[error("a hash with field TTLs, which require Redis 7.4 or Valkey 9.0")]
    FieldExpiry,
    /// The same, if requested: all fields are kept, but no longer expire.
    #[error("a hash whose fields expire: written without their expiries, as requested")]
    FieldExpiryDropped,
    /// A hash all of whose fields had expired, if fields are written without their expiries.
    #[error("a hash whose fields had all expired")]
    Expired,
    /// An array (Redis 8.8).
    #[error(
        "an array, which the target does not support, or accepts only by RESTORE (introduced in Redis 8.8)"
    )]
    Array,
    /// Pending entries without a consumer (Redis 8.8).
    #[error("a stream with pending entries without a consumer (XNACK), which requires Redis 8.8 or RESTORE")]
    Nacked,
    /// A function library (7.0).
    #[error("a function library, which requires Redis 7.0")]
    Function,
    /// The counters entries-added, max-deleted-entry-id and entries-read (7.0). Entries, groups and pending entries are
    /// the same without them.
    #[error(
        "a stream's counters (entries added, greatest deleted id, entries read by groups), which the target does not \
         store (introduced in Redis 7.0)"
    )]
    StreamCounters,
    /// The table by which Redis 8.6 recognizes duplicate messages. It expires by itself.
    #[error(
        "a stream's table of idempotent producers, which the target does not store (introduced in Redis 8.6)"
    )]
    Producers,
    /// A string that exceeds the target's limit for one argument and cannot be split.
    #[error("an element of {bytes} bytes, which exceeds the target's proto-max-bulk-len")]
    TooLong {
        /// Its length in bytes.
        bytes: u64,
    },
    /// Pending entries of deleted entries must be created before the stream's entries, but a large stream is not
    /// buffered for that.
    #[error("{count} pending entries of deleted entries in a stream of more than {limit} bytes")]
    PendingOfDeleted {
        /// Number of pending entries.
        count: u64,
        /// The maximum number of buffered bytes of a stream.
        limit: u64,
    },
    /// Pending entries without a consumer, or that a consumer has but its group does not.
    #[error("{count} pending entries whose consumer and group disagree")]
    PendingWithoutOwner {
        /// Number of pending entries.
        count: u64,
    },
    /// A stream with contradictory counters, which no server creates.
    #[error("a stream whose last id or counters contradict its entries")]
    Contradiction,
    /// Damaged bytes.
    #[error("damaged bytes: {0}", problem)]
    Damaged {
        /// What is wrong with them.
        problem: String,
    },
}

impl Unsupported {
    /// True if clients see the same value without it: counters and caches that the target's version lacks, and what
    /// was left out on request. Such a loss is reported, and refused only on request.
    pub fn is_harmless(&self) -> bool {
        matches!(self, Unsupported::StreamCounters | Unsupported::Producers | Unsupported::FieldExpiryDropped)
    }
}
