//! `dbhaul check`

use clap::Args;
use repository::Portion;

use crate::context::Context;
use crate::exit::Exit;
use crate::jobs::check::{self, Reading};

/// Checks that the repository is whole.
///
/// Every chunk that a listed snapshot names must be there with a plausible size; with --read-data each is read,
/// decrypted, decompressed and hashed. A fault is named with the snapshots and parts that it touches, and ends with exit
/// code 3.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Read and hash the data too: all of it, or a portion such as 10% or 5GiB, which goes on where the last portion
    /// ended, so that ten runs of 10% read everything
    #[arg(
        long,
        value_name = "PORTION",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "100%"
    )]
    read_data: Option<Portion>,
    /// Set damaged chunks aside, so that the next backup which meets their data writes them again; nothing is deleted
    #[arg(long)]
    repair: bool,
}

pub(super) async fn run(args: CheckArgs, context: &Context) -> anyhow::Result<Exit> {
    let repository = context.open_repository().await?;
    let reading = match args.read_data {
        None => Reading::Nothing,
        Some(Portion::BasisPoints(10_000)) => Reading::Everything,
        Some(portion) => Reading::Portion(portion),
    };
    let report = check::run(&repository, reading, args.repair, &context.progress).await?;
    context.print(&report, || report.render())?;
    Ok(if report.passed() { Exit::Done } else { Exit::Differs })
}
