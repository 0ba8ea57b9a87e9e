//! `dbhaul pin` and `dbhaul unpin`

use clap::Args;
use serde::Serialize;

use crate::commands::job::JobArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::jobs::pin;

const EXAMPLES: &str = "\
Examples:
  dbhaul pin 20261123T180500Z
      Keep this snapshot regardless of the retention policy
  dbhaul pin latest
      Keep the newest snapshot";

const UNPIN_EXAMPLES: &str = "\
Examples:
  dbhaul unpin 20261123T180500Z
      Let the retention policy decide about this snapshot again";

/// Keep snapshots whatever the retention policy says
///
/// A pinned snapshot is never removed by retention and takes no slot from others. `dbhaul snapshots` shows it. A backup
/// with a tag that the policy keeps (`dbhaul backup --tag keep`) is pinned from the start.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct PinArgs {
    #[command(flatten)]
    wanted: SnapshotArgs,
}

/// Let the retention policy decide about snapshots again
#[derive(Debug, Args)]
#[command(after_long_help = UNPIN_EXAMPLES)]
pub(crate) struct UnpinArgs {
    #[command(flatten)]
    wanted: SnapshotArgs,
}

#[derive(Debug, Args)]
struct SnapshotArgs {
    /// Snapshots: their ids, the beginnings of their ids, or `latest`
    #[arg(value_name = "SNAPSHOT", required = true)]
    snapshots: Vec<String>,
    #[command(flatten)]
    job: JobArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct PinReport {
    pinned: bool,
    /// Snapshots that changed.
    changed: Vec<repository::SnapshotId>,
    /// Snapshots that were already in that state.
    unchanged: Vec<repository::SnapshotId>,
}

pub(super) async fn pin(args: PinArgs, context: &Context) -> anyhow::Result<Exit> {
    run(&args.wanted, true, context).await
}

pub(super) async fn unpin(args: UnpinArgs, context: &Context) -> anyhow::Result<Exit> {
    run(&args.wanted, false, context).await
}

async fn run(wanted: &SnapshotArgs, pinned: bool, context: &Context) -> anyhow::Result<Exit> {
    let repository = context.open_repository().await?;
    let series = wanted.job.series(context);
    let ids = pin::resolve(&repository, &series, &wanted.snapshots, &context.progress).await?;
    let (changed, unchanged) = pin::set(&repository, ids, pinned, context.config.retention.as_ref()).await?;
    let report = PinReport { pinned, changed, unchanged };
    context.conclude(Exit::Done, &report, || report.render())
}

impl PinReport {
    fn render(&self) -> String {
        let (word, already) =
            if self.pinned { ("pinned", "already pinned") } else { ("unpinned", "not pinned") };
        let changed = self.changed.iter().map(|id| format!("{id} {word}\n"));
        changed.chain(self.unchanged.iter().map(|id| format!("{id} {already}\n"))).collect()
    }
}
