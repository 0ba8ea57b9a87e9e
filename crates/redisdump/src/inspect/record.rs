//! A key in lists.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::names::base64;
use crate::rdb::Kind;

/// A key with its properties except the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// The number of the database.
    pub db: u64,
    /// The name.
    pub name: Vec<u8>,
    /// The type of its value.
    pub kind: Kind,
    /// The encoding in the file.
    pub encoding: &'static str,
    /// Items, members, fields or entries; 1 for a string, 0 for a module's value.
    pub elements: u64,
    /// Bytes of its name and value in the file.
    pub bytes: u64,
    /// Its expiry, in milliseconds since the epoch.
    pub expiry_ms: Option<i64>,
}

impl Serialize for KeyRecord {
    /// `key` is text; a name that is not UTF-8 is in `key-base64` instead.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("db", &self.db)?;
        match std::str::from_utf8(&self.name) {
            Ok(text) => map.serialize_entry("key", text)?,
            Err(_) => map.serialize_entry("key-base64", &base64(&self.name))?,
        }
        map.serialize_entry("type", self.kind.as_str())?;
        map.serialize_entry("encoding", self.encoding)?;
        map.serialize_entry("elements", &self.elements)?;
        map.serialize_entry("bytes", &self.bytes)?;
        map.serialize_entry("expiry-ms", &self.expiry_ms)?;
        map.end()
    }
}
