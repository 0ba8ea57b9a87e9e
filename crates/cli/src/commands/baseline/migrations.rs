//! `dbhaul baseline plan` and `dbhaul baseline apply`

use std::path::PathBuf;

use clap::Args;

use super::subject::SubjectArgs;
use crate::commands::sources;
use crate::context::Context;
use crate::endpoint::Endpoint;
use crate::exit::Exit;
use crate::jobs::baseline::migrations::{self, MigrationOptions};

/// Which migrations to consider, and how.
#[derive(Debug, Args)]
struct FilesArgs {
    /// Folder with the migration files (*.sql)
    #[arg(long, value_name = "DIR", help_heading = "Migrations")]
    migrations: PathBuf,
    /// Baseline file, which sets the order and what is optional [default: that of the PostgreSQL source in the
    /// configuration, if there is one]
    #[arg(long, value_name = "FILE", help_heading = "Baseline")]
    baseline: Option<PathBuf>,
    /// Environment whose part of the baseline applies
    #[arg(long, value_name = "NAME", help_heading = "Baseline")]
    environment: Option<String>,
    /// Run this migration regardless of the schema; may be repeated
    #[arg(long, value_name = "NAME", help_heading = "Migrations")]
    run: Vec<String>,
    /// Skip this migration; may be repeated
    #[arg(long, value_name = "NAME", help_heading = "Migrations")]
    skip: Vec<String>,
}

impl FilesArgs {
    fn wanted(self, source: Option<&str>, context: &Context) -> MigrationOptions {
        let (baseline, environment) = sources::baseline(self.baseline, self.environment, source, context);
        MigrationOptions { folder: self.migrations, baseline, environment, run: self.run, skip: self.skip }
    }
}

const PLAN_EXAMPLES: &str = "\
Example:
  dbhaul baseline plan --to postgres://app@db-1/app --migrations ./migrations
      Show which migrations are still to be run";

/// Show which migration files are applied, missing or partly applied, and in which order they can run
///
/// Nothing is run, and nothing is recorded in the database: the schema shows which objects of a file exist. What the
/// schema cannot show (rows, DO blocks) is reported. The exit code is 0 if nothing is left to run, otherwise 3.
#[derive(Debug, Args)]
#[command(after_long_help = PLAN_EXAMPLES)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    files: FilesArgs,
}

pub(super) async fn plan(args: PlanArgs, context: &Context) -> anyhow::Result<Exit> {
    let wanted = args.files.wanted(args.subject.source.as_deref(), context);
    let subject = args.subject.subject(context).await?;
    let report = migrations::plan(&subject, &wanted).await?;
    let exit = if report.plan.is_done() { Exit::Done } else { Exit::Differs };
    context.conclude(exit, &report, || report.render())
}

const APPLY_EXAMPLES: &str = "\
Example:
  dbhaul baseline apply --to postgres://app@db-1/app --migrations ./migrations
      Run the missing migrations, then check the baseline";

/// Run the migrations that `plan` shows, then check the baseline
///
/// Each file runs in one transaction where possible. The first error stops the run and is reported with file, line,
/// SQLSTATE and the state of the database. A file with psql meta-commands is refused before anything runs. The exit
/// code is 3 if the baseline is not met afterwards.
#[derive(Debug, Args)]
#[command(after_long_help = APPLY_EXAMPLES)]
pub(super) struct ApplyArgs {
    /// Live database; same as --to
    #[arg(value_name = "URL", conflicts_with = "to", required_unless_present = "to")]
    url: Option<String>,
    /// Live database
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    #[command(flatten)]
    files: FilesArgs,
}

pub(super) async fn apply(args: ApplyArgs, context: &Context) -> anyhow::Result<Exit> {
    let wanted = args.files.wanted(None, context);
    let url = args.url.or(args.to).unwrap_or_default();
    let endpoint = Endpoint::from_url("target", &url, None, context)?;
    let report = migrations::apply(&endpoint, &wanted, &context.progress).await?;
    let exit = if report.passed() { Exit::Done } else { Exit::Differs };
    context.conclude(exit, &report, || report.render())
}
