//! Whether two sides hold the same keys: canonical digests of values, and comparisons based on them.

pub(crate) mod canonical;
pub mod digest;
pub(crate) mod digest_log;
pub(crate) mod expiry_count;
pub(crate) mod field_ttl;
pub(crate) mod outcome;
pub(crate) mod prove;
pub(crate) mod reach;
pub(crate) mod report;
pub(crate) mod servers;
