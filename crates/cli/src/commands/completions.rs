//! `dbhaul completions`

use std::io::Write as _;

use clap::Args;

use crate::exit::Exit;
use crate::ui::stdout::Stdout;

const EXAMPLES: &str = "\
Examples:
  dbhaul completions bash > ~/.local/share/bash-completion/completions/dbhaul
      Complete commands and options in bash
  dbhaul completions zsh > \"${fpath[1]}/_dbhaul\"
      Complete them in zsh
  dbhaul completions fish > ~/.config/fish/completions/dbhaul.fish
      Complete them in fish";

/// Print a completion script for a shell
///
/// The script completes commands, options, their values and file names. It belongs to the version of dbhaul that
/// printed it: print it again after an update.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// Shell to print the script for
    #[arg(value_name = "SHELL")]
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &CompletionsArgs, mut cli: clap::Command) -> anyhow::Result<Exit> {
    let name = cli.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli, name, &mut script);
    Stdout.write_all(&script)?;
    Stdout.flush()?;
    Ok(Exit::Done)
}
