//! `dbhaul copy`

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use repository::Repository;

use crate::context::{Context, init_command, open_store, read_access, with_remedy};
use crate::exit::Exit;
use crate::jobs::copy;

const EXAMPLES: &str = "\
Examples:
  dbhaul copy --to 's3://bucket/backups?endpoint=https://s3.example.org&region=eu-1'
      Copy every snapshot that the other repository lacks
  dbhaul copy --to /mnt/usb/backup latest
      Copy the newest snapshot
  dbhaul copy --to /mnt/usb/backup --to-key-file usb.key
      Copy into an encrypted repository";

/// Copy snapshots into another repository
///
/// Only chunks that are missing there are copied, and each is verified on the way. Without SNAPSHOT, every snapshot is
/// copied that the target neither has nor has forgotten. The target must exist (`dbhaul init`); its encryption and its
/// chunk size may differ. It needs its own retention (`dbhaul forget --repository …`). A damaged snapshot is
/// reported and skipped, and makes the exit code 3.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct CopyArgs {
    /// Snapshots to copy: ids, beginnings of ids, or `latest`
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    /// Repository to copy into
    #[arg(long, value_name = "URL|DIR", help_heading = "Target")]
    to: String,
    /// Key file of the target, if it is encrypted
    #[arg(long, value_name = "FILE", help_heading = "Target")]
    to_key_file: Option<PathBuf>,
    /// Identity of the target, instead of its key file; may be repeated
    #[arg(long, value_name = "FILE", help_heading = "Target")]
    to_identity: Vec<PathBuf>,
    /// Average rate of all uploads of this run, such as 10MiB/s [default: unlimited]
    #[arg(long, value_name = "RATE")]
    limit_upload: Option<repository::Rate>,
}

pub(super) async fn run(args: CopyArgs, context: &Context) -> anyhow::Result<Exit> {
    let from = context.open_repository().await?;
    let access = read_access(args.to_key_file.as_deref(), &args.to_identity)?;
    let to = Repository::open_with(open_store(&args.to)?, &access)
        .await
        .map_err(|error| with_remedy(error, || init_command(&args.to)))
        .context("cannot open the repository to copy into")?;
    let mut to = context.as_configured(to);
    if let Some(rate) = args.limit_upload {
        to = to.limit_uploads(rate);
    }
    let report = copy::run(&from, &to, &args.snapshots, &context.progress).await?;
    context.conclude(report.exit(), &report, || report.render())
}
