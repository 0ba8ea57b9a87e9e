//! `dbhaul man`: hidden, for packagers.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use clap_mangen::roff::{Roff, bold, roman};

use crate::config::keys::{TABLES, VARIABLES};
use crate::exit::Exit;

const EXAMPLES: &str = "\
Examples:
  dbhaul man /usr/local/share/man
      Install the manual pages of this version";

/// Write the manual pages into a folder
///
/// Writes man1/dbhaul.1, a page for each command, and man5/dbhaul.toml.5, which describes the configuration file. Pages
/// of the same names are replaced.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct ManArgs {
    /// Folder to write into; it is created if it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(super) fn run(args: &ManArgs, cli: clap::Command) -> anyhow::Result<Exit> {
    let version = cli.get_version().unwrap_or_default().to_owned();
    let commands = args.folder.join("man1");
    create(&commands)?;
    clap_mangen::generate_to(cli, &commands)
        .with_context(|| format!("cannot write into {}", commands.display()))?;
    let formats = args.folder.join("man5");
    create(&formats)?;
    let page = formats.join("dbhaul.toml.5");
    std::fs::write(&page, configuration(&version).to_roff())
        .with_context(|| format!("cannot write {}", page.display()))?;
    Ok(Exit::Done)
}

fn create(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

/// dbhaul.toml(5).
fn configuration(version: &str) -> Roff {
    let mut page = Roff::new();
    page.control("TH", ["dbhaul.toml", "5", "", &format!("dbhaul {version}"), ""]);
    page.control("SH", ["NAME"]);
    page.text([roman("dbhaul.toml - configuration of dbhaul")]);
    for table in TABLES {
        page.control("SH", [table.name]);
        page.text([roman(table.meaning)]);
        for key in table.keys {
            page.control("TP", []);
            page.text([bold(key.name)]);
            let set = [("default", key.default), ("environment", key.environment)];
            let set: Vec<String> = set
                .iter()
                .filter(|(_, text)| !text.is_empty())
                .map(|(what, text)| format!("{what}: {text}"))
                .collect();
            let more = if set.is_empty() { String::new() } else { format!(" [{}]", set.join("; ")) };
            page.text([roman(format!("{} ({}){more}", key.meaning, key.value))]);
        }
    }
    page.control("SH", ["ENVIRONMENT"]);
    for (name, meaning) in VARIABLES {
        page.control("TP", []);
        page.text([bold(*name)]);
        page.text([roman(*meaning)]);
    }
    page
}
