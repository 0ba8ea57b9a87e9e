//! `dbhaul snapshots`

use clap::Args;

use crate::context::Context;
use crate::exit::Exit;
use crate::jobs::snapshots;

/// Lists the snapshots, oldest first.
///
/// A manifest that cannot be read is named, and the command ends with exit code 3: the others are listed all the
/// same.
#[derive(Debug, Args)]
pub(crate) struct SnapshotsArgs {
    /// Only the snapshots of this job
    #[arg(long, value_name = "ID")]
    job: Option<String>,
}

pub(super) async fn run(args: SnapshotsArgs, context: &Context) -> anyhow::Result<Exit> {
    let repository = context.open_repository().await?;
    let report = snapshots::run(&repository, args.job.as_deref()).await?;
    context.print(&report, || report.render())?;
    for damaged in &report.unreadable {
        context.progress.warn(format!("{}: {}", damaged.name, damaged.error));
    }
    Ok(if report.unreadable.is_empty() { Exit::Done } else { Exit::Differs })
}
