//! The command line: flags that every command shares, and the list of commands. Each command's own flags live with
//! the command.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::{
    backup, baseline, check, compare, copy, export, forget, init, inspect, key, migrate, prune, rehearse,
    restore, snapshots, stats, undelete, verify_file,
};

/// Moves and keeps the data of applications that live on PostgreSQL and Redis.
///
/// Migrates databases from server to server, backs them up into a repository (a folder or S3-compatible storage),
/// restores them, and proves that what arrived is what was sent, row by row and key by key. Speaks the servers' own
/// protocols: no pg_dump, psql or redis-cli is needed.
#[derive(Debug, Parser)]
#[command(name = "dbhaul", version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Exit codes: 0 done; 1 failed; 2 usage or configuration; 3 a check found differences; 4 part of the sources failed; \
5 refused by a safety rule; 130 interrupted.

Passwords are best kept out of arguments: PGPASSWORD, PGPASSFILE (~/.pgpass) and REDISCLI_AUTH are read, and \
dbhaul.toml knows password-file, password-command and ${VAR}.";

/// Flags that every command takes.
#[derive(Debug, Args)]
pub(crate) struct Shared {
    /// The configuration file [default: dbhaul.toml in this folder, if there is one]
    #[arg(long, global = true, value_name = "FILE", env = "DBHAUL_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// The backup repository: a folder, or s3://bucket/prefix?endpoint=…&region=…
    #[arg(long, global = true, value_name = "URL|DIR", env = "DBHAUL_REPOSITORY")]
    pub(crate) repository: Option<String>,

    /// The key file of an encrypted repository: lets this host write, list, forget and prune, and opens no backup
    #[arg(long, global = true, value_name = "FILE", env = "DBHAUL_KEY_FILE")]
    pub(crate) key_file: Option<PathBuf>,

    /// An age identity that opens an encrypted repository; may be given several times
    #[arg(long, global = true, value_name = "FILE", env = "DBHAUL_IDENTITY_FILE")]
    pub(crate) identity: Vec<PathBuf>,

    /// Print the result as JSON on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Show no progress; warnings and errors are still shown
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a commented dbhaul.toml and create the repository
    Init(init::InitArgs),
    /// Take one snapshot of every source, then apply retention
    Backup(backup::BackupArgs),
    /// List the snapshots: when, of what, how large, and what was proven of them
    Snapshots(snapshots::SnapshotsArgs),
    /// Restore a snapshot into empty servers, and prove it
    Restore(restore::RestoreArgs),
    /// Move a database straight from server to server, and prove it; nothing lands on disk
    Migrate(migrate::MigrateArgs),
    /// Compare two databases row by row, or two Redis servers key by key
    Compare(compare::CompareArgs),
    /// List what a snapshot holds, or an RDB or AOF file: tables and objects, keys by type and prefix
    Inspect(inspect::InspectArgs),
    /// Check an RDB file, an AOF file or an AOF folder: checksum, and structure down to the last element
    VerifyFile(verify_file::VerifyFileArgs),
    /// Write a source of a snapshot in a form that needs no dbhaul: a script for psql, an RDB, commands, JSON
    Export(export::ExportArgs),
    /// Check that the repository is whole
    Check(check::CheckArgs),
    /// Apply the retention policy: say what goes and what stays, and let it go
    Forget(forget::ForgetArgs),
    /// Bring forgotten snapshots back, as long as their grace is not over
    Undelete(undelete::UndeleteArgs),
    /// Free the space of what no snapshot needs any more
    Prune(prune::PruneArgs),
    /// Show what the snapshots hold and cost, and what pruning would free
    Stats(stats::StatsArgs),
    /// Copy snapshots into a second repository: only what is missing there
    Copy(copy::CopyArgs),
    /// Keys of an encrypted repository: make, list, add, remove, export
    Key(key::KeyArgs),
    /// Restore a snapshot into private servers that the tool starts itself, and prove it
    Rehearse(rehearse::RehearseArgs),
    /// Check a schema against a declared baseline
    Baseline(baseline::BaselineArgs),
}
