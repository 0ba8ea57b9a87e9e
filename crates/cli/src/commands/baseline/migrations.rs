//! `dbhaul baseline plan` and `dbhaul baseline apply`

use std::path::PathBuf;

use clap::Args;

use super::subject::SubjectArgs;
use crate::commands::sources;
use crate::context::Context;
use crate::endpoint::Endpoint;
use crate::exit::Exit;
use crate::jobs::baseline::migrations::{self, Wanted};

/// Which migrations, and what is known of them.
#[derive(Debug, Args)]
struct FilesArgs {
    /// The folder with the migration files (*.sql)
    #[arg(long, value_name = "DIR")]
    migrations: PathBuf,
    /// The baseline, which gives the order and says what is optional where [default: that of the configuration's
    /// PostgreSQL source, if there is one]
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// The environment whose part of the baseline applies
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// Run this migration, whatever the schema shows of it; may be repeated
    #[arg(long, value_name = "NAME")]
    run: Vec<String>,
    /// Leave this migration out; may be repeated
    #[arg(long, value_name = "NAME")]
    skip: Vec<String>,
}

impl FilesArgs {
    fn wanted(self, source: Option<&str>, context: &Context) -> Wanted {
        let (baseline, environment) = sources::baseline(self.baseline, self.environment, source, context);
        Wanted { folder: self.migrations, baseline, environment, run: self.run, skip: self.skip }
    }
}

/// Reads a folder of migration files and works out from the schema which are applied, and what is left to do.
///
/// Nothing is run and nothing is recorded in the database: what a file makes is looked for in the schema, and what the
/// schema cannot show (rows, DO blocks) is said. Exit code 0 when nothing is left to do, 3 when something is.
#[derive(Debug, Args)]
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
    context.print(&report, || report.render())?;
    Ok(if report.plan.is_done() { Exit::Done } else { Exit::Differs })
}

/// Runs what `dbhaul baseline plan` shows, each file in one transaction where it can be, and then checks the baseline.
///
/// It stops at the first error, with file, line and SQLSTATE, and says what state things are in. A file that holds
/// meta-commands of psql is refused before anything runs. Exit code 3 when the baseline is not met afterwards.
#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    /// The live database; the same as --to
    #[arg(value_name = "URL", conflicts_with = "to", required_unless_present = "to")]
    url: Option<String>,
    /// The live database
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    #[command(flatten)]
    files: FilesArgs,
}

pub(super) async fn apply(args: ApplyArgs, context: &Context) -> anyhow::Result<Exit> {
    let wanted = args.files.wanted(None, context);
    let url = args.url.or(args.to).unwrap_or_default();
    let endpoint = Endpoint::from_url("target", &url, context)?;
    let report = migrations::apply(&endpoint, &wanted, &context.progress).await?;
    context.print(&report, || report.render())?;
    Ok(if report.passed() { Exit::Done } else { Exit::Differs })
}
