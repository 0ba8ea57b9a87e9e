//! `dbhaul import`

use std::path::PathBuf;

use clap::Args;

use crate::config::Kind;
use crate::context::Context;
use crate::exit::{self, Exit};
use crate::jobs::import::{self, Import};

const EXAMPLES: &str = "\
Examples:
  dbhaul import --dry-run /var/backups/coinpilot
      Verify the files of an earlier backup script, and store nothing
  dbhaul import /var/backups/coinpilot
      Store them as snapshots, each dated by its file's name
  dbhaul export 20261122T180500Z --format file --output coinpilot_20261123_030500.sql.gz
      Write an imported dump as it was";

/// Import backup files of earlier scripts as snapshots
///
/// Takes pg_dump scripts (`*.sql.gz`) and archives of a Redis data folder (`*.tar.gz`), each with its checksum next
/// to it (`FILE.sha256`, as sha256sum writes it). A snapshot is dated by the file's name, in the zone of the retention
/// policy, so that retention counts old and new backups as one history. An archive of Redis becomes a snapshot like
/// any other. A dump is stored byte for byte and checked, but dbhaul does not restore it: `export --format file`
/// writes it again. It never displaces a backup made by dbhaul.
///
/// A file whose checksum or compression is wrong is damaged (exit code 3). One without a checksum, or without the
/// last line of a pg_dump script, is suspect (exit code 4). Neither is imported. Importing a file again adds nothing.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct ImportArgs {
    /// Files, and folders that are searched for them
    #[arg(value_name = "FILE|DIR", required = true)]
    paths: Vec<PathBuf>,
    /// Source that dumps belong to [default: the PostgreSQL source of the configuration, otherwise "postgres"]
    #[arg(long, value_name = "NAME")]
    postgres_source: Option<String>,
    /// Source that Redis archives belong to [default: the Redis source of the configuration, otherwise "redis"]
    #[arg(long, value_name = "NAME")]
    redis_source: Option<String>,
    /// Job to which the snapshots belong [default: that of the configuration, otherwise "default"]
    #[arg(long, value_name = "ID")]
    job: Option<String>,
    /// Verify the files and store nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: ImportArgs, context: &Context) -> anyhow::Result<Exit> {
    context.require_named_config()?;
    let postgres = source(args.postgres_source, Kind::Postgres, "--postgres-source", context)?;
    let redis = source(args.redis_source, Kind::Redis, "--redis-source", context)?;
    let repository = context.open_repository().await?;
    let job = args.job.unwrap_or_else(|| context.config.job.id.clone());
    let report = import::run(&Import {
        repository: &repository,
        job: &job,
        paths: &args.paths,
        postgres: &postgres,
        redis: &redis,
        zone: context.zone(),
        dry_run: args.dry_run,
        progress: &context.progress,
    })
    .await?;
    context.conclude(report.exit(), &report, || report.render(context.zone()))
}

/// The source that files of this kind belong to. A name that is not configured would start a series of its own.
fn source(named: Option<String>, kind: Kind, flag: &str, context: &Context) -> anyhow::Result<String> {
    let configured: Vec<_> = context.config.sources.iter().filter(|source| source.kind == kind).collect();
    let names = || configured.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ");
    match (named, configured.as_slice()) {
        (Some(name), []) => Ok(name),
        (Some(name), _) if configured.iter().any(|source| source.covers(&name)) => Ok(name),
        (Some(name), _) => Err(exit::usage(format!(
            "the configuration has no source `{name}` of kind {}; it has: {}",
            kind.as_str(),
            names()
        ))),
        (None, []) => Ok(kind.as_str().to_owned()),
        (None, [only]) if !only.every_database() => Ok(only.name.clone()),
        (None, _) => Err(exit::usage(format!(
            "the configuration has several sources of kind {} ({}): choose one with {flag} NAME",
            kind.as_str(),
            names()
        ))),
    }
}
