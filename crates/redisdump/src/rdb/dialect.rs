//! The two numberings of RDB types and opcodes.

/// The fork whose numbering of types and opcodes applies; they conflict above RDB 11.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// `REDISnnnn`, and `DUMP` payloads up to version 79.
    Redis,
    /// `VALKEYnnn`, and `DUMP` payloads from version 80.
    Valkey,
}
