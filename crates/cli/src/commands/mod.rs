//! One file per command: its flags, the job it calls, and its output. Commands do not move data, and jobs do not
//! parse or print.

pub(crate) mod backup;
pub(crate) mod baseline;
pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod copy;
pub(crate) mod doctor;
pub(crate) mod export;
mod files;
mod filter;
pub(crate) mod forget;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod inspect;
mod job;
pub(crate) mod key;
mod locks;
pub(crate) mod man;
pub(crate) mod migrate;
pub(crate) mod nightly;
pub(crate) mod pin;
pub(crate) mod prune;
mod reading;
mod redis_keys;
pub(crate) mod rehearse;
mod report;
pub(crate) mod restore;
pub(crate) mod schedule;
mod side;
pub(crate) mod snapshots;
mod sources;
pub(crate) mod stats;
pub(crate) mod status;
mod target;
pub(crate) mod undelete;
pub(crate) mod verify_file;

use clap::CommandFactory as _;

use crate::args::{Cli, Command};
use crate::context::Context;
use crate::exit::Exit;

/// Runs a command that describes the program and needs no configuration; `None` for any other.
pub(crate) fn describe(command: &Command) -> Option<anyhow::Result<Exit>> {
    match command {
        Command::Completions(args) => Some(completions::run(args, Cli::command())),
        Command::Man(args) => Some(man::run(args, Cli::command())),
        _ => None,
    }
}

/// Runs one command.
pub(crate) async fn run(command: Command, context: &Context) -> anyhow::Result<Exit> {
    match command {
        Command::Init(args) => init::run(args, context).await,
        Command::Backup(args) => backup::run(args, context).await,
        Command::Nightly(args) => nightly::run(args, context).await,
        Command::Doctor(args) => doctor::run(args, context).await,
        Command::Schedule(args) => schedule::run(args, context).await,
        Command::Status(args) => status::run(args, context).await,
        Command::Snapshots(args) => snapshots::run(args, context).await,
        Command::Restore(args) => restore::run(args, context).await,
        Command::Migrate(args) => migrate::run(args, context).await,
        Command::Compare(args) => compare::run(args, context).await,
        Command::Inspect(args) => inspect::run(args, context).await,
        Command::VerifyFile(args) => verify_file::run(args, context).await,
        Command::Export(args) => export::run(args, context).await,
        Command::Check(args) => check::run(args, context).await,
        Command::Forget(args) => forget::run(args, context).await,
        Command::Import(args) => import::run(args, context).await,
        Command::Key(args) => key::run(args, context).await,
        Command::Pin(args) => pin::pin(args, context).await,
        Command::Unpin(args) => pin::unpin(args, context).await,
        Command::Prune(args) => prune::run(args, context).await,
        Command::Undelete(args) => undelete::run(args, context).await,
        Command::Stats(args) => stats::run(args, context).await,
        Command::Copy(args) => copy::run(args, context).await,
        Command::Rehearse(args) => rehearse::run(args, context).await,
        Command::Baseline(args) => baseline::run(args, context).await,
        Command::Completions(args) => completions::run(&args, Cli::command()),
        Command::Man(args) => man::run(&args, Cli::command()),
    }
}
