//! Flags of the commands that copy a live PostgreSQL database.

use clap::Args;

use crate::commands::locks::LockArgs;
use crate::context::Context;
use crate::jobs::postgres::source::ReadOptions;

/// How a source is read.
#[derive(Debug, Args)]
pub(crate) struct ReadingArgs {
    #[command(flatten)]
    locks: LockArgs,
    /// Maximum average rate at which rows are read, such as 50MiB/s [default: unlimited]
    ///
    /// For a source that serves traffic. All connections of the run share the rate. It counts rows of PostgreSQL as they
    /// leave the server, before compression; Redis sources are not slowed down, since a server buffers what a slow replica
    /// does not read.
    #[arg(long, value_name = "RATE", help_heading = "PostgreSQL")]
    rate_limit: Option<repository::Rate>,
}

impl ReadingArgs {
    /// The flags, with the configuration as default.
    pub(super) fn reading(&self, context: &Context) -> ReadOptions {
        ReadOptions { lock_wait: self.locks.wait(), rate: self.rate_limit.or(context.config.job.rate_limit) }
    }
}
