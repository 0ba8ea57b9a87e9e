//! Flags of every command that reads a live PostgreSQL database.

use std::time::Duration;

use clap::Args;

/// How long to wait for locks.
#[derive(Debug, Args)]
pub(crate) struct LockArgs {
    /// Seconds to wait for a table that another session locks; 0 for no limit
    ///
    /// Nothing else is locked meanwhile, so that nobody queues behind this command. When the time is over, the error names
    /// who holds the lock.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, help_heading = "PostgreSQL")]
    lock_wait: u64,
}

impl LockArgs {
    /// The limit, where there is one.
    pub(super) fn wait(&self) -> Option<Duration> {
        (self.lock_wait > 0).then(|| Duration::from_secs(self.lock_wait))
    }
}
