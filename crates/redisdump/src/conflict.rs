//! Why an operation is refused, and what can be done about it.

use std::fmt;

use serde::Serialize;

/// One reason for a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Conflict {
    /// The reason, as a sentence that names the object.
    #[serde(rename = "message")]
    pub reason: String,
    /// What resolves it, if an option of this crate does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
}

/// Options of this crate that resolve a conflict. A caller words them, with its own names for these options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[non_exhaustive]
pub enum Remedy {
    /// [`RestoreOptions::on_existing`](crate::RestoreOptions) decides what happens to existing keys, or
    /// [`RestoreOptions::flush`](crate::RestoreOptions) empties the server first.
    HandleExisting {
        /// The address of the server.
        server: String,
    },
    /// [`RestoreOptions::flush`](crate::RestoreOptions) empties the server first.
    Flush {
        /// The address of the server.
        server: String,
    },
    /// [`KeyChoice::databases`](crate::KeyChoice) gives the keys of a database of the source another one.
    ChangeDatabase {
        /// The database of the source.
        from: u64,
    },
    /// [`RestoreOptions::skip_unsupported`](crate::RestoreOptions), or the corresponding option of an export, omits what
    /// the target does not support.
    SkipUnsupported,
}

impl Conflict {
    /// A conflict with a remedy.
    pub(crate) fn with_remedy(reason: impl Into<String>, remedy: Remedy) -> Conflict {
        Conflict { reason: reason.into(), remedy: Some(remedy) }
    }
}

impl From<String> for Conflict {
    fn from(reason: String) -> Conflict {
        Conflict { reason, remedy: None }
    }
}

impl From<&str> for Conflict {
    fn from(reason: &str) -> Conflict {
        reason.to_owned().into()
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// The reasons, separated.
pub(crate) fn joined(conflicts: &[Conflict], separator: &str) -> String {
    let reasons: Vec<&str> = conflicts.iter().map(|conflict| conflict.reason.as_str()).collect();
    reasons.join(separator)
}
