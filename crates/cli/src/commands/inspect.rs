//! `dbhaul inspect`

use clap::Args;

use crate::context::Context;
use crate::exit::Exit;
use crate::jobs::inspect;

/// Lists what a snapshot holds: each source's server, tables with rows and digests, and every object of the schema.
///
/// Nothing is restored and no server is needed.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The snapshot: its id, the beginning of its id, or `latest`
    #[arg(value_name = "SNAPSHOT|latest", default_value = "latest")]
    snapshot: String,
    /// Only this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// List every object of the schema by kind and name
    #[arg(long)]
    objects: bool,
}

pub(super) async fn run(args: InspectArgs, context: &Context) -> anyhow::Result<Exit> {
    let repository = context.open_repository().await?;
    let report = inspect::run(&repository, &args.snapshot, args.source.as_deref()).await?;
    context.print(&report, || report.render(args.objects))?;
    Ok(Exit::Done)
}
