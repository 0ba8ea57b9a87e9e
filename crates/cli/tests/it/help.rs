//! The help of every command, as snapshots. After a change of a help text, run the tests with `INSTA_UPDATE=always`
//! and review the difference.
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::{dbhaul, folder};

/// Every command by its words, as the help itself lists them.
fn commands(words: &[String]) -> Vec<Vec<String>> {
    let here = folder();
    let mut args: Vec<&str> = words.iter().map(String::as_str).collect();
    args.push("--help");
    let help = dbhaul(here.path(), &args).exits(0).stdout;
    let mut found = vec![words.to_vec()];
    let listed = help.split_once("\nCommands:\n").map(|(_, rest)| rest).unwrap_or_default();
    for line in listed.lines().take_while(|line| line.starts_with("  ")) {
        let Some(name) = line.strip_prefix("  ").and_then(|line| line.split_whitespace().next()) else {
            continue;
        };
        if name != "help" && !line.starts_with("   ") {
            let mut deeper = words.to_vec();
            deeper.push(name.to_owned());
            found.extend(commands(&deeper));
        }
    }
    found
}

/// The text before, of and after the global options.
fn around_globals(help: &str) -> (&str, &str, &str) {
    let at = help.find("Global options:\n").unwrap();
    let (before, rest) = help.split_at(at);
    let end = rest.find("\nExample").unwrap();
    (before, &rest[..end], &rest[end..])
}

#[test]
fn the_help_of_every_command_is_as_its_snapshot() {
    let here = folder();
    let all = commands(&[]);
    assert!(all.len() > 25, "the list of commands was not found: {all:?}");
    for words in all {
        let args: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
        let run = dbhaul(here.path(), &args).exits(0);
        assert_eq!(run.stderr, "");
        // The snapshot of the whole program contains the global options; each command must show the same.
        let (before, globals, after) = around_globals(&run.stdout);
        let of_all = dbhaul(here.path(), &["--help"]).stdout;
        assert_eq!(globals, around_globals(&of_all).1, "{words:?}");
        let text = match words.is_empty() {
            true => run.stdout.clone(),
            false => format!("{before}(global options)\n{after}"),
        };
        let name = if words.is_empty() { "dbhaul".to_owned() } else { words.join("-") };
        insta::assert_snapshot!(name, text);
    }
}

/// `-h` is for users who know the command: one line per option, and a pointer to the long help.
#[test]
fn short_help_is_shorter_than_long_help() {
    let here = folder();
    for words in commands(&[]) {
        let help = |flag: &str| {
            let args: Vec<&str> = words.iter().map(String::as_str).chain([flag]).collect();
            dbhaul(here.path(), &args).exits(0).stdout
        };
        let (short, long) = (help("-h"), help("--help"));
        assert!(short.lines().count() < long.lines().count(), "{words:?}:\n{short}\n{long}");
        assert!(long.contains("Example"), "{words:?} has no example:\n{long}");
        assert!(short.contains("see more with '--help'"), "{words:?}:\n{short}");
    }
}

/// Global options are listed apart from the command's own.
#[test]
fn options_stand_under_headings_of_their_own() {
    let here = folder();
    let help = dbhaul(here.path(), &["restore", "--help"]).exits(0).stdout;
    let headings: Vec<&str> =
        help.lines().filter(|line| line.ends_with(':') && !line.starts_with(' ')).collect();
    for wanted in
        ["Arguments:", "Servers:", "Target:", "PostgreSQL target:", "Redis target:", "Global options:"]
    {
        assert!(headings.contains(&wanted), "{wanted} is missing in {headings:?}");
    }
}
