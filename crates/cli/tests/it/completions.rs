//! Completion scripts and manual pages.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::process::Command;

use crate::common::{dbhaul, folder};

#[test]
fn each_shell_gets_a_script_with_all_commands() {
    let here = folder();
    // A broken configuration does not break the start of a shell.
    std::fs::write(here.path().join("dbhaul.toml"), "[nonsense").unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = dbhaul(here.path(), &["completions", shell]).exits(0);
        assert_eq!(run.stderr, "");
        for word in ["backup", "rehearse", "verify-file", "on-unsupported"] {
            assert!(run.stdout.contains(word), "{shell}: {word}");
        }
    }
    dbhaul(here.path(), &["completions", "tcsh"]).exits(2).says("powershell");
}

/// bash itself completes by it.
#[test]
fn bash_completes_commands_and_options() {
    let here = folder();
    let script = dbhaul(here.path(), &["completions", "bash"]).exits(0).stdout;
    std::fs::write(here.path().join("dbhaul.bash"), script).unwrap();
    let complete = |words: &str| {
        let program = format!(
            "source ./dbhaul.bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _dbhaul dbhaul \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        let output =
            Command::new("bash").current_dir(here.path()).args(["--norc", "-c", &program]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(complete("dbhaul reh").trim(), "rehearse");
    assert_eq!(complete("dbhaul export --on-uns").trim(), "--on-unsupported");
}

#[test]
fn the_manual_has_a_page_for_each_command_and_for_the_configuration() {
    let here = folder();
    let run = dbhaul(here.path(), &["man", "share/man"]).exits(0);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
    let read = |page: &str| std::fs::read_to_string(here.path().join("share/man").join(page)).unwrap();
    assert!(read("man1/dbhaul.1").contains(".TH dbhaul 1"));
    assert!(read("man1/dbhaul-backup.1").contains("limit\\-upload"));
    assert!(read("man1/dbhaul-key-rotate.1").contains("dbhaul-key-rotate"));
    assert!(!here.path().join("share/man/man1/dbhaul-man.1").exists(), "it is hidden");
    let configuration = read("man5/dbhaul.toml.5");
    for text in ["[[source]]", "keep\\-within", "DBHAUL_REPOSITORY", "REDISCLI_AUTH"] {
        assert!(configuration.contains(text), "{text}: {configuration}");
    }
    // The help does not list it.
    assert!(!dbhaul(here.path(), &["--help"]).stdout.contains("manual pages"));
}
