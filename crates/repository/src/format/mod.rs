//! What is stored: chunks and their names, documents and their checksums, manifests. No I/O and no keys.

pub(crate) mod chunk;
pub(crate) mod document;
pub(crate) mod manifest;
