//! `dbhaul baseline check`

use std::path::PathBuf;

use clap::Args;

use super::subject::SubjectArgs;
use crate::commands::sources;
use crate::context::Context;
use crate::exit::{self, Exit};
use crate::jobs::baseline;

/// Checks a live database, or the schema stored in a snapshot, against a baseline.
///
/// Types are compared by meaning, and what is optional in the environment does not fail the check. What the database
/// has beyond its baseline is not looked at. Exit code 3 when something required is missing or different.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    /// The baseline [default: that of the configuration's PostgreSQL source]
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// The environment whose part of the baseline applies
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
}

pub(super) async fn run(args: CheckArgs, context: &Context) -> anyhow::Result<Exit> {
    let (file, environment) =
        sources::baseline(args.baseline, args.environment, args.subject.source.as_deref(), context);
    let Some(file) = file else {
        return Err(exit::usage(
            "which baseline? Give --baseline FILE, or `baseline = \"…\"` of a source in dbhaul.toml \
             (`dbhaul baseline capture` writes one)",
        ));
    };
    let subject = args.subject.subject(context).await?;
    let report = baseline::check(&subject, &file, environment.as_deref()).await?;
    context.print(&report, || report.render())?;
    Ok(if report.passed() { Exit::Done } else { Exit::Differs })
}
