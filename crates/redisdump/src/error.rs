//! What can go wrong, with the server's own words.

use crate::rdb::{Corrupt, Problem};

/// Redis could not be read, filled or compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL makes no sense.
    #[error("{0}")]
    Options(String),
    /// The server cannot be reached, or does not let us in.
    #[error("cannot connect to {target}: {message}")]
    Connect {
        /// Where to, without secrets.
        target: String,
        /// The server's words, or the system's.
        message: String,
    },
    /// The connection broke.
    #[error("{target}: the connection was lost while {doing}: {source}")]
    Lost {
        /// Which server.
        target: String,
        /// What was going on, and what state that leaves.
        doing: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// The server said no.
    #[error("{target}: {doing}: {message}")]
    Server {
        /// Which server.
        target: String,
        /// What was asked.
        doing: String,
        /// The server's words.
        message: String,
    },
    /// What came is no answer of the Redis protocol.
    #[error("{target} does not speak the Redis protocol: {message}")]
    Protocol {
        /// Which server.
        target: String,
        /// What came.
        message: String,
    },
    /// A safety rule forbids it; nothing was written.
    #[error("{what}; nothing was written:\n  {}", conflicts.join("\n  "))]
    Refused {
        /// What is refused.
        what: String,
        /// Why.
        conflicts: Vec<String>,
    },
    /// A cluster's slots or masters were not the same before and after; what was read is not all of it.
    #[error("{target} changed while its keys were read, and what was read is not used:\n  {}", changes.join("\n  "))]
    ClusterChanged {
        /// Which cluster.
        target: String,
        /// What is not as it was.
        changes: Vec<String>,
    },
    /// The RDB is damaged.
    #[error("{}", shown_corrupt(.0))]
    Corrupt(#[from] Corrupt),
    /// The RDB ended, and the transfer went on, or the other way round.
    #[error("{target}: the transfer and the RDB in it do not end together: {message}")]
    Transfer {
        /// Which server.
        target: String,
        /// How they differ.
        message: String,
    },
    /// A target cannot hold all of an RDB, and it was asked for all.
    #[error(
        "{target} cannot hold all of this RDB; what was put out so far is of no use. Choose a newer target, or leave out what \
         it cannot hold:\n{losses}"
    )]
    Inexpressible {
        /// Which version of which server.
        target: String,
        /// What it cannot hold.
        losses: crate::convert::commands::Losses,
    },
    /// A file of an RDB or AOF cannot be read, or is damaged.
    #[error(transparent)]
    File(#[from] crate::aof::FileError),
    /// The stream that was to be read failed.
    #[error("the stream of the RDB failed: {0}")]
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
    /// An error of the stream that somebody else feeds us.
    pub fn stream(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Stream(source.into())
    }

    /// True when a safety rule forbade it and nothing was written.
    pub fn is_refused(&self) -> bool {
        matches!(self, Error::Refused { .. } | Error::Inexpressible { .. })
    }

    /// True when a cluster changed meanwhile or lost a node: the next attempt may succeed.
    pub fn is_cluster_changed(&self) -> bool {
        matches!(self, Error::ClusterChanged { .. } | Error::Lost { .. } | Error::Connect { .. })
    }

    /// True when a server forbids a command, or does not know it: by an ACL, a renamed command, or a service's rules.
    pub fn is_forbidden(&self) -> bool {
        match self {
            Error::Server { message, .. } => forbids(message),
            _ => false,
        }
    }

    /// True when the command line or the configuration is wrong.
    pub fn is_usage(&self) -> bool {
        matches!(self, Error::Options(_))
    }
}

/// Whether a server's words say that a command is forbidden, or not known.
pub(crate) fn forbids(words: &str) -> bool {
    let lower = words.to_lowercase();
    ["noperm", "unknown command", "not allowed", "not supported", "unsupported", "disabled"]
        .iter()
        .any(|sign| lower.contains(sign))
}
