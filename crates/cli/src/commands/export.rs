//! `dbhaul export`

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::commands::filter::FilterArgs;
use crate::context::Context;
use crate::exit::{self, Exit};
use crate::jobs::export::{self, Export};

/// Writes a source of a snapshot in a form that needs no dbhaul: nobody is locked in.
///
/// A PostgreSQL source becomes an SQL script (schema, rows in COPY blocks) that plain psql restores:
/// `psql -X -v ON_ERROR_STOP=1 -d new_database -f script.sql`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The snapshot: its id, the beginning of its id, or `latest`
    #[arg(value_name = "SNAPSHOT|latest")]
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
    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A script for psql
    Sql,
}

pub(super) async fn run(args: ExportArgs, context: &Context) -> anyhow::Result<Exit> {
    let filter = args.filter.filter()?;
    let repository = context.open_repository().await?;
    let Format::Sql = args.format;
    let mut out: Box<dyn std::io::Write> = match &args.output {
        // An export never replaces a file: it could be the last one.
        Some(path) => Box::new(std::io::BufWriter::with_capacity(
            1 << 18,
            std::fs::File::create_new(path).with_context(|| format!("cannot make {}", path.display()))?,
        )),
        None => Box::new(std::io::BufWriter::with_capacity(1 << 18, std::io::stdout().lock())),
    };
    if args.postgres_version.is_some_and(|version| !(12..100).contains(&version)) {
        return Err(exit::usage("--postgres-version wants a major version from 12 on"));
    }
    let done = export::sql(
        Export {
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
        },
        &mut out,
    )
    .await;
    if let (Err(_), Some(path)) = (&done, &args.output) {
        // Half a script would pass for a whole one.
        let _ = std::fs::remove_file(path);
    }
    done?;
    Ok(Exit::Done)
}
