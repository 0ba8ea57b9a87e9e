//! Flags of every command.

use std::path::PathBuf;

use clap::Args;

/// Flags of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Shared {
    /// Configuration file
    ///
    /// Default: the first that exists of ./dbhaul.toml, $XDG_CONFIG_HOME/dbhaul/dbhaul.toml (~/.config when unset) and
    /// /etc/dbhaul/dbhaul.toml.
    #[arg(long, global = true, value_name = "FILE", env = "DBHAUL_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,

    /// Backup repository: a folder, or s3://bucket/prefix?endpoint=…&region=…
    #[arg(long, global = true, value_name = "URL|DIR", env = "DBHAUL_REPOSITORY", hide_env_values = true)]
    pub(crate) repository: Option<String>,

    /// Key file of an encrypted repository
    ///
    /// With the key file this host can write, list, forget and prune. It cannot decrypt backups.
    #[arg(long, global = true, value_name = "FILE", env = "DBHAUL_KEY_FILE", hide_env_values = true)]
    pub(crate) key_file: Option<PathBuf>,

    /// File with an age identity that decrypts an encrypted repository; may be repeated
    #[arg(long, global = true, value_name = "FILE", env = "DBHAUL_IDENTITY_FILE", hide_env_values = true)]
    pub(crate) identity: Vec<PathBuf>,

    /// Print the result, or the error, as JSON on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Print nothing on success
    ///
    /// Progress and the report of a successful run are left out. Warnings, errors, and the report of a run that did
    /// not succeed are printed, and so is what a command is asked to list.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}
