//! The command line: the shared flags and the list of commands. Each command's own flags are defined with the
//! command.

use clap::{Parser, Subcommand};

use crate::commands::{
    backup, baseline, check, compare, completions, copy, doctor, export, forget, import, init, inspect, key,
    man, migrate, nightly, pin, prune, rehearse, restore, schedule, snapshots, stats, status, undelete,
    verify_file,
};
use crate::shared_args::Shared;

/// Migrate, back up, restore and verify PostgreSQL and Redis
///
/// dbhaul copies databases from server to server, backs them up into a repository (a folder or object storage),
/// restores them, and verifies row by row and key by key that the copy equals the original. It speaks the servers' own
/// protocols: pg_dump, psql and redis-cli are not needed.
#[derive(Debug, Parser)]
#[command(name = "dbhaul", version, max_term_width = 100, after_help = AFTER_HELP, after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "`dbhaul COMMAND --help` explains a command and shows examples.";

const AFTER_LONG_HELP: &str = "\
Examples:
  dbhaul rehearse --demo                  Try everything on private servers with sample data
  dbhaul init --repository /var/backups   Create a repository and a commented dbhaul.toml
  dbhaul backup                           Back up every source in dbhaul.toml
  dbhaul nightly                          The same as cron calls it: with a check, notices and metrics
  dbhaul status                           Show whether the data is safe

Exit codes:
  0    done
  1    failed
  2    wrong usage or configuration
  3    a check found differences
  4    some of the sources failed
  5    refused by a safety rule
  130  interrupted

Configuration, the first that exists of: --config or DBHAUL_CONFIG, ./dbhaul.toml,
$XDG_CONFIG_HOME/dbhaul/dbhaul.toml (~/.config when unset), /etc/dbhaul/dbhaul.toml.

Keep passwords out of arguments: set PGPASSWORD, PGPASSFILE (~/.pgpass) or REDISCLI_AUTH, or use
password-file, password-command or ${VAR} in dbhaul.toml.";

// No doc comments on the variants: they would replace the short and the long help of the structs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(init::InitArgs),
    Backup(backup::BackupArgs),
    Nightly(nightly::NightlyArgs),
    Status(status::StatusArgs),
    Schedule(schedule::ScheduleArgs),
    Doctor(doctor::DoctorArgs),
    Snapshots(snapshots::SnapshotsArgs),
    Restore(restore::RestoreArgs),
    Migrate(migrate::MigrateArgs),
    Compare(compare::CompareArgs),
    Inspect(inspect::InspectArgs),
    VerifyFile(verify_file::VerifyFileArgs),
    Export(export::ExportArgs),
    Import(import::ImportArgs),
    Check(check::CheckArgs),
    Forget(forget::ForgetArgs),
    Undelete(undelete::UndeleteArgs),
    Pin(pin::PinArgs),
    Unpin(pin::UnpinArgs),
    Prune(prune::PruneArgs),
    Stats(stats::StatsArgs),
    Copy(copy::CopyArgs),
    Key(key::KeyArgs),
    Rehearse(rehearse::RehearseArgs),
    Baseline(baseline::BaselineArgs),
    Completions(completions::CompletionsArgs),
    #[command(hide = true)]
    Man(man::ManArgs),
}
