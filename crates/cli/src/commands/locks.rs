//! Lock flags of the commands that read a live PostgreSQL database.

use std::time::Duration;

use clap::Args;

/// Lock timeout.
#[derive(Debug, Args)]
pub(crate) struct LockArgs {
    /// Seconds to wait for a table that another session has locked; 0 for no limit
    ///
    /// While this command waits for one table it locks no other, so no session has to wait for it. When the time is over,
    /// the error names who holds the lock. A table that is locked by this command can be read by others, but not altered:
    /// if a session waits to alter it, its rows are read next, and then its lock is released. A session that has to wait
    /// longer than this time for that is named in a warning.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, help_heading = "PostgreSQL")]
    lock_wait: u64,
}

impl LockArgs {
    /// The timeout; `None` for no limit.
    pub(super) fn wait(&self) -> Option<Duration> {
        (self.lock_wait > 0).then(|| Duration::from_secs(self.lock_wait))
    }
}
