//! `dbhaul rehearse`

use std::path::PathBuf;

use clap::Args;

use crate::commands::job::JobArgs;
use crate::commands::report::ReportArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::jobs::{baseline, rehearse, status};

const EXAMPLES: &str = "\
Examples:
  dbhaul rehearse --demo
      Back up and restore sample data on private servers
  dbhaul rehearse
      Restore the newest snapshot into private servers and verify it
  dbhaul rehearse latest --baseline baseline.toml --environment production
      Also check the restored schema";

/// Restore a snapshot into private servers and verify it
///
/// The servers are started in a temporary folder and removed afterwards. The result is stored with the snapshot,
/// where retention takes it into account. Requires server programs on this host: postgres of the source's major
/// version or newer, and a redis-server or valkey-server that can read the snapshot. `[[rehearse.sandbox]]` in
/// dbhaul.toml selects a container or another server instead, and `[[rehearse.assert]]` runs queries on the restored
/// data.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct RehearseArgs {
    /// Snapshot: its id, the beginning of its id, or `latest`
    #[arg(value_name = "SNAPSHOT", default_value = "latest")]
    snapshot: String,
    #[command(flatten)]
    job: JobArgs,
    /// Check the restored schema against this baseline
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Environment whose part of the baseline applies
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    #[command(flatten)]
    report: ReportArgs,
    /// Number of connections that work at the same time
    #[arg(long, short, value_name = "N")]
    jobs: Option<usize>,
    #[cfg(feature = "demo")]
    #[command(flatten)]
    demonstration: Demonstration,
}

/// Flags of the demonstration.
#[cfg(feature = "demo")]
#[derive(Debug, Args)]
#[command(next_help_heading = "Demonstration")]
struct Demonstration {
    /// Run a demonstration that needs no servers of yours
    ///
    /// Starts private source servers too, fills them with a sample application, backs them up, restores them and
    /// verifies the result.
    #[arg(long, conflicts_with = "snapshot")]
    demo: bool,
    /// Amount of sample data; 1 is the size of the real application
    #[arg(long, value_name = "N", default_value_t = 1, requires = "demo")]
    scale: u32,
}

pub(super) async fn run(args: RehearseArgs, context: &Context) -> anyhow::Result<Exit> {
    args.report.apply("rehearse", context)?;
    let jobs = context.jobs(args.jobs);
    #[cfg(feature = "demo")]
    if args.demonstration.demo {
        let report = crate::jobs::demo::run(args.demonstration.scale, jobs, &context.progress).await?;
        return context.conclude(report.exit(), &report, || report.render());
    }
    baseline::ready(args.baseline.as_deref(), args.environment.as_deref())?;
    let repository = context.open_repository().await?;
    let gate = rehearse::BaselineSettings { file: args.baseline, environment: args.environment, context };
    let report =
        rehearse::run(&repository, &args.job.series(context), &args.snapshot, &gate, jobs, &context.progress)
            .await?;
    // Durations of earlier rehearsals are nice to have; do not fail without them.
    if let Ok(rehearsals) = status::rehearsals(&repository, &report.job).await {
        context.note_rehearsals(rehearsals);
    }
    context.conclude(report.exit(), &report, || report.render())
}
