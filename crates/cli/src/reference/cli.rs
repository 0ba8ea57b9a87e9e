//! docs/cli.md

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory as _};

use crate::args::Cli;

const GLOBAL: &str = "Global options";

#[test]
fn the_page_of_commands_is_current() {
    super::assert_current("cli.md", &page());
}

fn page() -> String {
    let mut cli = Cli::command().disable_help_subcommand(true).term_width(100);
    cli.build();
    let mut out = String::from(
        "# Commands and options\n\n<!-- Made from the flags of the program by `cargo test`: see CONTRIBUTING.md. -->\n\n",
    );
    let _ = writeln!(out, "{}\n", long_about(&cli));
    out.push_str("| command | |\n|---|---|\n");
    for command in shown(&cli) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(out, "| [`{0}`](#dbhaul-{0}) | {1} |", command.get_name(), cell(&about));
    }
    let _ = write!(out, "\n## {GLOBAL}\n\nEvery command takes these.\n\n");
    for arg in cli.get_arguments().filter(|arg| arg.get_help_heading() == Some(GLOBAL)) {
        option(&mut out, arg);
    }
    if let Some(more) = cli.get_after_long_help() {
        let _ = write!(out, "\n```text\n{more}\n```\n");
    }
    for command in shown(&cli) {
        describe(&mut out, command, "dbhaul", 2);
    }
    out
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set())
}

fn describe(out: &mut String, command: &Command, parent: &str, depth: usize) {
    let name = format!("{parent} {}", command.get_name());
    let _ = write!(out, "\n{} {name}\n\n{}\n", "#".repeat(depth), long_about(command));
    let usage = command.clone().render_usage().to_string();
    let _ = write!(out, "\n```text\n{}\n```\n", usage.trim_start_matches("Usage: "));
    let of_command = |arg: &&Arg| {
        !arg.is_hide_set()
            && arg.get_help_heading() != Some(GLOBAL)
            && !["help", "version"].contains(&arg.get_id().as_str())
    };
    let mut headings: Vec<&str> = Vec::new();
    for arg in command.get_arguments().filter(of_command) {
        let heading = heading(arg);
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    for wanted in headings {
        let _ = write!(out, "\n**{wanted}**\n\n");
        for arg in command.get_arguments().filter(of_command).filter(|arg| heading(arg) == wanted) {
            option(out, arg);
        }
    }
    if let Some(more) = command.get_after_long_help() {
        let more = more.to_string();
        let _ = match more.split_once("Examples:\n") {
            Some(("", examples)) => write!(out, "\n**Examples**\n\n```text\n{examples}\n```\n"),
            _ => write!(out, "\n```text\n{more}\n```\n"),
        };
    }
    for command in shown(command) {
        describe(out, command, &name, depth + 1);
    }
}

fn heading(arg: &Arg) -> &str {
    arg.get_help_heading().unwrap_or(if arg.is_positional() { "Arguments" } else { "Options" })
}

fn long_about(command: &Command) -> String {
    command.get_long_about().or_else(|| command.get_about()).map(ToString::to_string).unwrap_or_default()
}

/// An option as a list item.
fn option(out: &mut String, arg: &Arg) {
    let mut names = Vec::new();
    names.extend(arg.get_short().map(|short| format!("-{short}")));
    names.extend(arg.get_long().map(|long| format!("--{long}")));
    let takes_value = arg.get_num_args().is_some_and(|count| count.takes_values());
    let values = arg.get_value_names().filter(|_| takes_value).unwrap_or_default();
    let values = values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let shown = match (names.is_empty(), values.is_empty()) {
        (true, _) => values,
        (false, true) => names.join(", "),
        (false, false) => format!("{} {values}", names.join(", ")),
    };
    let help = arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(out, "- `{shown}`: {}", help.replace("\n\n", "\n\n  "));
    let mut more = Vec::new();
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if takes_value && !defaults.is_empty() && !arg.is_hide_default_value_set() {
        more.push(format!("Default: `{}`.", defaults.join(" ")));
    }
    if let Some(variable) = arg.get_env() {
        more.push(format!("Environment variable: `{}`.", variable.to_string_lossy()));
    }
    if !more.is_empty() {
        let _ = writeln!(out, "  {}", more.join(" "));
    }
    if takes_value && !arg.is_hide_possible_values_set() {
        for value in arg.get_possible_values().iter().filter(|value| !value.is_hide_set()) {
            let meaning = value.get_help().map(|help| format!(": {help}")).unwrap_or_default();
            let _ = writeln!(out, "  - `{}`{meaning}", value.get_name());
        }
    }
}

/// Text of a table cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
