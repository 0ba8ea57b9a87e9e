//! `dbhaul migrate`

use std::path::PathBuf;

use clap::Args;

use crate::commands::filter::FilterArgs;
use crate::commands::sources;
use crate::commands::target::TargetArgs;
use crate::context::Context;
use crate::endpoint::Endpoint;
use crate::exit::Exit;
use crate::jobs::baseline;
use crate::jobs::migrate::{self, Migrate};

/// Moves a database, or all of a Redis server, straight from server to server: schema, data and proof.
///
/// Nothing lands on disk between them. The target must be empty; the source is only read. Every table and key is
/// then read back from the target and compared with what the source's snapshot held.
#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// The server to read: postgres://… or redis://…
    #[arg(long, value_name = "URL")]
    from: String,
    /// The empty server to fill, of the same kind
    #[arg(long, value_name = "URL")]
    to: String,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    target: TargetArgs,
    /// Check the target's schema against this baseline; a failed check ends with exit code 3
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// The environment whose part of the baseline applies
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
}

pub(super) async fn run(args: MigrateArgs, context: &Context) -> anyhow::Result<Exit> {
    let mut from = [Endpoint::from_url("source", &args.from, context)?];
    let part = args.filter.apply(&mut from)?;
    let [from] = &from;
    let mut to = [Endpoint::from_url("target", &args.to, context)?];
    baseline::ready(args.baseline.as_deref(), args.environment.as_deref())?;
    sources::apply_baseline(&mut to, args.baseline, args.environment);
    let [to] = &to;
    let settings = args.target.settings(context.jobs(args.target.jobs), part)?;
    let report = migrate::run(Migrate { from, to, settings, progress: &context.progress }).await?;
    context.print(&report, || report.render())?;
    Ok(report.exit())
}
