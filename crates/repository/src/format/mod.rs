//! Stored formats: chunks and their names, documents and their checksums, manifests. No I/O and no keys.

pub(crate) mod chunk;
pub(crate) mod document;
pub(crate) mod manifest;
pub(crate) mod unreadable;

/// The format version that is written and read.
pub const FORMAT: u64 = 1;
