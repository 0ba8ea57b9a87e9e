//! Errors of tunnels.

use std::io;

/// An error of a tunnel. Messages never contain secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL is invalid.
    #[error("invalid URL: {0}")]
    Url(String),

    /// A program cannot be started.
    #[error("cannot run `{program}`")]
    Program {
        /// Name of the program.
        program: String,
        /// Error of the system.
        #[source]
        source: io::Error,
    },

    /// A program failed. `words` is its output.
    #[error("{what}: {words}")]
    Failed {
        /// The command, such as ``kubectl get secret `db` ``.
        what: String,
        /// Output of the program.
        words: String,
    },

    /// A program did not answer in time.
    #[error("{what}: no answer within {seconds} s")]
    TimedOut {
        /// The command.
        what: String,
        /// The timeout.
        seconds: u64,
    },

    /// Unexpected output of a program.
    #[error("{what}: unexpected output: {message}")]
    Output {
        /// The command.
        what: String,
        /// What is unexpected.
        message: String,
    },

    /// A pod or a container is not running.
    #[error("{object} is not running: {state}")]
    NotRunning {
        /// The pod or container.
        object: String,
        /// Its state, and the reason if known.
        state: String,
    },

    /// No pod belongs to a service, a StatefulSet or a deployment.
    #[error("{object}: {message}")]
    NoPod {
        /// The service, StatefulSet or deployment.
        object: String,
        /// What was searched for.
        message: String,
    },

    /// A port that a service does not have.
    #[error("{object} has no port {wanted}; it has {has}")]
    Port {
        /// The service.
        object: String,
        /// The requested port.
        wanted: u16,
        /// The existing ports.
        has: String,
    },

    /// A key that a secret does not have.
    #[error("secret `{secret}` has no key `{key}`; it has {keys}")]
    MissingKey {
        /// The secret.
        secret: String,
        /// The requested key.
        key: String,
        /// The existing keys.
        keys: String,
    },

    /// A variable that a container's environment does not have.
    #[error("the environment of container `{container}` has no `{name}`; it has {names}")]
    MissingVariable {
        /// The container.
        container: String,
        /// The requested variable.
        name: String,
        /// The existing variables, without their values.
        names: String,
    },

    /// The pod or container with this name is not the one that it was at the start.
    #[error("{object} was replaced while it was in use: it was {before}, and is {now}")]
    Replaced {
        /// The pod or container.
        object: String,
        /// The former UID or id.
        before: String,
        /// The current one.
        now: String,
    },

    /// No route to a container works.
    #[error("no connection to port {port} of container `{container}`: {tried}")]
    NoRoute {
        /// The container.
        container: String,
        /// The port.
        port: u16,
        /// What was tried, with the error of each attempt.
        tried: String,
    },

    /// A system call failed.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Error of the system.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Whether the URL must be corrected.
    pub fn is_usage(&self) -> bool {
        matches!(self, Error::Url(_))
    }

    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Error {
        Error::Io { what: what.into(), source }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        match error {
            Error::Io { source, what } => io::Error::new(source.kind(), format!("{what}: {source}")),
            Error::Program { source, program } => {
                io::Error::new(source.kind(), format!("cannot run `{program}`: {source}"))
            }
            Error::TimedOut { .. } => io::Error::new(io::ErrorKind::TimedOut, error.to_string()),
            Error::Failed { .. } | Error::NoRoute { .. } | Error::NotRunning { .. } => {
                io::Error::new(io::ErrorKind::ConnectionRefused, error.to_string())
            }
            other => io::Error::other(other.to_string()),
        }
    }
}
