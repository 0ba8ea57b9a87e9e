//! `dbhaul prune`

use chrono::Utc;
use clap::Args;
use repository::PruneOptions;

use crate::context::Context;
use crate::exit::Exit;

const EXAMPLES: &str = "\
Examples:
  dbhaul prune --dry-run
      Show how much space pruning would free
  dbhaul prune
      Delete unreferenced data whose grace period is over
  dbhaul prune --now
      Free a full disk at once, while nothing else writes to the repository";

/// Delete data that no snapshot references
///
/// Safe to run during backups, without locks: unreferenced data is marked, and deleted by a later run once its
/// grace period (72 hours by default) is over and still nothing references it. `forget` and `backup` prune too.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct PruneArgs {
    /// Show what would be deleted and how much space that frees, and delete nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not wait for the grace period
    ///
    /// Deletes at once what no listed snapshot references, including the data of forgotten snapshots, which can then no
    /// longer be restored by `undelete`, and of interrupted backups. Works on a full disk. Refused while a backup, copy
    /// or undelete is running.
    #[arg(long)]
    now: bool,
}

pub(super) async fn run(args: PruneArgs, context: &Context) -> anyhow::Result<Exit> {
    let repository = context.open_repository().await?;
    let options = PruneOptions { dry_run: args.dry_run, now: Utc::now() };
    let report = match args.now {
        true => repository.prune_now(&options).await?,
        false => repository.prune(&options).await?,
    };
    if args.dry_run {
        context.print(&report, || report.to_string())?;
        return Ok(Exit::Done);
    }
    let exit = if report.is_done() { Exit::Done } else { Exit::Failed };
    context.conclude(exit, &report, || report.to_string())
}
