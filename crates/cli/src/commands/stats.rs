//! `dbhaul stats`

use chrono::Utc;
use clap::Args;

use crate::context::Context;
use crate::exit::Exit;
use crate::report::stats::StatsReport;

const EXAMPLES: &str = "\
Example:
  dbhaul stats
      Show the size of each snapshot, and what pruning would free";

/// Show the size of each snapshot and what pruning would free
///
/// Sizes are given as read, deduplicated, and as stored. `own` is what no other snapshot references: the space that
/// forgetting this one alone would free.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct StatsArgs {}

pub(super) async fn run(_args: StatsArgs, context: &Context) -> anyhow::Result<Exit> {
    let repository = context.open_repository().await?;
    context.progress.stage("counting", None);
    let report = StatsReport(repository.stats(Utc::now()).await?);
    context.print(&report, || report.render())?;
    for damaged in &report.0.unreadable {
        context.progress.warn(format!("{}: {}", damaged.name, damaged.error));
    }
    Ok(if report.0.unreadable.is_empty() { Exit::Done } else { Exit::Differs })
}
