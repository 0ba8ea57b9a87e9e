//! `dbhaul compare`

use std::path::{Path, PathBuf};

use clap::Args;

use crate::commands::filter::FilterArgs;
use crate::commands::inspect::is_path;
use crate::commands::job::JobArgs;
use crate::commands::locks::LockArgs;
use crate::commands::redis_keys::RedisKeyArgs;
use crate::commands::report::ReportArgs;
use crate::commands::side;
use crate::commands::target::renamed;
use crate::context::Context;
use crate::endpoint::kind_of;
use crate::exit::Exit;
use crate::jobs::compare::{self, Compare, Side};

const EXAMPLES: &str = "\
Examples:
  dbhaul compare postgres://app@old/app postgres://app@new/app
      Compare the schema and every row of two databases
  dbhaul compare redis://old redis://new
      Compare every key of two servers
  dbhaul compare latest:postgres postgres://app@new/app
      Compare the newest snapshot with a database
  dbhaul compare --show 10 postgres://app@old/app postgres://app@new/app
      Show the first 10 differing rows of each table
  dbhaul compare dump.rdb redis://new
      Compare an RDB file with a server";

/// Compare two databases or two Redis servers completely
///
/// PostgreSQL: the schema object by object, and every row of every table by count and digest, each side as of one
/// moment. Redis: every key of every database by type, value and expiry, in both directions; or the selected keys, as
/// they arrive on the right side under the same flags as those of migrate and restore. Either side may be a
/// snapshot in the repository, or, for Redis, an RDB file. Neither side is written to. The exit code is 0 if both are
/// equal, 3 if they differ.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct CompareArgs {
    /// One side: a URL, a source in dbhaul.toml, a snapshot, or an RDB file
    ///
    /// A name that dbhaul.toml has a source of is that source. A snapshot is `latest`, its id, or the beginning of its id; write SNAPSHOT:SOURCE if it has several sources.
    #[arg(value_name = "URL|SOURCE|SNAPSHOT|FILE")]
    left: String,
    /// The other side, of the same kind
    #[arg(value_name = "URL|SOURCE|SNAPSHOT|FILE")]
    right: String,
    /// File with the password of the left server, on its first line
    ///
    /// PGPASSWORD and REDISCLI_AUTH go to both servers. Without this option, DBHAUL_FROM_PASSWORD is the password of
    /// the left server alone.
    #[arg(long, value_name = "FILE", alias = "from-password-file")]
    left_password_file: Option<PathBuf>,
    /// File with the password of the right server (otherwise DBHAUL_TO_PASSWORD)
    #[arg(long, value_name = "FILE", alias = "to-password-file")]
    right_password_file: Option<PathBuf>,
    #[command(flatten)]
    report: ReportArgs,
    #[command(flatten)]
    job: JobArgs,
    /// Compare the definitions of PostgreSQL objects, but no rows
    #[arg(long)]
    schema_only: bool,
    /// Count different settings of the databases as a difference
    ///
    /// Settings made by ALTER DATABASE … SET and ALTER ROLE … IN DATABASE … SET. `restore` and `migrate` carry them only
    /// with --create. Without this option they are listed as not compared.
    #[arg(long, help_heading = "PostgreSQL")]
    database_settings: bool,
    /// Ignore owners
    #[arg(long, help_heading = "PostgreSQL")]
    no_owner: bool,
    /// Ignore grants and default privileges
    #[arg(long, help_heading = "PostgreSQL")]
    no_acl: bool,
    /// Take a role of the left side for another role of the right side; may be repeated
    #[arg(long, value_name = "LEFT=RIGHT", help_heading = "PostgreSQL")]
    role_map: Vec<String>,
    #[command(flatten)]
    locks: LockArgs,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    keys: RedisKeyArgs,
    /// Number of connections per side
    #[arg(long, short, value_name = "N")]
    jobs: Option<usize>,
    /// Maximum number of differing rows of each table, or of differing keys, to list
    ///
    /// PostgreSQL: rows are listed only with this option, by the primary key (otherwise a unique key), with the values
    /// that differ, and at most 1000; long values are cut. Both sides must be servers. Redis: 20 keys without this option.
    #[arg(long, value_name = "N")]
    show: Option<usize>,
}

pub(super) async fn run(args: CompareArgs, context: &Context) -> anyhow::Result<Exit> {
    args.report.apply("compare", context)?;
    let mut stored = false;
    for text in [&args.left, &args.right] {
        stored |= !is_url(text) && !is_file(text) && side::configured(text, context)?.is_none();
    }
    let repository = match stored {
        true => Some(context.open_repository().await?),
        false => None,
    };
    let side_of = |named: &side::SideNames, text: &str, password: Option<&Path>| -> anyhow::Result<Side> {
        if is_url(text) || (!is_file(text) && side::configured(text, context)?.is_some()) {
            return Ok(Side::Server(Box::new(side::side(named, text, password, context)?)));
        }
        if is_file(text) {
            return Ok(Side::File(text.into()));
        }
        let (snapshot, source) = match text.split_once(':') {
            Some((snapshot, source)) => (snapshot, Some(source.to_owned())),
            None => (text, None),
        };
        Ok(Side::Snapshot { snapshot: snapshot.to_owned(), source })
    };
    if is_url(&args.left) {
        kind_of(&args.left)?;
    }
    let left = side_of(&side::LEFT, &args.left, args.left_password_file.as_deref())?;
    let right = side_of(&side::RIGHT, &args.right, args.right_password_file.as_deref())?;
    let servers = [&left, &right].into_iter().filter_map(|side| match side {
        Side::Server(server) => Some(&**server),
        Side::Snapshot { .. } | Side::File(_) => None,
    });
    let jobs = context.jobs_with(args.jobs, servers);
    let report = compare::run(Compare {
        left,
        right,
        repository: repository.as_ref(),
        series: args.job.series(context),
        filter: args.filter.filter()?,
        choice: args.keys.choice()?,
        schema_only: args.schema_only,
        database_settings: args.database_settings,
        render: pgmove::ddl::RenderOptions {
            no_owner: args.no_owner,
            no_acl: args.no_acl,
            role_map: renamed("--role-map", &args.role_map)?,
            ..pgmove::ddl::RenderOptions::default()
        },
        jobs,
        lock_wait: args.locks.wait(),
        show: args.show,
        progress: &context.progress,
    })
    .await?;
    let exit = if report.equal() { Exit::Done } else { Exit::Differs };
    context.conclude(exit, &report, || report.render())
}

/// Whether the text is a file name. `latest:postgres/app`, a source of a snapshot, may contain a slash too.
fn is_file(text: &str) -> bool {
    let source = text.split_once(':').is_some_and(|(snapshot, _)| !snapshot.contains(['/', '.']));
    is_path(text) && (!source || std::path::Path::new(text).exists())
}

/// Whether the text is a server's URL or a libpq conninfo string (`key=value`). Anything else is a snapshot.
fn is_url(text: &str) -> bool {
    text.contains("://") || text.contains('=')
}
