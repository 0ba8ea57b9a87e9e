//! docs/configuration.md

use std::fmt::Write as _;

use clap::CommandFactory as _;

use crate::args::Cli;
use crate::config::keys::{TABLES, VARIABLES};

const BEGINNING: &str = "\
# Configuration

<!-- Made from the table of keys by `cargo test`: see CONTRIBUTING.md. -->

`dbhaul init` writes a commented `dbhaul.toml`. Every command also works from flags alone. The file that is read is the
first that exists of: the one named by `--config` or `DBHAUL_CONFIG`, `./dbhaul.toml`,
`$XDG_CONFIG_HOME/dbhaul/dbhaul.toml` (`~/.config` when unset), `/etc/dbhaul/dbhaul.toml`.

The file is TOML. An unknown key is an error that names the line and the nearest key that exists. Relative paths start
at the folder of the file. `${VAR}` in `url`, `password` and `passphrase` is replaced from the environment, and a variable
that is not set is an error; `$${` stands for a plain `${`. A flag takes precedence over its environment variable, and
`DBHAUL_*` variables over the file. The variables of libpq and `REDISCLI_AUTH` fill in what the URL and the file leave out.
";

#[test]
fn the_page_of_the_configuration_is_current() {
    let mut page = BEGINNING.to_owned();
    for table in TABLES {
        let _ = write!(page, "\n## `{}`\n\n{}\n\n", table.name, table.meaning);
        page.push_str("| key | value | default | environment | meaning |\n|---|---|---|---|---|\n");
        for key in table.keys {
            let default = if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
            let _ = writeln!(
                page,
                "| `{}` | {} | {default} | {} | {} |",
                key.name,
                key.value,
                key.environment.replace('*', "\\*"),
                key.meaning.replace('*', "\\*")
            );
        }
    }
    page.push_str("\n## Environment variables\n\n| variable | meaning |\n|---|---|\n");
    for arg in Cli::command().get_arguments() {
        if let (Some(variable), Some(long)) = (arg.get_env(), arg.get_long()) {
            let _ = writeln!(page, "| {} | Same as `--{long}`. |", variable.to_string_lossy());
        }
    }
    for (name, meaning) in VARIABLES {
        let _ = writeln!(page, "| {} | {meaning} |", name.replace('*', "\\*"));
    }
    super::assert_current("configuration.md", &page);
}
