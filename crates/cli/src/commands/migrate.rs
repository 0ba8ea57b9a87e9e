//! `dbhaul migrate`

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::commands::filter::FilterArgs;
use crate::commands::reading::ReadingArgs;
use crate::commands::report::ReportArgs;
use crate::commands::side::{FROM, TO, side};
use crate::commands::sources;
use crate::commands::target::TargetArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::jobs::baseline;
use crate::jobs::migrate::{self, Migrate, RowFormat};
use crate::jobs::plan;

const EXAMPLES: &str = "\
Examples:
  dbhaul migrate --from postgres://app@old/app --to postgres://app@new/app
      Copy a database into an empty one
  dbhaul migrate --from redis://old --to redis://new
      Copy all keys into an empty server
  dbhaul migrate --from postgres://app@old/app --to postgres://app@new/app --into-existing
      Copy only rows, into tables that the application has created";

/// Copy a database, or a Redis server, directly from server to server
///
/// Nothing is written to disk in between. The target must be empty; the source is only read. Every table and key is
/// then read back from the target and compared with the source.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct MigrateArgs {
    /// Server to read: postgres://… or redis://…, or the name of a source in dbhaul.toml
    #[arg(long, value_name = "URL|SOURCE", help_heading = "Servers")]
    from: String,
    /// Empty server to fill, of the same kind
    #[arg(long, value_name = "URL|SOURCE", help_heading = "Servers")]
    to: String,
    /// File with the password of the server to read, on its first line
    ///
    /// PGPASSWORD and REDISCLI_AUTH go to both servers. Without this option, DBHAUL_FROM_PASSWORD is the password of
    /// this server alone.
    #[arg(long, value_name = "FILE", help_heading = "Servers")]
    from_password_file: Option<PathBuf>,
    /// File with the password of the server to fill (otherwise DBHAUL_TO_PASSWORD)
    #[arg(long, value_name = "FILE", help_heading = "Servers")]
    to_password_file: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingArgs,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    report: ReportArgs,
    /// Format in which PostgreSQL rows are copied
    ///
    /// In binary the target does not have to parse numbers, timestamps and vectors. Digests are those of the text format,
    /// so a migration that is verified reads each binary table twice from the source.
    #[arg(long, value_name = "FORMAT", help_heading = "PostgreSQL target")]
    copy_format: Option<FormatArg>,
    /// Check the target's schema against this baseline; a failed check makes the exit code 3
    #[arg(long, value_name = "FILE", help_heading = "PostgreSQL target")]
    baseline: Option<PathBuf>,
    /// Environment whose part of the baseline applies
    #[arg(long, value_name = "NAME", help_heading = "PostgreSQL target")]
    environment: Option<String>,
}

/// Format of rows.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormatArg {
    /// With --no-proof, binary for each table whose types have a tested binary format; otherwise text
    Auto,
    /// Text
    Text,
    /// Binary for each table whose types have a tested binary format, text for the others
    Binary,
}

impl From<FormatArg> for RowFormat {
    fn from(format: FormatArg) -> RowFormat {
        match format {
            FormatArg::Auto => RowFormat::Auto,
            FormatArg::Text => RowFormat::Text,
            FormatArg::Binary => RowFormat::Binary,
        }
    }
}

pub(super) async fn run(args: MigrateArgs, context: &Context) -> anyhow::Result<Exit> {
    args.report.apply("migrate", context)?;
    let mut from = [side(&FROM, &args.from, args.from_password_file.as_deref(), context)?];
    let part = args.filter.apply(&mut from)?;
    let [from] = &from;
    let mut to = [side(&TO, &args.to, args.to_password_file.as_deref(), context)?];
    baseline::ready(args.baseline.as_deref(), args.environment.as_deref())?;
    sources::apply_baseline(&mut to, args.baseline, args.environment);
    let [to] = &to;
    let settings = args.target.settings(context.jobs_with(args.target.jobs, [from, to]), part)?;
    let migrate = Migrate {
        from,
        to,
        settings,
        reading: args.reading.reading(context),
        format: args.copy_format.map(RowFormat::from),
        progress: &context.progress,
    };
    if args.target.dry_run {
        let report = plan::of_migration(migrate).await?;
        return context.conclude(report.exit(), &report, || report.render());
    }
    let report = migrate::run(migrate).await?;
    context.conclude(report.exit(), &report, || report.render())
}
