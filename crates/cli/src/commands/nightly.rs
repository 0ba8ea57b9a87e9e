//! `dbhaul nightly`

use clap::Args;

use crate::commands::job;
use crate::commands::locks::LockArgs;
use crate::commands::sources;
use crate::config::units::Span;
use crate::context::Context;
use crate::exit::Exit;
use crate::jobs::nightly::{self, Nightly, Step};

const EXAMPLES: &str = "\
Examples:
  dbhaul nightly
      Back up every source, apply retention, check a portion of the repository, send notices
  dbhaul nightly --rehearse
      Rehearse the newest snapshot and send notices: for a weekly schedule";

/// Back up everything as a schedule does: with a lock, retention, a sample check, notices and metrics
///
/// Takes one snapshot of every source in dbhaul.toml, compares it with the one before it, applies retention if every
/// source was backed up, and reads and verifies a portion of the repository. Then it writes metrics and sends the
/// notices that `[[notify]]` configures. Only one run of a job is active on a host at a time; another one ends at once
/// with exit code 5.
///
/// A snapshot is suspicious if a table or a Redis database shrank by more than `alert-shrink`, if nothing was read, or if
/// the schema does not meet its baseline. It is kept, the snapshot before it is pinned, and the exit code is 3.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct NightlyArgs {
    /// Rehearse the newest snapshot instead of taking one
    ///
    /// The exit code is 3 if the rehearsal fails and 4 if this host cannot rehearse some of the sources.
    #[arg(long)]
    rehearse: bool,
    /// How long to wait while another run of the job is active, such as 2h [default: do not wait]
    #[arg(long, value_name = "DURATION")]
    wait: Option<Span>,
    #[command(flatten)]
    locks: LockArgs,
    /// Number of connections that copy at the same time, per source
    #[arg(long, short, value_name = "N")]
    jobs: Option<usize>,
}

pub(super) async fn run(args: NightlyArgs, context: &Context) -> anyhow::Result<Exit> {
    context.require_named_config()?;
    let step = if args.rehearse { Step::Rehearse } else { Step::Backup };
    let sources = match step {
        Step::Backup => sources::chosen(&[], None, None, context),
        Step::Rehearse => Ok(Vec::new()),
    };
    let (report, error) = nightly::run(Nightly {
        context,
        step,
        sources,
        declared: context.config.sources.iter().map(job::configured_source).collect(),
        series: job::series(None, context),
        lock_wait: args.locks.wait(),
        jobs: context.jobs(args.jobs),
        wait: args.wait.and_then(|span| span.0.to_std().ok()).unwrap_or_default(),
    })
    .await?;
    if let Some(error) = error {
        return Err(error);
    }
    let exit = report.exit(None);
    context.conclude(exit, &report, || report.render(context.zone()))
}
