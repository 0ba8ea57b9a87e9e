//! Objects that would be lost.

use serde::{Deserialize, Serialize};

/// An unsupported object, or a number of them, which would be lost.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Unsupported {
    /// The kind of object.
    pub kind: String,
    /// Its name, or a list of names.
    pub name: String,
    /// Why it is not supported.
    pub why: String,
}

impl std::fmt::Display for Unsupported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.kind, self.name, self.why)
    }
}
