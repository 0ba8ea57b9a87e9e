//! What a restore tells while it runs.

use std::fmt;
use std::time::Duration;

/// Something that was done to the target.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RestoreEvent {
    /// A statement ran.
    Ran {
        /// What it was about.
        object: String,
        /// How long it took.
        took: Duration,
    },
    /// Something that is not the restored data itself did not work out.
    Warned {
        /// What, with the server's words.
        message: String,
    },
}

impl fmt::Display for RestoreEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestoreEvent::Ran { object, took } => write!(f, "{object} ({:.1}s)", took.as_secs_f64()),
            RestoreEvent::Warned { message } => write!(f, "warning: {message}"),
        }
    }
}
