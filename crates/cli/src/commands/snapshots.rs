//! `dbhaul snapshots`

use clap::Args;

use crate::context::Context;
use crate::exit::Exit;
use crate::jobs::snapshots;

const EXAMPLES: &str = "\
Examples:
  dbhaul snapshots
      List all snapshots, oldest first
  dbhaul snapshots --job nightly --json
      List the snapshots of one job as JSON";

/// List snapshots: time, sources, size, and the newest check and rehearsal
///
/// A manifest that cannot be read is reported, and makes the exit code 3; the other snapshots are still listed.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct SnapshotsArgs {
    /// List only the snapshots of this job
    #[arg(long, value_name = "ID")]
    job: Option<String>,
}

pub(super) async fn run(args: SnapshotsArgs, context: &Context) -> anyhow::Result<Exit> {
    let repository = context.open_repository().await?;
    let report = snapshots::run(&repository, args.job.as_deref(), context.config.retention.as_ref()).await?;
    context.print(&report, || report.render(context.zone()))?;
    for damaged in &report.unreadable {
        context.progress.warn(format!("{}: {}", damaged.name, damaged.error));
    }
    Ok(if report.unreadable.is_empty() { Exit::Done } else { Exit::Differs })
}
