//! `dbhaul rehearse`

use std::path::PathBuf;

use clap::Args;

use crate::context::Context;
use crate::exit::Exit;
use crate::jobs::{baseline, demo, rehearse};

/// Restores a snapshot into private servers that the tool starts itself, and proves it.
///
/// The servers live in a temporary folder on free ports and are gone afterwards. The snapshot then carries an
/// attestation of what was proven, which retention honours. Needs the server programs on this host: postgres of the
/// source's major version or newer, and a redis-server or valkey-server that can read the snapshot.
#[derive(Debug, Args)]
pub(crate) struct RehearseArgs {
    /// The snapshot: its id, the beginning of its id, or `latest`
    #[arg(value_name = "SNAPSHOT|latest", default_value = "latest")]
    snapshot: String,
    /// Needs nothing of yours: starts source servers too, fills them with a sample application, backs them up,
    /// restores them and proves them equal
    #[arg(long, conflicts_with = "snapshot")]
    demo: bool,
    /// How much sample data; 1 is the real application's size
    #[arg(long, value_name = "N", default_value_t = 1, requires = "demo")]
    scale: u32,
    /// Connections that work at the same time
    #[arg(long, short, value_name = "N")]
    jobs: Option<usize>,
    /// Check the restored schema against this baseline
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// The environment whose part of the baseline applies
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
}

pub(super) async fn run(args: RehearseArgs, context: &Context) -> anyhow::Result<Exit> {
    let jobs = context.jobs(args.jobs);
    if args.demo {
        let report = demo::run(args.scale, jobs, &context.progress).await?;
        context.print(&report, || report.render())?;
        return Ok(report.exit());
    }
    baseline::ready(args.baseline.as_deref(), args.environment.as_deref())?;
    let repository = context.open_repository().await?;
    let gate = rehearse::Gate { file: args.baseline, environment: args.environment, config: &context.config };
    let report = rehearse::run(&repository, &args.snapshot, &gate, jobs, &context.progress).await?;
    context.print(&report, || report.render())?;
    Ok(report.exit())
}
