//! `dbhaul restore`

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::commands::filter::FilterArgs;
use crate::commands::inspect::is_path;
use crate::commands::job::JobArgs;
use crate::commands::report::ReportArgs;
use crate::commands::sources;
use crate::commands::target::TargetArgs;
use crate::context::Context;
use crate::endpoint::{Connection, Endpoint};
use crate::exit::{self, Exit};
use crate::jobs::baseline;
use crate::jobs::plan;
use crate::jobs::redis;
use crate::jobs::redis::replay;
use crate::jobs::restore::{self, Restore};
use crate::jobs::settings::TargetSettings;
use crate::jobs::status;
use crate::report::restore::RestoreReport;

const EXAMPLES: &str = "\
Examples:
  dbhaul restore latest --postgres postgres://app@new/app --redis redis://new
      Restore both sources of the newest snapshot
  dbhaul restore 20261123T180500Z --source postgres --to postgres://app@new/app
      Restore one source of an older snapshot
  dbhaul restore latest --postgres postgres://app@new/app --table orders
      Restore one table
  dbhaul restore dump.rdb --redis redis://new
      Load an RDB file";

/// Restore a snapshot into empty servers and verify it
///
/// A target that is not empty is refused before anything is written. Afterwards every table is read back and its row
/// count and digest are compared with the snapshot's, and every Redis key with its type, value and expiry.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct RestoreArgs {
    /// Snapshot (its id, the beginning of its id, or `latest`), or path of an RDB file, an AOF file or an AOF folder
    #[arg(value_name = "SNAPSHOT|FILE")]
    snapshot: String,
    #[command(flatten)]
    job: JobArgs,
    /// Restore the snapshot's PostgreSQL source into this empty database
    #[arg(long, value_name = "URL", help_heading = "Servers")]
    postgres: Option<String>,
    /// Restore the snapshot's Redis source into this empty server
    #[arg(long, value_name = "URL", help_heading = "Servers")]
    redis: Option<String>,
    /// Restore this source of the snapshot into the server given by --to
    #[arg(long, value_name = "NAME", requires = "to", help_heading = "Servers")]
    source: Option<String>,
    /// Empty server to restore into
    #[arg(long, value_name = "URL", conflicts_with_all = ["postgres", "redis"], help_heading = "Servers")]
    to: Option<String>,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    report: ReportArgs,
    /// Check the restored schema against this baseline; a failed check makes the exit code 3
    #[arg(long, value_name = "FILE", help_heading = "PostgreSQL target")]
    baseline: Option<PathBuf>,
    /// Environment whose part of the baseline applies
    #[arg(long, value_name = "NAME", help_heading = "PostgreSQL target")]
    environment: Option<String>,
    /// Replay an AOF only up to this time, if the file has timestamps
    #[arg(long, value_name = "RFC3339", help_heading = "Redis target")]
    until: Option<chrono::DateTime<chrono::Utc>>,
    /// Fail on the first command of an AOF that the server answers with an error
    ///
    /// By default a command that fails on any server with the same keys is ignored and listed, as servers do when they
    /// load the file.
    #[arg(long, help_heading = "Redis target")]
    strict: bool,
    /// Reference time for relative expiries without a date in an AOF
    ///
    /// Servers before 4.0 write expiries such as `SET key value EX 60` as they were sent.
    #[arg(long, value_name = "TIME", default_value = "file", help_heading = "Redis target")]
    relative_expiry: RelativeExpiry,
    /// Try to read an RDB version newer than the supported ones
    #[arg(long, help_heading = "Redis target")]
    force: bool,
}

/// Reference time for relative expiries without a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RelativeExpiry {
    /// The time when the file was last modified
    File,
    /// The server's current time
    Now,
}

impl RestoreArgs {
    fn settings(
        &self,
        targets: &[Endpoint],
        context: &Context,
        part: bool,
    ) -> anyhow::Result<TargetSettings> {
        let mut settings = self.target.settings(context.jobs_with(self.target.jobs, targets), part)?;
        settings.redis.try_newer = self.force;
        settings.redis.replay = redisdump::ReplayOptions {
            strict: self.strict,
            expiry_base: match self.relative_expiry {
                RelativeExpiry::File => redisdump::ExpiryBase::FileTime,
                RelativeExpiry::Now => redisdump::ExpiryBase::Now,
            },
        };
        Ok(settings)
    }
}

pub(super) async fn run(args: RestoreArgs, context: &Context) -> anyhow::Result<Exit> {
    args.report.apply("restore", context)?;
    let mut targets = sources::flagged(args.postgres.as_deref(), args.redis.as_deref(), context)?;
    if let Some(url) = &args.to {
        targets.push(Endpoint::from_url("target", url, None, context)?);
    }
    if targets.is_empty() {
        return Err(exit::usage(
            "no target is named: pass --postgres URL and --redis URL, or --source NAME --to URL; the configured sources are \
             never used as targets",
        ));
    }
    if is_path(&args.snapshot) {
        return from_file(&args, &targets, context).await;
    }
    if args.until.is_some() {
        return Err(exit::usage("--until applies to an append-only file, not to a snapshot"));
    }
    baseline::ready(args.baseline.as_deref(), args.environment.as_deref())?;
    sources::apply_baseline(&mut targets, args.baseline.clone(), args.environment.clone());
    let part = args.filter.apply(&mut targets)?;
    let repository = context.open_repository().await?;
    let restore = Restore {
        repository: &repository,
        snapshot: &args.snapshot,
        series: &args.job.series(context),
        source: args.source.as_deref(),
        targets: &targets,
        settings: args.settings(&targets, context, part)?,
        progress: &context.progress,
    };
    if args.target.dry_run {
        let report = plan::of_restore(restore).await?;
        return context.conclude(report.exit(), &report, || report.render());
    }
    let report = restore::run(restore).await?;
    // The page shows what rehearsals of the series took; without it the result is the same.
    if args.report.is_wanted()
        && let Some(snapshot) = report.from.strip_prefix("snapshot ")
        && let Ok(rehearsals) = status::rehearsals_beside(&repository, snapshot).await
    {
        context.note_rehearsals(rehearsals);
    }
    context.conclude(report.exit(), &report, || report.render())
}

/// Restores an RDB or AOF file into the only Redis target. No repository is needed.
async fn from_file(args: &RestoreArgs, targets: &[Endpoint], context: &Context) -> anyhow::Result<Exit> {
    let [target] = targets else {
        return Err(exit::usage("a file is restored into one server: pass --redis URL"));
    };
    let Connection::Redis(options) = &target.connection else {
        return Err(exit::usage(
            "an RDB or AOF file is restored into a Redis or Valkey server: pass --redis URL",
        ));
    };
    if args.target.dry_run {
        return Err(exit::usage(
            "--dry-run plans the restore of a snapshot; `dbhaul inspect FILE` describes a file",
        ));
    }
    let settings = args.settings(targets, context, false)?;
    if settings.access {
        return Err(exit::usage("--with-acl applies to a snapshot: a file contains no users"));
    }
    let path = std::path::PathBuf::from(&args.snapshot);
    let outcome = match replay::look(&path).await? {
        replay::FileContent::Aof => {
            let until = args.until.map(|until| until.timestamp());
            replay::run(&path, until, options, &settings, &context.progress).await?
        }
        replay::FileContent::Rdb(_) if args.until.is_some() => {
            return Err(exit::usage("--until applies to an append-only file, not to an RDB file"));
        }
        replay::FileContent::Rdb(rdb) => {
            let open = || redis::load::file(&rdb);
            redis::load::fill_and_prove(&args.snapshot, open, None, options, &settings, &context.progress)
                .await?
        }
    };
    let report = RestoreReport::migrated(&args.snapshot, outcome);
    context.conclude(report.exit(), &report, || report.render())
}
