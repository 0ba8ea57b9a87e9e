//! `dbhaul status`

use std::path::PathBuf;

use chrono::Utc;
use clap::Args;

use crate::commands::job;
use crate::context::Context;
use crate::exit::Exit;
use crate::jobs::nightly::state::{self, State};
use crate::jobs::status::{self, Status};
use crate::{config, report, schedule};

const EXAMPLES: &str = "\
Examples:
  dbhaul status
      Show whether every source has a good, recent backup
  dbhaul status --html /var/www/backup.html
      Also write a page that shows the same
  dbhaul status --stale-after 8d --json
      Accept backups of up to 8 days, for a script";

/// Show whether the data is safe: last good backups, what was proven, what is wrong
///
/// For each source: its newest good backup and its age, its size and the trend of its size, when it was last rehearsed,
/// and the oldest restore point. The exit code is 3 if a source has no good backup or a stale one, or if the last check
/// or the last rehearsal failed.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct StatusArgs {
    /// Job to show [default: that of the configuration, otherwise "default"]
    #[arg(long, value_name = "ID")]
    job: Option<String>,
    /// Age at which a backup is stale, such as 36h or 8d [default: that of the configuration, otherwise 36h]
    #[arg(long, value_name = "DURATION")]
    stale_after: Option<config::units::Span>,
    /// Write a self-contained page to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(super) async fn run(args: StatusArgs, context: &Context) -> anyhow::Result<Exit> {
    let repository = context.open_repository().await?;
    let job = args.job.as_deref().unwrap_or(&context.config.job.id);
    // A host that only monitors has no run state; the repository can still be reported.
    let state = state::folder(&context.config, &context.secrets)
        .map(|folder| State::read(&folder.join(state::file_name(job, "json"))));
    let (state, warning) = state.unwrap_or_default();
    if let Some(warning) = warning {
        context.progress.warn(warning);
    }
    let now = Utc::now();
    let mut report = status::run(&Status {
        repository: &repository,
        series: &job::series(args.job.as_deref(), context),
        job,
        stale_after: args.stale_after.unwrap_or(context.config.nightly.stale_after).0,
        state: &state,
        now,
    })
    .await?;
    if let Some(installed) = schedule::installed(std::path::Path::new("/"), now) {
        if installed.disabled {
            let text = format!("{}: nothing starts the next run", installed.description);
            report.problems.push(report::status::Problem::warning(None, text));
        }
        report.next_run = installed.next_run;
        report.schedule = Some(installed.description);
    }
    if let Some(file) = &args.html {
        report::html::write(file, &report::status_html::page(&report, context.zone()))?;
    }
    context.print(&report, || report.render(context.zone()))?;
    Ok(report.exit())
}
