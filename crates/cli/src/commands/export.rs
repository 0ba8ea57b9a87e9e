//! `dbhaul export`

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::commands::filter::FilterArgs;
use crate::commands::inspect::is_path;
use crate::commands::job::JobArgs;
use crate::context::Context;
use crate::exit::{self, Exit};
use crate::jobs::export::{self, Export};
use crate::jobs::redis;
use crate::ui::stdout::Stdout;

const EXAMPLES: &str = "\
Examples:
  dbhaul export latest --format sql --output app.sql
      Write a script for psql -X -v ON_ERROR_STOP=1 -d new_database -f app.sql
  dbhaul export latest --format rdb --redis-version 6.2 --output dump.rdb
      Write an RDB file that Redis 6.2 loads
  dbhaul export dump.rdb --format json
      Print a line of JSON for each key of an RDB file";

/// Export a source of a snapshot to a format that other tools read
///
/// A PostgreSQL source becomes an SQL script for psql. A Redis source, or an RDB file, becomes an RDB file that a
/// server of the chosen version loads, commands for `redis-cli --pipe`, or a line of JSON for each key. An append-only
/// file becomes commands.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct ExportArgs {
    /// Snapshot (its id, the beginning of its id, or `latest`), or path of an RDB file, an AOF file or an AOF folder
    #[arg(value_name = "SNAPSHOT|FILE")]
    snapshot: String,
    /// Source to export, if the snapshot has several of the kind
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    #[command(flatten)]
    job: JobArgs,
    /// Format to write
    #[arg(long, value_name = "FORMAT")]
    format: Format,
    /// File to write, which must not exist, or `-` [default: standard output]
    ///
    /// A pipe, a terminal or another special file is written to as it is.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// PostgreSQL major version to write for [default: that of the source]
    #[arg(long, value_name = "MAJOR", help_heading = "PostgreSQL")]
    postgres_version: Option<u32>,
    /// Omit owners
    #[arg(long, help_heading = "PostgreSQL")]
    no_owner: bool,
    /// Omit grants and default privileges
    #[arg(long, help_heading = "PostgreSQL")]
    no_acl: bool,
    /// Omit rows
    #[arg(long, help_heading = "PostgreSQL")]
    schema_only: bool,
    /// Redis or Valkey version to write for: 6.2, valkey-8 [default: that of the source]
    #[arg(long, value_name = "VERSION", help_heading = "Redis")]
    redis_version: Option<redisdump::convert::commands::Target>,
    /// What to do with values that this version cannot hold
    #[arg(long, value_name = "POLICY", default_value = "refuse", help_heading = "Redis")]
    on_unsupported: OnUnsupported,
    /// Write commands that replace existing keys
    #[arg(long, help_heading = "Redis")]
    replace: bool,
    /// Include values of modules; a server without the module rejects them
    #[arg(long, help_heading = "Redis")]
    modules: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// An SQL script for psql
    Sql,
    /// An RDB file
    Rdb,
    /// Commands that create the values, for redis-cli --pipe
    Resp,
    /// RESTORE commands, for redis-cli --pipe
    Restore,
    /// A line of JSON for each key
    Json,
    /// The file of an imported dump, as it was
    File,
}

impl Format {
    fn of_redis(self) -> Option<redisdump::convert::export::Format> {
        match self {
            Format::Sql | Format::File => None,
            Format::Rdb => Some(redisdump::convert::export::Format::Rdb),
            Format::Resp => Some(redisdump::convert::export::Format::Resp),
            Format::Restore => Some(redisdump::convert::export::Format::Restore),
            Format::Json => Some(redisdump::convert::export::Format::Json),
        }
    }
}

/// What to do with values that the target version cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnUnsupported {
    /// Write nothing and list them
    Refuse,
    /// Leave them out and list them
    Skip,
}

pub(super) async fn run(args: ExportArgs, context: &Context) -> anyhow::Result<Exit> {
    let filter = args.filter.filter()?;
    if args.postgres_version.is_some_and(|version| !(12..100).contains(&version)) {
        return Err(exit::usage("--postgres-version expects a major version from 12 on"));
    }
    if is_path(&args.snapshot) && args.format.of_redis().is_none() {
        return Err(exit::usage("--format sql and --format file export a snapshot, not a file"));
    }
    let output = Output::of(args.output.as_deref());
    let mut out = std::io::BufWriter::with_capacity(1 << 18, output.open()?);
    let done = write(&args, filter, context, &mut out).await;
    if let (Err(_), Output::New(path)) = (&done, &output) {
        // A truncated script could be mistaken for a complete one.
        let _ = std::fs::remove_file(path);
    }
    done?;
    Ok(Exit::Done)
}

/// Destination of an export.
#[derive(Debug, PartialEq, Eq)]
enum Output<'a> {
    Stdout,
    /// A new file.
    New(&'a Path),
    /// An existing pipe, terminal or device. It is never removed.
    Special(&'a Path),
}

impl<'a> Output<'a> {
    fn of(path: Option<&'a Path>) -> Output<'a> {
        let Some(path) = path else { return Output::Stdout };
        // Opening /dev/stdout again would start at offset 0 of a file that the shell opened for appending.
        if ["-", "/dev/stdout", "/dev/fd/1"].iter().any(|name| path == Path::new(name)) {
            return Output::Stdout;
        }
        match path.metadata() {
            Ok(found) if !found.is_file() && !found.is_dir() => Output::Special(path),
            _ => Output::New(path),
        }
    }

    fn open(&self) -> anyhow::Result<Box<dyn std::io::Write>> {
        let mut options = std::fs::OpenOptions::new();
        options.write(true);
        let (path, doing) = match self {
            Output::Stdout => return Ok(Box::new(Stdout)),
            // An export never replaces a file, which could be the only copy. The file contains the database's data,
            // so only its owner can read it.
            Output::New(path) => {
                options.create_new(true).mode(0o600);
                (path, "create")
            }
            Output::Special(path) => (path, "open"),
        };
        let file = options.open(path).with_context(|| format!("cannot {doing} {}", path.display()))?;
        Ok(Box::new(file))
    }
}

async fn write(
    args: &ExportArgs,
    filter: pgmove::Filter,
    context: &Context,
    out: &mut dyn std::io::Write,
) -> anyhow::Result<()> {
    if args.format == Format::File {
        let repository = context.open_repository().await?;
        return export::imported(&repository, &args.snapshot, out, &context.progress).await;
    }
    let Some(format) = args.format.of_redis() else {
        let repository = context.open_repository().await?;
        let series = args.job.series(context);
        let export = Export {
            repository: &repository,
            snapshot: &args.snapshot,
            series: &series,
            source: args.source.as_deref(),
            version: args.postgres_version,
            filter,
            rows: !args.schema_only,
            render: pgmove::ddl::RenderOptions {
                no_owner: args.no_owner,
                no_acl: args.no_acl,
                ..pgmove::ddl::RenderOptions::default()
            },
            progress: &context.progress,
        };
        return export::sql(export, out).await;
    };
    let settings = redis::export::Settings {
        format,
        target: args.redis_version,
        skip: args.on_unsupported == OnUnsupported::Skip,
        replace: args.replace,
        modules: args.modules,
    };
    let report = if is_path(&args.snapshot) {
        redis::export::file(Path::new(&args.snapshot), settings, out, &context.progress).await?
    } else {
        let repository = context.open_repository().await?;
        let wanted = (&args.job.series(context), args.snapshot.as_str());
        let (source, progress) = (args.source.as_deref(), &context.progress);
        redis::export::stored(&repository, wanted, source, settings, out, progress).await?
    };
    if !report.left_out.is_empty() {
        let target = match args.format {
            Format::Json => "JSON".to_owned(),
            _ => report.target.to_string(),
        };
        context.progress.warn(format!("left out, because {target} cannot hold it:\n{}", report.left_out));
    }
    context.progress.note(format!("{} keys, {} bytes", report.keys, report.bytes_written));
    Ok(())
}
