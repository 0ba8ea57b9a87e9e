//! Exit codes, and the mapping from errors to them.
//!
//! Commands and jobs return `anyhow::Error` with typed errors inside; [`code_of`] looks for the type that decides.

use std::fmt;
use std::process::ExitCode;

use crate::ui::stdout;

/// Outcome of a command. The numbers are part of the interface: scripts and alerts depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything requested was done.
    Done,
    /// It failed.
    Failed,
    /// The command line or the configuration is wrong.
    Usage,
    /// A check found differences.
    Differs,
    /// Some of the sources failed, the others are done.
    Partial,
    /// Refused by a safety rule; nothing was changed.
    Refused,
    /// Interrupted by a signal.
    Interrupted,
}

impl Exit {
    /// The process's exit status.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Differs => 3,
            Exit::Partial => 4,
            Exit::Refused => 5,
            Exit::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// An error with an exit code of its own, for errors of the binary itself.
#[derive(Debug)]
pub(crate) struct ExitError {
    exit: Exit,
    message: String,
}

impl fmt::Display for ExitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ExitError {}

/// The command line or the configuration is wrong.
pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(ExitError { exit: Exit::Usage, message: message.into() })
}

/// Refused by a safety rule.
pub(crate) fn refused(message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(ExitError { exit: Exit::Refused, message: message.into() })
}

/// Interrupted by Ctrl-C or SIGTERM; the message describes the state left behind.
pub(crate) fn interrupted(message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(ExitError { exit: Exit::Interrupted, message: message.into() })
}

/// The exit code of an error: the first cause in the chain that has one.
pub(crate) fn code_of(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if let Some(ended) = cause.downcast_ref::<ExitError>() {
            return ended.exit;
        }
        if cause.downcast_ref::<crate::config::ConfigError>().is_some() {
            return Exit::Usage;
        }
        let postgres = cause.downcast_ref::<pgmove::Error>().map(|e| (e.is_refused(), e.is_usage()));
        let redis = cause.downcast_ref::<redisdump::Error>().map(|e| (e.is_refused(), e.is_usage()));
        match postgres.or(redis) {
            Some((true, _)) => return Exit::Refused,
            Some((_, true)) => return Exit::Usage,
            Some(_) => return Exit::Failed,
            None => {}
        }
        if let Some(error) = cause.downcast_ref::<repository::Error>() {
            return match error {
                repository::Error::Url { .. } => Exit::Usage,
                error if error.is_locked() => Exit::Usage,
                error if error.is_refused() => Exit::Refused,
                _ => Exit::Failed,
            };
        }
    }
    Exit::Failed
}

/// Whether the error only says that standard output was closed. A database connection closed by the peer gives the
/// same `BrokenPipe` error, and is a failure.
pub(crate) fn is_closed_stdout(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(stdout::is_closed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn context_does_not_hide_the_code() {
        let error = Err::<(), _>(refused("target is not empty")).context("cannot restore").unwrap_err();
        assert_eq!(code_of(&error), Exit::Refused);
        assert_eq!(code_of(&anyhow::anyhow!("plain")), Exit::Failed);
        assert_eq!(code_of(&usage("no")), Exit::Usage);
        assert_eq!(Exit::Interrupted.code(), 130);
    }

    #[test]
    fn a_peer_that_hangs_up_is_not_a_closed_standard_output() {
        let pipe = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert!(!is_closed_stdout(&anyhow::Error::new(pipe()).context("cannot send")));
        let lost = redisdump::Error::Lost {
            target: "redis://h:1".to_owned(),
            operation: "restoring keys".to_owned(),
            source: pipe(),
        };
        let lost = anyhow::Error::new(lost).context("the restore failed");
        assert!(!is_closed_stdout(&lost) && code_of(&lost) == Exit::Failed);
        assert!(!is_closed_stdout(&anyhow::anyhow!("other")));
    }
}
