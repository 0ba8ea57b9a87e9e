//! Errors of private servers.

use std::path::PathBuf;

/// A private server could not be found, started or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No program of the requested kind and version is installed.
    #[error("{wanted} not found on this host; searched {}", looked.join(", "))]
    NotFound {
        /// What was requested, such as "PostgreSQL 15".
        wanted: String,
        /// Where it was searched.
        looked: Vec<String>,
    },
    /// A program could not be run, or failed.
    #[error("{program} failed: {message}")]
    Program {
        /// The program's path.
        program: PathBuf,
        /// Why, with the end of its own output.
        message: String,
    },
    /// The server ended, or did not answer in time; its own log tells why.
    #[error("{server} did not start {place}: {message}\n{log}")]
    Start {
        /// Which server.
        server: String,
        /// Where it should have listened.
        place: String,
        /// What was seen from outside.
        message: String,
        /// The end of the server's log.
        log: String,
    },
    /// The nodes of a private cluster did not join.
    #[error("{server} did not form a cluster: {message}")]
    Cluster {
        /// Which servers.
        server: String,
        /// What the nodes said last.
        message: String,
    },
    /// The temporary folder could not be prepared.
    #[error("cannot prepare {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No port of 127.0.0.1 is available.
    #[error("no free port on 127.0.0.1: {source}")]
    Port {
        /// Why.
        source: std::io::Error,
    },
    /// A setting cannot be given to a server.
    #[error("the setting `{name}` holds a line break or a zero byte")]
    Setting {
        /// The setting's name.
        name: String,
    },
    /// PostgreSQL refuses to run as root, and there is no other user to run it as.
    #[error("PostgreSQL refuses to run as root, and neither `postgres` nor `nobody` is in /etc/passwd")]
    NoUser,
}
