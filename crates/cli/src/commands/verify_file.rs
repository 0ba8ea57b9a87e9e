//! `dbhaul verify-file`

use std::path::PathBuf;

use clap::Args;

use crate::context::Context;
use crate::exit::Exit;
use crate::report::verify_file::VerifyFileReport;

/// Checks an RDB file, an AOF file, or an AOF folder: checksum, and structure down to the last element.
///
/// Exit code 0 when it is whole; 3 with the offset of the first fault, or with the keys for which servers refuse a file
/// that can be read. Needs no server, and reads files that make a server abort.
#[derive(Debug, Args)]
pub(crate) struct VerifyFileArgs {
    /// dump.rdb, appendonly.aof, an AOF manifest, or the folder appendonlydir
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Try an RDB version that is newer than those known here
    #[arg(long)]
    force: bool,
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
    let report = match outcome {
        Ok(verified) => VerifyFileReport::read(verified),
        Err(fault) if fault.is_io() => return Err(fault.into()),
        Err(fault) => VerifyFileReport::at_fault(&args.file, &fault),
    };
    context.print(&report, || report.render())?;
    Ok(if report.is_whole() { Exit::Done } else { Exit::Differs })
}
