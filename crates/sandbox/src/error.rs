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
        /// Why, with the end of its output.
        message: String,
    },
    /// The server exited, or did not answer in time; see its log.
    #[error("{server} did not start {place}: {message}\n{log}")]
    Start {
        /// The server.
        server: String,
        /// Where it should have listened.
        place: String,
        /// What was observed.
        message: String,
        /// The end of the server's log.
        log: String,
    },
    /// The nodes of a private cluster did not join.
    #[error("{server} did not form a cluster: {message}")]
    Cluster {
        /// The servers.
        server: String,
        /// The last state of the nodes.
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
    /// An image cannot be pulled.
    #[error("image `{image}` is not on this host and cannot be pulled: {message}")]
    Image {
        /// The image.
        image: String,
        /// Docker's error message.
        message: String,
    },
    /// Docker failed, or is not installed.
    #[error("docker {what}: {message}")]
    Docker {
        /// What was asked of it.
        what: String,
        /// Its own words.
        message: String,
    },
    /// No port of 127.0.0.1 is available.
    #[error("no free port on 127.0.0.1: {source}")]
    Port {
        /// Why.
        source: std::io::Error,
    },
    /// A setting cannot be passed to a server.
    #[error("the setting `{name}` contains a line break or a zero byte")]
    Setting {
        /// The setting's name.
        name: String,
    },
    /// PostgreSQL refuses to run as root, and there is no other user for it.
    #[error("PostgreSQL refuses to run as root, and neither `postgres` nor `nobody` is in /etc/passwd")]
    NoUser,
}
