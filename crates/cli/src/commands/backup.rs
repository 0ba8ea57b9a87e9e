//! `dbhaul backup`

use clap::{Args, ValueEnum};

use crate::commands::filter::FilterArgs;
use crate::commands::sources;
use crate::config::Kind;
use crate::context::Context;
use crate::endpoint::{Connection, Globals};
use crate::exit::{self, Exit};
use crate::jobs::backup::{self, Backup};
use crate::jobs::find;

/// Takes one snapshot of every source, then applies retention.
///
/// Sources come from dbhaul.toml; --postgres and --redis replace them. The snapshot's manifest is written last: an
/// interrupted backup lists nothing. Retention is applied after a complete backup, and only where it is configured.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// Only these sources of the configuration
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
    /// Back up this PostgreSQL database: postgres://user@host:port/database
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    /// Back up this Redis or Valkey server: redis://host:port
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// Connections that copy at the same time, for each source
    #[arg(long, short, value_name = "N")]
    jobs: Option<usize>,
    /// Check the schema against this baseline; the verdict is recorded and a failed one alarms
    #[arg(long, value_name = "FILE")]
    baseline: Option<std::path::PathBuf>,
    /// The environment whose part of the baseline applies
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// Do not apply retention afterwards
    #[arg(long)]
    no_forget: bool,
    /// Also the server's roles, memberships, settings of roles and tablespaces
    #[arg(long)]
    globals: bool,
    /// With --globals also the hashes of the roles' passwords; needs a superuser
    #[arg(long, requires = "globals")]
    role_passwords: bool,
    /// Also the users of a Redis server, with the hashes of their passwords, and its settings but those that are secret
    #[arg(long)]
    with_acl: bool,
    /// How the keys of Redis are had: by replication (one moment), key by key with SCAN and DUMP (each as it was when it
    /// was read), or by replication where the server allows it
    #[arg(long, value_name = "auto|psync|scan")]
    capture: Option<CaptureArg>,
    /// Try extensions in versions that nobody has tried, instead of refusing them
    #[arg(long)]
    untried_extensions: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CaptureArg {
    Auto,
    Psync,
    Scan,
}

pub(super) async fn run(args: BackupArgs, context: &Context) -> anyhow::Result<Exit> {
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
    let repository = context.open_repository().await?;
    // A part that was asked for by flags is a series of its own: it must never push a whole snapshot out, nor pass
    // for the latest one.
    let job = match part {
        true => format!("{}{}", context.config.job.id, find::PART),
        false => context.config.job.id.clone(),
    };
    let report = backup::run(Backup {
        repository: &repository,
        job: &job,
        sources: &endpoints,
        jobs: context.jobs(args.jobs),
        untried_extensions: args.untried_extensions,
        retention: context.config.retention.as_ref().filter(|_| !args.no_forget && !part),
        progress: &context.progress,
    })
    .await?;
    context.print(&report, || report.render())?;
    Ok(report.exit())
}
