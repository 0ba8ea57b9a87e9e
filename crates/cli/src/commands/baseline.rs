//! `dbhaul baseline`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::commands::sources;
use crate::context::Context;
use crate::endpoint::Endpoint;
use crate::exit::{self, Exit};
use crate::jobs::baseline;

/// Checks a schema against a declared baseline.
#[derive(Debug, Args)]
pub(crate) struct BaselineArgs {
    #[command(subcommand)]
    command: BaselineCommand,
}

#[derive(Debug, Subcommand)]
enum BaselineCommand {
    /// Check a live database, or the schema stored in a snapshot; exit code 3 when something is missing
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The live database
    #[arg(long, value_name = "URL", conflicts_with = "snapshot", required_unless_present = "snapshot")]
    to: Option<String>,
    /// The snapshot: its id, the beginning of its id, or `latest`
    #[arg(long, value_name = "ID")]
    snapshot: Option<String>,
    /// Which PostgreSQL source of the snapshot, if it has several
    #[arg(long, value_name = "NAME", requires = "snapshot")]
    source: Option<String>,
    /// The baseline [default: that of the configuration's PostgreSQL source]
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// The environment whose part of the baseline applies
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
}

pub(super) async fn run(args: BaselineArgs, context: &Context) -> anyhow::Result<Exit> {
    let BaselineCommand::Check(args) = args.command;
    let (file, environment) =
        sources::baseline(args.baseline, args.environment, args.source.as_deref(), context);
    let Some(file) = file else {
        return Err(exit::usage(
            "which baseline? Give --baseline FILE, or `baseline = \"…\"` of a source in dbhaul.toml",
        ));
    };
    let report = match (&args.to, &args.snapshot) {
        (Some(url), _) => {
            let endpoint = Endpoint::from_url("target", url, context)?;
            baseline::check_live(&endpoint, &file, environment.as_deref()).await?
        }
        (None, Some(snapshot)) => {
            let repository = context.open_repository().await?;
            baseline::check_snapshot(
                &repository,
                snapshot,
                args.source.as_deref(),
                &file,
                environment.as_deref(),
            )
            .await?
        }
        (None, None) => return Err(exit::usage("check what? Give --to URL or --snapshot ID")),
    };
    context.print(&report, || report.render())?;
    Ok(if report.passed() { Exit::Done } else { Exit::Differs })
}
