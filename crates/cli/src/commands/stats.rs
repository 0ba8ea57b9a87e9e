//! `dbhaul stats`

use chrono::Utc;
use clap::Args;

use crate::context::Context;
use crate::exit::Exit;
use crate::report::stats::StatsReport;

/// Shows what the snapshots hold and cost: as they were read, once deduplicated, and as stored; and what pruning would
/// free.
///
/// `own` is what no other snapshot needs: the space that forgetting this one alone would free.
#[derive(Debug, Args)]
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
