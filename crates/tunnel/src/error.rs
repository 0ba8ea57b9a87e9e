//! What can go wrong on the way to a server.

use std::io;

/// An error of a tunnel. No text of it holds a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL is not understood.
    #[error("invalid URL: {0}")]
    Url(String),

    /// A program cannot be started.
    #[error("cannot run `{program}`")]
    Program {
        /// Its name.
        program: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },

    /// A program failed. `words` is what it printed.
    #[error("{what}: {words}")]
    Failed {
        /// What was run, such as ``kubectl get secret `db` ``.
        what: String,
        /// The program's own words.
        words: String,
    },

    /// A program did not answer in time.
    #[error("{what}: no answer within {seconds} s")]
    TimedOut {
        /// What was run.
        what: String,
        /// How long it was waited for.
        seconds: u64,
    },

    /// A program printed what cannot be understood.
    #[error("{what}: unexpected output: {message}")]
    Output {
        /// What was run.
        what: String,
        /// What is odd about it.
        message: String,
    },

    /// A pod or a container that does not run.
    #[error("{object} is not running: {state}")]
    NotRunning {
        /// Which one.
        object: String,
        /// In which state it is, and why, as far as it is known.
        state: String,
    },

    /// No pod belongs to a service, a StatefulSet or a deployment.
    #[error("{object}: {message}")]
    NoPod {
        /// The service, StatefulSet or deployment.
        object: String,
        /// What was looked for.
        message: String,
    },

    /// A port that a service does not have.
    #[error("{object} has no port {wanted}; it has {has}")]
    Port {
        /// The service.
        object: String,
        /// The port that was asked for.
        wanted: u16,
        /// The ports that there are.
        has: String,
    },

    /// A key that a secret does not have.
    #[error("secret `{secret}` has no key `{key}`; it has {keys}")]
    MissingKey {
        /// The secret.
        secret: String,
        /// The key that was asked for.
        key: String,
        /// The keys that there are.
        keys: String,
    },

    /// A variable that a container's environment does not have.
    #[error("the environment of container `{container}` has no `{name}`; it has {names}")]
    MissingVariable {
        /// The container.
        container: String,
        /// The variable that was asked for.
        name: String,
        /// The variables that there are, without their values.
        names: String,
    },

    /// The pod or the container of this name is another one than at the start.
    #[error("{object} was replaced while it was in use: it was {before}, and is {now}")]
    Replaced {
        /// Which one.
        object: String,
        /// What it was: a UID or an id.
        before: String,
        /// What it is.
        now: String,
    },

    /// No way leads into a container.
    #[error("no connection to port {port} of container `{container}`: {tried}")]
    NoRoute {
        /// The container.
        container: String,
        /// The port.
        port: u16,
        /// What was tried, with the words of each failure.
        tried: String,
    },

    /// The system refuses something that is needed here.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// True when the URL is to be corrected.
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
