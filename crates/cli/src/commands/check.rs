//! `dbhaul check`

use clap::Args;

use crate::context::Context;
use crate::exit::Exit;
use crate::jobs::check;

/// Checks that the repository is whole.
///
/// Every chunk that a listed snapshot names must be there with a plausible size; with --read-data each is read,
/// decompressed and hashed. A fault is named with the snapshots and parts that it touches, and ends with exit code 3.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Read and hash all data, not only the listing
    #[arg(long)]
    read_data: bool,
}

pub(super) async fn run(args: CheckArgs, context: &Context) -> anyhow::Result<Exit> {
    let repository = context.open_repository().await?;
    let report = check::run(&repository, args.read_data, &context.progress).await?;
    context.print(&report, || report.render())?;
    Ok(if report.passed() { Exit::Done } else { Exit::Differs })
}
