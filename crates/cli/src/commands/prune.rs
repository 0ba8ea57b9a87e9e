//! `dbhaul prune`

use chrono::Utc;
use clap::Args;
use repository::PruneOptions;

use crate::context::Context;
use crate::exit::Exit;

/// Frees the space of what no snapshot needs any more.
///
/// Works beside running backups, and without locks: what nothing needs is marked, and deleted by a later run once the
/// grace period (72 hours) is over and still nothing needs it. `forget` and `backup` do this by themselves.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Only say what would happen, and how much it would free
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: PruneArgs, context: &Context) -> anyhow::Result<Exit> {
    let repository = context.open_repository().await?;
    context.progress.stage("looking for what nothing needs", None);
    let report = repository.prune(&PruneOptions { dry_run: args.dry_run, now: Utc::now() }).await?;
    context.print(&report, || report.to_string())?;
    Ok(Exit::Done)
}
