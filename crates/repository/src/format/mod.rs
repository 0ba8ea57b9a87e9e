//! What is stored: chunks and their names, documents and their checksums, manifests. No I/O and no keys.

pub(crate) mod chunk;
pub(crate) mod document;
pub(crate) mod manifest;
pub(crate) mod unreadable;

/// The version of the format that is written and read.
pub const FORMAT: u64 = 1;
