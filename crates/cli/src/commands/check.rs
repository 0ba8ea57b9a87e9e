//! `dbhaul check`

use clap::Args;
use repository::Portion;

use crate::context::Context;
use crate::exit::Exit;
use crate::jobs::check::{self, Reading};

const EXAMPLES: &str = "\
Examples:
  dbhaul check
      Verify that every chunk is present
  dbhaul check --read-data
      Read and hash all data
  dbhaul check --read-data=10%
      Read a tenth of the data, continuing where the last such check ended
  dbhaul check --read-data --repair
      Let the next backup replace damaged chunks";

/// Check the integrity of the repository
///
/// Every chunk that a snapshot references must exist with a plausible size. With --read-data each chunk is read,
/// decrypted, decompressed and hashed. Each fault is listed with the snapshots and parts it affects, and makes the exit
/// code 3.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct CheckArgs {
    /// Read and hash the data too: all of it, or a portion such as 10% or 5GiB
    ///
    /// A portion continues where the last one ended: ten checks of 10% read everything.
    #[arg(
        long,
        value_name = "PORTION",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "100%"
    )]
    read_data: Option<Portion>,
    /// Set damaged chunks aside so that the next backup with the same data writes them again; deletes nothing
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
    let exit = if report.passed() { Exit::Done } else { Exit::Differs };
    context.conclude(exit, &report, || report.render())
}
