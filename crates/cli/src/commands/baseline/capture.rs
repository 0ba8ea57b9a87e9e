//! `dbhaul baseline capture`

use clap::Args;

use super::subject::SubjectArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::jobs::baseline;

/// Writes a baseline of a live database, or of the schema stored in a snapshot, to standard output.
///
/// It holds every extension, table and view with columns, constraints and indexes, in a stable order; checked against
/// the same database it passes. Edit it: take out what is nobody's business, and say what is optional where.
#[derive(Debug, Args)]
pub(super) struct CaptureArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    /// Only what lives in these schemas; may be repeated
    #[arg(long, value_name = "PATTERN")]
    schema: Vec<String>,
    /// Nothing that lives in these schemas; may be repeated
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
