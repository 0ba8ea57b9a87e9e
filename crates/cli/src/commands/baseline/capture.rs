//! `dbhaul baseline capture`

use clap::Args;

use super::subject::SubjectArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::jobs::baseline;

const EXAMPLES: &str = "\
Examples:
  dbhaul baseline capture --to postgres://app@db-1/app > baseline.toml
      Capture the schema of a live database
  dbhaul baseline capture --snapshot latest > baseline.toml
      Capture the schema stored in a snapshot";

/// Print a baseline of a live database, or of the schema stored in a snapshot
///
/// The baseline lists every extension, table and view with columns, constraints and indexes, in a stable order. Checked
/// against the same database it passes. Edit it: remove what need not be checked, and mark what is optional where.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct CaptureArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    /// Include only these schemas; may be repeated
    #[arg(long, value_name = "PATTERN")]
    schema: Vec<String>,
    /// Exclude these schemas; may be repeated
    #[arg(long, value_name = "PATTERN")]
    exclude_schema: Vec<String>,
}

pub(super) async fn run(args: CaptureArgs, context: &Context) -> anyhow::Result<Exit> {
    let filter = pgmove::Filter {
        schemas: args.schema,
        exclude_schemas: args.exclude_schema,
        ..pgmove::Filter::default()
    };
    let subject = args.subject.subject(context).await?;
    let report = baseline::capture(&subject, &filter).await?;
    context.print(&report, || report.text.clone())?;
    Ok(Exit::Done)
}
