//! `dbhaul doctor`

use chrono::Utc;
use clap::Args;

use crate::commands::sources;
use crate::context::Context;
use crate::exit::Exit;
use crate::jobs::doctor;

const EXAMPLES: &str = "\
Examples:
  dbhaul doctor
      Check everything that a nightly run needs
  dbhaul doctor --send-test
      Also send a test notice through every configured channel";

/// Check everything that a nightly run needs: sources, rights, repository, clock, disk space, schedule, notices
///
/// Each line is ok, warning or failure. A PostgreSQL source is opened and its tables are locked as a backup does, so that
/// a missing right shows with the GRANT that fixes it. Nothing is written to a source. The exit code is 3 if something
/// fails.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct DoctorArgs {
    /// Check only these sources of the configuration
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
    /// Send a test notice to every configured channel
    #[arg(long)]
    send_test: bool,
}

pub(super) async fn run(args: DoctorArgs, context: &Context) -> anyhow::Result<Exit> {
    let endpoints = sources::chosen(&args.sources, None, None, context);
    let report = doctor::run(context, endpoints, args.send_test, std::path::Path::new("/"), Utc::now()).await;
    context.print(&report, || report.render())?;
    Ok(report.exit())
}
