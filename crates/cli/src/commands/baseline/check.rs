//! `dbhaul baseline check`

use std::path::PathBuf;

use clap::Args;

use super::subject::SubjectArgs;
use crate::commands::sources;
use crate::context::Context;
use crate::exit::{self, Exit};
use crate::jobs::baseline;

const EXAMPLES: &str = "\
Examples:
  dbhaul baseline check --to postgres://app@db-1/app --baseline baseline.toml
      Check a live database
  dbhaul baseline check --snapshot latest --baseline baseline.toml --environment production
      Check the schema stored in a snapshot";

/// Check a live database, or the schema stored in a snapshot, against a baseline
///
/// Equivalent spellings of a type are equal. Objects that are optional in the environment may be missing, and objects
/// that the baseline does not list are ignored. The exit code is 3 if something required is missing or different.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    /// Baseline file [default: that of the PostgreSQL source in the configuration]
    #[arg(long, value_name = "FILE", help_heading = "Baseline")]
    baseline: Option<PathBuf>,
    /// Environment whose part of the baseline applies
    #[arg(long, value_name = "NAME", help_heading = "Baseline")]
    environment: Option<String>,
}

pub(super) async fn run(args: CheckArgs, context: &Context) -> anyhow::Result<Exit> {
    let (file, environment) =
        sources::baseline(args.baseline, args.environment, args.subject.source.as_deref(), context);
    let Some(file) = file else {
        return Err(exit::usage(
            "no baseline is named: pass --baseline FILE, or set `baseline` of a source in dbhaul.toml (`dbhaul baseline \
             capture` prints one)",
        ));
    };
    let subject = args.subject.subject(context).await?;
    let report = baseline::check(&subject, &file, environment.as_deref()).await?;
    let exit = if report.passed() { Exit::Done } else { Exit::Differs };
    context.conclude(exit, &report, || report.render())
}
