//! `dbhaul copy`

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use repository::Repository;

use crate::context::{Context, open_store, read_access};
use crate::exit::Exit;
use crate::jobs::copy;

/// Copies snapshots into a second repository: only the chunks that are missing there, each verified on the way.
///
/// Without names, every snapshot is copied that the target neither lists nor is known to have forgotten. The target
/// may be encrypted otherwise, or not at all, and may cut otherwise: `dbhaul init` made it. It needs a retention of its
/// own (`dbhaul forget --repository …`). A damaged snapshot is named and left out, and the command ends with exit code 3.
#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// The repository to copy into
    #[arg(long, value_name = "URL|DIR")]
    to: String,
    /// The target's key file, if it is encrypted
    #[arg(long, value_name = "FILE")]
    to_key_file: Option<PathBuf>,
    /// An identity of the target, in the key file's place
    #[arg(long, value_name = "FILE")]
    to_identity: Vec<PathBuf>,
    /// Only these snapshots: ids, their beginnings, or `latest`
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
}

pub(super) async fn run(args: CopyArgs, context: &Context) -> anyhow::Result<Exit> {
    let from = context.open_repository().await?;
    let access = read_access(args.to_key_file.as_deref(), &args.to_identity)?;
    let to = Repository::open_with(open_store(&args.to)?, &access)
        .await
        .context("cannot open the repository to copy into")?;
    let report = copy::run(&from, &context.at_level(to), &args.snapshots, &context.progress).await?;
    context.print(&report, || report.render())?;
    Ok(report.exit())
}
