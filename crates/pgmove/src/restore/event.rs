//! Events during a restore.

use std::fmt;
use std::time::Duration;

use crate::warning::Warning;

/// A change of the target.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RestoreEvent {
    /// A statement ran.
    Ran {
        /// The object of the statement.
        object: String,
        /// Duration.
        took: Duration,
    },
    /// Something other than the restored data itself failed.
    Warned {
        /// The problem, with the server's error.
        warning: Warning,
    },
}

impl fmt::Display for RestoreEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestoreEvent::Ran { object, took } => write!(f, "{object} ({:.1}s)", took.as_secs_f64()),
            RestoreEvent::Warned { warning } => write!(f, "warning: {warning}"),
        }
    }
}
