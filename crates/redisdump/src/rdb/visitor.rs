//! What a reader tells of an RDB.

use super::value::{Dialect, Elements, ValueType};

/// A key, before its value.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    /// The database's number.
    pub db: u64,
    /// The name.
    pub name: &'a [u8],
    /// When it expires, in milliseconds since the epoch.
    pub expiry: Option<i64>,
    /// Seconds since it was last used, where the server keeps that.
    pub idle: Option<u64>,
    /// How often it is used, as a logarithmic counter, where the server keeps that.
    pub frequency: Option<u8>,
    /// The type of its value.
    pub value_type: ValueType,
    /// Raw metadata of modules (opcode and all) which stands before the type byte, here as in a `DUMP` payload; mostly
    /// empty.
    pub metadata: &'a [u8],
}

/// Is told what an RDB holds.
///
/// For each key: [`Visitor::key`], then [`Visitor::raw`] and the element calls in turn as the value passes, then
/// [`Visitor::key_end`].
#[allow(unused_variables, reason = "the default bodies ignore what they are given")]
pub trait Visitor: Elements {
    /// The version at the front.
    fn header(&mut self, dialect: Dialect, version: u16) {}
    /// A pair of information at the front.
    fn aux(&mut self, name: &[u8], value: &[u8]) {}
    /// A library of functions: its code.
    fn function(&mut self, code: &[u8]) {}
    /// Data of a module that belongs to no key; its type's name.
    fn module_aux(&mut self, module: &str) {}
    /// A key begins.
    fn key(&mut self, key: &Key<'_>) {}
    /// The next raw bytes of the key's value.
    fn raw(&mut self, bytes: &[u8]) {}
    /// The key's value is complete.
    fn key_end(&mut self) {}
}

/// What the checksum at the end said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checksum {
    /// It fits.
    Verified,
    /// The server had `rdbchecksum no`.
    Disabled,
    /// Versions 1 to 4 have none.
    Absent,
}
