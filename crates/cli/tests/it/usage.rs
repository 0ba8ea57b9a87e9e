//! What a user sees before any server is contacted: help, configuration errors, exit codes.
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::{dbhaul, folder};

#[test]
fn every_command_explains_itself() {
    let here = folder();
    let commands = [
        "init",
        "backup",
        "snapshots",
        "restore",
        "migrate",
        "compare",
        "check",
        "forget",
        "key",
        "prune",
        "undelete",
        "stats",
        "copy",
        "rehearse",
        "baseline",
    ];
    for name in commands {
        let run = dbhaul(here.path(), &[name, "--help"]).exits(0);
        assert!(run.stdout.contains("Usage: dbhaul"), "{name}: {}", run.stdout);
    }
    dbhaul(here.path(), &["--version"]).exits(0).shows("dbhaul");
}

#[test]
fn a_missing_source_or_repository_is_a_usage_error() {
    let here = folder();
    dbhaul(here.path(), &["backup"]).exits(2).says("nothing to back up");
    dbhaul(here.path(), &["snapshots"]).exits(2).says("--repository");
    dbhaul(here.path(), &["--config", "nope.toml", "snapshots"]).exits(2).says("nope.toml does not exist");
    dbhaul(here.path(), &["compare", "mysql://h/x", "postgres://h/x"]).exits(2).says("mysql://");
    dbhaul(here.path(), &["compare", "redis://h", "postgres://h/x"]).exits(2).says("one kind");
    dbhaul(here.path(), &["nonsense"]).exits(2);
}

#[test]
fn a_misspelt_key_names_line_and_nearest_key() {
    let here = folder();
    std::fs::write(here.path().join("dbhaul.toml"), "[repository]\nurl = \"r\"\n[retention]\ndayly = 7\n")
        .unwrap();
    dbhaul(here.path(), &["snapshots"]).exits(2).says("dbhaul.toml:4").says("did you mean `daily`");
}

#[test]
fn init_writes_a_configuration_once_and_a_repository() {
    let here = folder();
    dbhaul(here.path(), &["init", "--repository", "store"]).exits(0).shows("wrote dbhaul.toml");
    let first = std::fs::read_to_string(here.path().join("dbhaul.toml")).unwrap();
    assert!(first.contains("url = \"store\""));
    let listed = dbhaul(here.path(), &["snapshots", "--json"]).exits(0);
    assert_eq!(listed.json()["snapshots"].as_array().unwrap().len(), 0);
    // A second init finds the repository there, says so, and touches nothing.
    dbhaul(here.path(), &["init"]).exits(5).says("already");
    assert_eq!(std::fs::read_to_string(here.path().join("dbhaul.toml")).unwrap(), first);
}

#[test]
fn a_folder_without_a_repository_is_reported() {
    let here = folder();
    let run = dbhaul(here.path(), &["snapshots", "--repository", "nothing-here"]).exits(1);
    assert!(run.stderr.contains("dbhaul init"), "{}", run.stderr);
}

#[test]
fn tls_files_are_relative_to_the_configuration() {
    let here = folder();
    dbhaul(here.path(), &["init", "--repository", "store"]).exits(0);
    let source = "[repository]\nurl = \"store\"\n[[source]]\nname = \"keys\"\nkind = \"redis\"\n";
    let write =
        |more: &str| std::fs::write(here.path().join("dbhaul.toml"), format!("{source}{more}")).unwrap();
    write("url = \"rediss://127.0.0.1:1\"\ntls-cacert = \"ca.pem\"\n");
    let expected = format!("cacert {}: No such file", here.path().join("ca.pem").display());
    let config = here.path().join("dbhaul.toml").display().to_string();
    dbhaul(here.path(), &["--config", &config, "backup"]).exits(1).says(&expected);
    write("url = \"rediss://127.0.0.1:1\"\ntls-cert = \"client.pem\"\n");
    dbhaul(here.path(), &["backup"]).exits(2).says("cert and key require each other");
    write("url = \"redis://127.0.0.1:1\"\ntls-cacert = \"ca.pem\"\n");
    dbhaul(here.path(), &["backup"]).exits(2).says("rediss://");
}

#[test]
fn an_unreachable_server_and_a_hostile_url_give_one_clear_error() {
    let here = folder();
    dbhaul(here.path(), &["init", "--repository", "store"]).exits(0);
    // Nothing listens on port 1.
    let run =
        dbhaul(here.path(), &["backup", "--postgres", "postgres://u:topsecret@127.0.0.1:1/db"]).exits(1);
    assert!(run.stderr.contains("127.0.0.1") && !run.stderr.contains("topsecret"), "{}", run.stderr);
    assert!(run.stderr.contains("command line"), "warned of the password: {}", run.stderr);
    let run = dbhaul(here.path(), &["backup", "--redis", "redis://:topsecret@127.0.0.1:1"]).exits(1);
    assert!(run.stderr.contains("127.0.0.1") && !run.stderr.contains("topsecret"), "{}", run.stderr);
    dbhaul(here.path(), &["backup", "--postgres", "redis://127.0.0.1:1"]).exits(2);
    let listed = dbhaul(here.path(), &["snapshots", "--json"]).exits(0);
    assert_eq!(listed.json()["snapshots"].as_array().unwrap().len(), 0);
}
