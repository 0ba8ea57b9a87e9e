//! `dbhaul backup`

use clap::{Args, ValueEnum};

use crate::commands::filter::FilterArgs;
use crate::commands::job::configured_source;
use crate::commands::reading::ReadingArgs;
use crate::commands::report::ReportArgs;
use crate::commands::sources;
use crate::config::Kind;
use crate::context::Context;
use crate::endpoint::{Connection, Globals};
use crate::exit::{self, Exit};
use crate::jobs::backup::{self, Backup};
use crate::jobs::series::{self, Configured};

const EXAMPLES: &str = "\
Examples:
  dbhaul backup
      Back up every source in dbhaul.toml, then apply retention
  dbhaul backup redis
      Back up one source of the configuration
  dbhaul backup --repository ./backup --postgres postgres://app@db-1/app --redis redis://db-1
      Back up two servers without a configuration
  dbhaul backup --exclude-table-data 'log_*'
      Back up everything except the rows of some tables";

/// Take one snapshot of every source, then apply retention
///
/// The sources are those in dbhaul.toml; --postgres and --redis replace them. The manifest is written last: an
/// interrupted backup leaves no snapshot behind. Retention is applied after a complete backup, if it is configured.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct BackupArgs {
    /// Back up only these sources of the configuration
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
    /// Back up this PostgreSQL database: postgres://user@host:port/database
    #[arg(long, value_name = "URL", help_heading = "Sources")]
    postgres: Option<String>,
    /// Back up this Redis or Valkey server: redis://host:port
    #[arg(long, value_name = "URL", help_heading = "Sources")]
    redis: Option<String>,
    /// Include the server's roles, memberships, role settings and tablespaces
    #[arg(long, help_heading = "PostgreSQL")]
    globals: bool,
    /// With --globals, include the password hashes of roles; requires a superuser
    #[arg(long, requires = "globals", help_heading = "PostgreSQL")]
    role_passwords: bool,
    /// Check the schema against this baseline and record the verdict
    ///
    /// The backup is taken even if the schema does not meet the baseline; the report and the snapshot say so.
    #[arg(long, value_name = "FILE", help_heading = "PostgreSQL")]
    baseline: Option<std::path::PathBuf>,
    /// Environment whose part of the baseline applies
    #[arg(long, value_name = "NAME", help_heading = "PostgreSQL")]
    environment: Option<String>,
    /// No effect: untested versions of extensions are backed up with a warning, and refused by a restore
    #[arg(long, hide = true)]
    untried_extensions: bool,
    #[command(flatten)]
    reading: ReadingArgs,
    /// How to capture Redis keys
    #[arg(long, value_name = "METHOD", help_heading = "Redis")]
    capture: Option<CaptureArg>,
    /// Include Redis users with their password hashes, and all settings that are not secret
    #[arg(long, help_heading = "Redis")]
    with_acl: bool,
    /// Number of connections that copy at the same time, per source
    #[arg(long, short, value_name = "N")]
    jobs: Option<usize>,
    /// Average rate of all uploads of this run, such as 10MiB/s [default: unlimited]
    #[arg(long, value_name = "RATE")]
    limit_upload: Option<repository::Rate>,
    /// Job to which the snapshot belongs [default: that of the configuration, otherwise "default"]
    #[arg(long, value_name = "ID")]
    job: Option<String>,
    /// Accept that the job's sources have changed, and record it
    ///
    /// A backup is refused if a source of the same name is another database than in earlier snapshots, or if the
    /// job's sources have other names: most often two applications use the same job id. Pass this once after a move
    /// to a new server, a major upgrade or a renaming.
    #[arg(long)]
    new_lineage: bool,
    /// Tag the snapshot; may be repeated
    ///
    /// Retention keeps snapshots whose tag is listed in `keep-tags` of the configured policy, by default `keep`. Tags are
    /// not encrypted.
    #[arg(long = "tag", value_name = "TAG", value_parser = tag)]
    tags: Vec<String>,
    #[command(flatten)]
    report: ReportArgs,
    /// Do not apply retention afterwards
    #[arg(long)]
    no_forget: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Tags are listed on one line.
fn tag(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_alphanumeric() || "-_.:/=+@".contains(c);
    match !text.is_empty() && text.len() <= 100 && text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => Err("a tag is up to 100 letters, digits and `-_.:/=+@`".to_owned()),
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CaptureArg {
    /// Replicate where the server allows it, otherwise scan
    Auto,
    /// Replicate: all keys as of one moment
    Psync,
    /// Read key by key with SCAN and DUMP: each key as of when it is read
    Scan,
}

pub(super) async fn run(args: BackupArgs, context: &Context) -> anyhow::Result<Exit> {
    args.report.apply("backup", context)?;
    let mut endpoints =
        sources::chosen(&args.sources, args.postgres.as_deref(), args.redis.as_deref(), context)?;
    sources::apply_baseline(&mut endpoints, args.baseline, args.environment);
    if args.globals {
        for endpoint in endpoints.iter_mut().filter(|endpoint| endpoint.kind() == Kind::Postgres) {
            endpoint.globals = Globals::of(true, args.role_passwords);
        }
    }
    if args.with_acl {
        for endpoint in &mut endpoints {
            endpoint.access |= matches!(endpoint.connection, Connection::Redis(_));
        }
        if !endpoints.iter().any(|endpoint| endpoint.access) {
            return Err(exit::usage(
                "--with-acl is for a Redis or Valkey server, and none of the sources is one",
            ));
        }
    }
    if let Some(capture) = args.capture {
        for endpoint in &mut endpoints {
            endpoint.capture = match capture {
                CaptureArg::Auto => redisdump::CaptureMethod::Auto,
                CaptureArg::Psync => redisdump::CaptureMethod::Psync,
                CaptureArg::Scan => redisdump::CaptureMethod::Scan,
            };
        }
    }
    let part = args.filter.apply(&mut endpoints)?;
    let mut repository = context.open_repository().await?;
    if let Some(rate) = args.limit_upload {
        repository = repository.limit_uploads(rate);
    }
    // A subset chosen by flags is a series of its own: it must never displace a complete snapshot or become `latest`.
    let job = args.job.as_ref().unwrap_or(&context.config.job.id);
    let job = match part {
        true => format!("{job}{}", series::PART),
        false => job.clone(),
    };
    let flagged = args.postgres.is_some() || args.redis.is_some();
    let declared: Vec<Configured> = match flagged {
        true => endpoints.iter().map(Configured::of).collect(),
        false => context.config.sources.iter().map(configured_source).collect(),
    };
    let report = backup::run(Backup {
        repository: &repository,
        job: &job,
        sources: &endpoints,
        declared: &declared,
        new_lineage: args.new_lineage,
        tags: &args.tags.into_iter().collect(),
        jobs: context.jobs_with(args.jobs, &endpoints),
        reading: args.reading.reading(context),
        retention: context.config.retention.as_ref().filter(|_| !args.no_forget && !part),
        progress: &context.progress,
    })
    .await?;
    let exit = context.conclude(report.exit(), &report, || report.render())?;
    if let Some(reason) = &report.retention_error {
        context
            .progress
            .warn(format!("the snapshot {} is saved, but retention failed: {reason}", report.snapshot));
    }
    Ok(exit)
}
