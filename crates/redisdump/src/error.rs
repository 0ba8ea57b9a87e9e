//! Errors, with the server's own words.

use crate::conflict::{Conflict, Remedy, joined};
use crate::rdb::{Corrupt, Problem};

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection options are invalid.
    #[error("{0}")]
    Options(String),
    /// The server is unreachable or rejects the connection.
    #[error("cannot connect to {target}: {message}")]
    Connect {
        /// The address, without secrets.
        target: String,
        /// The server's or the system's message.
        message: String,
    },
    /// The connection was lost.
    #[error("{target}: the connection was lost while {operation}: {source}")]
    Lost {
        /// The server.
        target: String,
        /// The operation, and the state that it leaves.
        operation: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The server returned an error.
    #[error("{target}: {operation}: {message}")]
    Server {
        /// The server.
        target: String,
        /// The command.
        operation: String,
        /// The server's message.
        message: String,
    },
    /// The reply is not valid RESP.
    #[error("{target} does not speak the Redis protocol: {message}")]
    Protocol {
        /// The server.
        target: String,
        /// What was received.
        message: String,
    },
    /// A safety rule forbids the operation; nothing was written.
    #[error("{what}; nothing was written:\n  {}", joined(conflicts, "\n  "))]
    Refused {
        /// What was refused.
        what: String,
        /// The reasons.
        conflicts: Vec<Conflict>,
    },
    /// The slots or masters of a cluster changed during a read, so that the result is incomplete.
    #[error("{target} changed while its keys were read; the result is not used:\n  {}", changes.join("\n  "))]
    ClusterChanged {
        /// The cluster.
        target: String,
        /// The changes.
        changes: Vec<String>,
    },
    /// The RDB is damaged.
    #[error("{}", shown_corrupt(.0))]
    Corrupt(#[from] Corrupt),
    /// The RDB and the transfer that contains it end at different positions.
    #[error("{target}: the transfer and the RDB in it end at different positions: {message}")]
    Transfer {
        /// The server.
        target: String,
        /// The difference.
        message: String,
    },
    /// A target does not support part of an RDB.
    #[error(
        "{target} does not support all of this RDB; the output written so far is incomplete. Choose a newer target, or leave \
         out what it does not support:\n{unsupported}"
    )]
    Unsupported {
        /// The target's flavor and version.
        target: String,
        /// What it does not support.
        unsupported: crate::convert::commands::UnsupportedValues,
    },
    /// A file of an RDB or AOF cannot be read, or is damaged.
    #[error(transparent)]
    File(#[from] crate::aof::FileError),
    /// The input stream failed.
    #[error("the RDB stream failed: {0}")]
    Stream(Box<dyn std::error::Error + Send + Sync>),
}

/// A version that is too new is not damage.
fn shown_corrupt(corrupt: &Corrupt) -> String {
    match &corrupt.problem {
        problem @ Problem::Version { .. } => format!("the RDB cannot be read: {problem}"),
        _ => format!("the RDB is damaged at {corrupt}"),
    }
}

impl Error {
    /// Wraps an error of the input stream.
    pub fn stream(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Stream(source.into())
    }

    /// True when a safety rule forbade the operation; nothing was written.
    pub fn is_refused(&self) -> bool {
        matches!(self, Error::Refused { .. } | Error::Unsupported { .. })
    }

    /// The options that resolve the conflicts of a refusal.
    pub fn remedies(&self) -> Vec<&Remedy> {
        match self {
            Error::Refused { conflicts, .. } => {
                conflicts.iter().filter_map(|conflict| conflict.remedy.as_ref()).collect()
            }
            Error::Unsupported { .. } => vec![&Remedy::SkipUnsupported],
            _ => Vec::new(),
        }
    }

    /// The reasons of a refusal.
    pub fn conflicts(&self) -> &[Conflict] {
        match self {
            Error::Refused { conflicts, .. } => conflicts,
            _ => &[],
        }
    }

    /// True when a cluster changed or lost a node during the operation; a retry may succeed.
    pub fn is_cluster_changed(&self) -> bool {
        matches!(self, Error::ClusterChanged { .. } | Error::Lost { .. } | Error::Connect { .. })
    }

    /// True when a server does not allow or know a command, because of an ACL, a renamed command or a service's rules.
    pub fn is_forbidden(&self) -> bool {
        match self {
            Error::Server { message, .. } => forbids(message),
            _ => false,
        }
    }

    /// True when the connection options are invalid.
    pub fn is_usage(&self) -> bool {
        matches!(self, Error::Options(_))
    }
}

/// Whether an error reply says that a command is forbidden or unknown.
pub(crate) fn forbids(words: &str) -> bool {
    let lower = words.to_lowercase();
    ["noperm", "unknown command", "not allowed", "not supported", "unsupported", "disabled"]
        .iter()
        .any(|sign| lower.contains(sign))
}
