//! `dbhaul baseline`: a declared schema, captured, checked, and reached by migrations.

mod capture;
mod check;
mod migrations;
mod subject;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::Exit;

/// Captures a schema baseline, checks a schema against one, and plans and applies the migrations that reach it.
#[derive(Debug, Args)]
pub(crate) struct BaselineArgs {
    #[command(subcommand)]
    command: BaselineCommand,
}

#[derive(Debug, Subcommand)]
enum BaselineCommand {
    /// Write a baseline of a live database, or of the schema stored in a snapshot, to standard output
    Capture(capture::CaptureArgs),
    /// Check a live database, or the schema stored in a snapshot; exit code 3 when something is missing
    Check(check::CheckArgs),
    /// Show which migration files are applied, missing or partly applied, and in which order they can run
    Plan(migrations::PlanArgs),
    /// Run what `plan` shows, and check the baseline afterwards
    Apply(migrations::ApplyArgs),
}

pub(super) async fn run(args: BaselineArgs, context: &Context) -> anyhow::Result<Exit> {
    match args.command {
        BaselineCommand::Capture(args) => capture::run(args, context).await,
        BaselineCommand::Check(args) => check::run(args, context).await,
        BaselineCommand::Plan(args) => migrations::plan(args, context).await,
        BaselineCommand::Apply(args) => migrations::apply(args, context).await,
    }
}
