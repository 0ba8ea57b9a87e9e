//! Keys, and what encryption changes: how chunks are named, how they and manifests are encrypted, how documents are
//! signed.

pub(crate) mod crypt;
pub(crate) mod envelope;
pub(crate) mod keys;
pub(crate) mod recipient_sets;
pub(crate) mod sealed_manifest;
