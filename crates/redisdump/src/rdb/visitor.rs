//! The visitor of an RDB reader.

use super::value::{Dialect, Elements, ValueType};

/// A key, before its value.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    /// The number of the database.
    pub db: u64,
    /// The name.
    pub name: &'a [u8],
    /// Its expiry, in milliseconds since the epoch.
    pub expiry: Option<i64>,
    /// Seconds since its last use (LRU), if stored.
    pub idle: Option<u64>,
    /// Logarithmic access counter (LFU), if stored.
    pub frequency: Option<u8>,
    /// The type of its value.
    pub value_type: ValueType,
    /// Raw module metadata (including the opcode) that precedes the type byte here and in a `DUMP` payload; usually
    /// empty.
    pub metadata: &'a [u8],
}

/// Receives the contents of an RDB.
///
/// For each key: [`Visitor::key`], then [`Visitor::raw`] and element calls as the value passes, then
/// [`Visitor::key_end`].
#[allow(unused_variables, reason = "the default bodies ignore what they are given")]
pub trait Visitor: Elements {
    /// The version at the front.
    fn header(&mut self, dialect: Dialect, version: u16) {}
    /// An auxiliary field at the front.
    fn aux(&mut self, name: &[u8], value: &[u8]) {}
    /// The code of a function library.
    fn function(&mut self, code: &[u8]) {}
    /// Module data that does not belong to a key: the name of its type.
    fn module_aux(&mut self, module: &str) {}
    /// A key begins.
    fn key(&mut self, key: &Key<'_>) {}
    /// The next raw bytes of the key's value.
    fn raw(&mut self, bytes: &[u8]) {}
    /// The key's value is complete.
    fn key_end(&mut self) {}
}

/// The result of the checksum at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checksum {
    /// It matches.
    Verified,
    /// Not computed: the server had `rdbchecksum no`.
    Disabled,
    /// Versions 1 to 4 have none.
    Absent,
}
