//! `dbhaul restore`

use std::path::PathBuf;

use clap::Args;

use crate::commands::filter::FilterArgs;
use crate::commands::inspect::is_path;
use crate::commands::sources;
use crate::commands::target::TargetArgs;
use crate::context::Context;
use crate::endpoint::{Connection, Endpoint};
use crate::exit::{self, Exit};
use crate::jobs::baseline;
use crate::jobs::restore::{self, Restore};
use crate::jobs::{keys, replay};
use crate::report::restore::RestoreReport;

/// Restores a snapshot into empty servers, and proves that what arrived is what was saved.
///
/// A target that is not empty is refused, before anything is written. Afterwards every table is read back and its
/// row count and digest compared with the snapshot's, and every key of Redis with its type, value and expiry.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The snapshot (its id, the beginning of its id, or `latest`), or for --redis the path of an RDB file, an AOF file, or
    /// the folder of an AOF
    #[arg(value_name = "SNAPSHOT|latest|FILE")]
    snapshot: String,
    /// Restore this source of the snapshot …
    #[arg(long, value_name = "NAME", requires = "to")]
    source: Option<String>,
    /// … into this server
    #[arg(long, value_name = "URL", conflicts_with_all = ["postgres", "redis"])]
    to: Option<String>,
    /// Restore the snapshot's PostgreSQL source into this empty database
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    /// Restore the snapshot's Redis source into this empty server
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// Of an AOF only what came before this moment, where the file has timestamps
    #[arg(long, value_name = "RFC3339")]
    until: Option<chrono::DateTime<chrono::Utc>>,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    target: TargetArgs,
    /// Check the restored schema against this baseline; a failed check ends with exit code 3
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// The environment whose part of the baseline applies
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
}

pub(super) async fn run(args: RestoreArgs, context: &Context) -> anyhow::Result<Exit> {
    let mut targets = sources::flagged(args.postgres.as_deref(), args.redis.as_deref(), context)?;
    if let Some(url) = &args.to {
        targets.push(Endpoint::from_url("target", url, context)?);
    }
    if targets.is_empty() {
        return Err(exit::usage(
            "where to? Give --source NAME --to URL, or --postgres URL and --redis URL. A restore never goes to the \
             configured sources by itself",
        ));
    }
    if is_path(&args.snapshot) {
        return from_file(&args, &targets, context).await;
    }
    if args.until.is_some() {
        return Err(exit::usage("--until is for an append-only file: a snapshot is of one moment"));
    }
    baseline::ready(args.baseline.as_deref(), args.environment.as_deref())?;
    sources::apply_baseline(&mut targets, args.baseline, args.environment);
    let part = args.filter.apply(&mut targets)?;
    let repository = context.open_repository().await?;
    let report = restore::run(Restore {
        repository: &repository,
        snapshot: &args.snapshot,
        source: args.source.as_deref(),
        targets: &targets,
        settings: args.target.settings(context.jobs(args.target.jobs), part)?,
        progress: &context.progress,
    })
    .await?;
    context.print(&report, || report.render())?;
    Ok(report.exit())
}

/// An RDB or AOF needs no repository: it goes straight into the one Redis that is named.
async fn from_file(args: &RestoreArgs, targets: &[Endpoint], context: &Context) -> anyhow::Result<Exit> {
    let [target] = targets else {
        return Err(exit::usage("a file goes into one server: name it by --redis URL"));
    };
    let Connection::Redis(options) = &target.connection else {
        return Err(exit::usage("an RDB or AOF goes into a Redis or Valkey server: name it by --redis URL"));
    };
    let settings = args.target.settings(context.jobs(args.target.jobs), false)?;
    if settings.access {
        return Err(exit::usage("--with-acl makes the users that a snapshot holds, and a file holds none"));
    }
    let path = std::path::PathBuf::from(&args.snapshot);
    let outcome = match replay::look(&path).await? {
        replay::Found::Aof => {
            let until = args.until.map(|until| until.timestamp());
            replay::run(&path, until, options, &settings, &context.progress).await?
        }
        replay::Found::Rdb(_) if args.until.is_some() => {
            return Err(exit::usage("--until is for an append-only file: an RDB is of one moment"));
        }
        replay::Found::Rdb(rdb) => {
            let open = || keys::file(&rdb);
            keys::fill_and_prove(&args.snapshot, open, options, &settings, &context.progress).await?
        }
    };
    let report = RestoreReport::migrated(&args.snapshot, outcome);
    context.print(&report, || report.render())?;
    Ok(report.exit())
}
