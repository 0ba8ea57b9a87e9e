//! `dbhaul baseline`: capture and check a declared schema, and run the migrations that lead to it.

mod capture;
mod check;
mod migrations;
mod subject;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::Exit;

const EXAMPLES: &str = "\
Examples:
  dbhaul baseline capture --to postgres://app@db-1/app > baseline.toml
      Declare the schema of a database
  dbhaul baseline check --to postgres://app@db-2/app --baseline baseline.toml
      Check another database against it";

/// Check a schema against a declared baseline, and plan and run migrations
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct BaselineArgs {
    #[command(subcommand)]
    command: BaselineCommand,
}

// No doc comments on the variants: they would replace the help of the structs.
#[derive(Debug, Subcommand)]
enum BaselineCommand {
    Capture(capture::CaptureArgs),
    Check(check::CheckArgs),
    Plan(migrations::PlanArgs),
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
