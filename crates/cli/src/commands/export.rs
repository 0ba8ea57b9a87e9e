//! `dbhaul export`

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::commands::filter::FilterArgs;
use crate::commands::inspect::is_path;
use crate::context::Context;
use crate::exit::{self, Exit};
use crate::jobs::export::{self, Export};
use crate::jobs::export_redis;

/// Writes a source of a snapshot in a form that needs no dbhaul: nobody is locked in.
///
/// A PostgreSQL source becomes an SQL script (schema, rows in COPY blocks) that plain psql restores:
/// `psql -X -v ON_ERROR_STOP=1 -d new_database -f script.sql`. A Redis source, or an RDB file, becomes an RDB that a
/// server of the wanted version loads, commands for `redis-cli --pipe`, or a line of JSON for each key; an append-only
/// file becomes commands.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The snapshot (its id, the beginning of its id, or `latest`), or the path of an RDB file, an AOF file or an AOF folder
    #[arg(value_name = "SNAPSHOT|FILE")]
    snapshot: String,
    /// Which source, if it has several of the kind
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// The form
    #[arg(long, value_name = "FORMAT")]
    format: Format,
    /// The file to write, which must not exist [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write for this major version of PostgreSQL [default: that of the source]
    #[arg(long, value_name = "MAJOR")]
    postgres_version: Option<u32>,
    /// Leave owners out
    #[arg(long)]
    no_owner: bool,
    /// Leave grants and default privileges out
    #[arg(long)]
    no_acl: bool,
    /// Leave rows out
    #[arg(long)]
    schema_only: bool,
    /// Write for this version of Redis or Valkey: 6.2, valkey-8 [default: that of the source]
    #[arg(long, value_name = "VERSION")]
    redis_version: Option<redisdump::emit::Target>,
    /// What to do about what that version cannot hold
    #[arg(long, value_name = "refuse|skip", default_value = "refuse")]
    on_unsupported: OnUnsupported,
    /// Commands delete or replace what a server has under the same names
    #[arg(long)]
    replace: bool,
    /// Values of modules too; a server without the module refuses them
    #[arg(long)]
    modules: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A script for psql
    Sql,
    /// An RDB for a server of the wanted version
    Rdb,
    /// Commands that make the values, for redis-cli --pipe
    Resp,
    /// RESTORE commands, for redis-cli --pipe
    Restore,
    /// A line of JSON for each key
    Json,
}

impl Format {
    fn of_redis(self) -> Option<redisdump::export::Format> {
        match self {
            Format::Sql => None,
            Format::Rdb => Some(redisdump::export::Format::Rdb),
            Format::Resp => Some(redisdump::export::Format::Resp),
            Format::Restore => Some(redisdump::export::Format::Restore),
            Format::Json => Some(redisdump::export::Format::Json),
        }
    }
}

/// What is done about what the target cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnUnsupported {
    /// Write nothing, and name all of it
    Refuse,
    /// Leave it out, and name it
    Skip,
}

pub(super) async fn run(args: ExportArgs, context: &Context) -> anyhow::Result<Exit> {
    let filter = args.filter.filter()?;
    if args.postgres_version.is_some_and(|version| !(12..100).contains(&version)) {
        return Err(exit::usage("--postgres-version wants a major version from 12 on"));
    }
    if is_path(&args.snapshot) && args.format == Format::Sql {
        return Err(exit::usage("an SQL script is made from a snapshot; of files, RDB files are exported"));
    }
    let mut out: Box<dyn std::io::Write> = match &args.output {
        // An export never replaces a file: it could be the last one.
        Some(path) => Box::new(std::io::BufWriter::with_capacity(
            1 << 18,
            std::fs::File::create_new(path).with_context(|| format!("cannot make {}", path.display()))?,
        )),
        None => Box::new(std::io::BufWriter::with_capacity(1 << 18, std::io::stdout().lock())),
    };
    let done = write(&args, filter, context, &mut out).await;
    if let (Err(_), Some(path)) = (&done, &args.output) {
        // Half a script would pass for a whole one.
        let _ = std::fs::remove_file(path);
    }
    done?;
    Ok(Exit::Done)
}

async fn write(
    args: &ExportArgs,
    filter: pgmove::Filter,
    context: &Context,
    out: &mut dyn std::io::Write,
) -> anyhow::Result<()> {
    let Some(format) = args.format.of_redis() else {
        let repository = context.open_repository().await?;
        let export = Export {
            repository: &repository,
            snapshot: &args.snapshot,
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
    let settings = export_redis::Settings {
        format,
        target: args.redis_version,
        skip: args.on_unsupported == OnUnsupported::Skip,
        replace: args.replace,
        modules: args.modules,
    };
    let report = if is_path(&args.snapshot) {
        export_redis::file(std::path::Path::new(&args.snapshot), settings, out, &context.progress).await?
    } else {
        let repository = context.open_repository().await?;
        export_redis::stored(&repository, &args.snapshot, args.source.as_deref(), settings, out).await?
    };
    if !report.losses.is_empty() {
        context.progress.warn(format!("left out, for {} cannot hold it:\n{}", report.target, report.losses));
    }
    context.progress.note(format!("{} keys, {} bytes", report.keys, report.bytes_written));
    Ok(())
}
