//! `dbhaul verify-file`

use std::path::{Path, PathBuf};

use clap::Args;
use redisdump::verify::Repaired;

use crate::context::Context;
use crate::exit::Exit;
use crate::report::verify_file::VerifyFileReport;

const EXAMPLES: &str = "\
Examples:
  dbhaul verify-file dump.rdb
      Verify an RDB file
  dbhaul verify-file appendonlydir
      Verify a multi-part AOF
  dbhaul verify-file appendonly.aof --repair-to repaired.aof
      Copy an AOF without its broken tail";

/// Verify an RDB file, an AOF file or an AOF folder: checksum and complete structure
///
/// The exit code is 0 if the file is intact, and 3 if it is damaged, with the offset of the first fault or the keys for
/// which servers reject it; 1 if its RDB version is too new to be read. Needs no server, and reads files that make a
/// server abort.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct VerifyFileArgs {
    /// dump.rdb, appendonly.aof, an AOF manifest, or the folder appendonlydir
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Try to read an RDB version newer than the supported ones
    #[arg(long)]
    force: bool,
    /// Copy an AOF without its broken tail to this path, which must not exist
    ///
    /// A single file is copied to a file, a multi-part AOF to a folder. The original is not changed. The exit code is 0 if
    /// the copy is intact.
    #[arg(long, value_name = "PATH")]
    repair_to: Option<PathBuf>,
}

pub(super) async fn run(args: VerifyFileArgs, context: &Context) -> anyhow::Result<Exit> {
    let task = context.progress.task(args.file.display().to_string(), None, "keys");
    let (file, force) = (args.file.clone(), args.force);
    let (outcome, task) = tokio::task::spawn_blocking(move || {
        let options = redisdump::verify::VerifyOptions { try_newer: force };
        let outcome = redisdump::verify::verify_file(&file, options, &mut |bytes| task.reached(bytes, 0));
        (outcome, task)
    })
    .await?;
    task.finish();
    let mut report = match outcome {
        Ok(verified) => VerifyFileReport::read(verified),
        Err(fault) if fault.is_io() => return Err(fault.into()),
        Err(fault) => VerifyFileReport::at_fault(&args.file, &fault),
    };
    if let Some(to) = args.repair_to {
        report.repaired(repair(&args.file, to).await);
    }
    let exit = report.exit();
    context.conclude(exit, &report, || report.render())
}

/// Copies the file without its broken tail; `None` if it has none.
async fn repair(file: &Path, to: PathBuf) -> anyhow::Result<Option<Repaired>> {
    let file = file.to_owned();
    Ok(tokio::task::spawn_blocking(move || redisdump::verify::repair(&file, &to)).await??)
}
