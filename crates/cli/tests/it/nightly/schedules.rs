//! Files of schedules: those in `deploy/` equal the output of `schedule print`, and the programs that read them
//! accept them.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "test code")]

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{dbhaul, folder};

pub(super) fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

/// Output for a scheduler, by file name.
fn printed(flag: &str) -> Vec<(String, String)> {
    let here = folder();
    let zones = ["--zone", "Asia/Seoul", "--host-zone", "UTC"];
    let run = dbhaul(here.path(), &[&["schedule", "print", flag, "--weekly", "--json"], &zones[..]].concat());
    let files = run.exits(0).json();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let name = |path: String| path.rsplit('/').next().unwrap().to_owned();
    files.as_array().unwrap().iter().map(|file| (name(text(&file["path"])), text(&file["text"]))).collect()
}

/// A difference is taken over with `DBHAUL_UPDATE_DOCS=1`.
#[test]
fn the_files_in_deploy_are_what_is_printed() {
    for (flag, folder) in
        [("--systemd", "systemd"), ("--cron", "cron"), ("--k8s", "kubernetes"), ("--compose", "compose")]
    {
        let folder = deploy().join(folder);
        let printed = printed(flag);
        for (name, text) in &printed {
            if std::env::var_os("DBHAUL_UPDATE_DOCS").is_some() {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(folder.join(name), text).unwrap();
            }
            assert_eq!(std::fs::read_to_string(folder.join(name)).unwrap(), *text, "{flag}: {name}");
        }
        let there = std::fs::read_dir(&folder).unwrap().count();
        assert_eq!(there, printed.len(), "{} holds more than is printed", folder.display());
    }
}

#[test]
fn systemd_finds_the_units_sound_and_closed() {
    let here = folder();
    dbhaul(here.path(), &["schedule", "install", "--systemd", "--weekly", "--to", "."]).exits(0);
    for service in ["dbhaul-nightly.service", "dbhaul-rehearse.service"] {
        let unit = here.path().join(service);
        let output = Command::new("systemd-analyze").args(["security", "--offline=yes"]).arg(&unit).output();
        let Ok(output) = output else {
            eprintln!("SKIPPED: systemd-analyze is not installed");
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let Some(line) = text.lines().find(|line| line.contains("Overall exposure level")) else {
            // Before 250 it reads no unit that is not installed.
            eprintln!("SKIPPED: this systemd-analyze knows no --offline");
            return;
        };
        let words = line.split_whitespace();
        let score: f64 = words.filter_map(|word| word.parse().ok()).next_back().unwrap();
        assert!(score <= 3.0, "{service}: {line}");
    }
    dbhaul(here.path(), &["schedule", "remove", "--systemd", "--to", "."]).exits(0).shows("removed");
    assert_eq!(std::fs::read_dir(here.path()).unwrap().count(), 0);
}

#[test]
fn a_schedule_takes_no_words_that_would_end_a_line() {
    let here = folder();
    for args in [["--user", "a\nExecStart=/bin/sh"], ["--image", "x\n- y"], ["--namespace", ""]] {
        dbhaul(here.path(), &[&["schedule", "print", "--systemd"], &args[..]].concat())
            .exits(2)
            .says("cannot be written into a schedule");
    }
    dbhaul(here.path(), &["schedule", "print"]).exits(2);
    dbhaul(here.path(), &["schedule", "install", "--cron", "--user", "no-such-user"])
        .exits(2)
        .says("there is no user `no-such-user`");
}

/// A program of the monitoring, from the host or from the folder that scripts/prepare fetches it to.
pub(super) fn monitoring(name: &str) -> Option<PathBuf> {
    let fetched = std::env::var_os("DBHAUL_MONITORING").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        fetched.map(|folder| folder.join("usr/bin")).into_iter().chain(std::env::split_paths(&path));
    let found = folders.map(|folder| folder.join(name)).find(|path| path.exists());
    if found.is_none() {
        eprintln!("SKIPPED: {name} is not installed (Debian: prometheus, prometheus-node-exporter)");
    }
    found
}

#[test]
#[ignore = "long: run by scripts/test --all"]
fn the_alert_rules_pass_their_tests() {
    let Some(promtool) = monitoring("promtool") else { return };
    let folder = deploy().join("prometheus");
    for args in [["check", "rules", "dbhaul.rules.yml"], ["test", "rules", "dbhaul.rules.test.yml"]] {
        let output = Command::new(&promtool).current_dir(&folder).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{args:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Every metric that the dashboard and the rules ask for is one that there is.
#[test]
fn the_dashboard_and_the_rules_name_metrics_that_exist() {
    let page = std::fs::read_to_string(deploy().join("../crates/cli/src/metrics/mod.rs")).unwrap();
    let dashboard = std::fs::read_to_string(deploy().join("grafana/dbhaul.json")).unwrap();
    let parsed: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let panels = parsed["panels"].as_array().unwrap();
    assert!(panels.len() > 8 && panels.iter().all(|panel| panel["datasource"]["uid"] == "prometheus"));
    let rules = std::fs::read_to_string(deploy().join("prometheus/dbhaul.rules.yml")).unwrap();
    let words = |text: &str| -> std::collections::BTreeSet<String> {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        words.filter(|word| word.starts_with("dbhaul_")).map(str::to_owned).collect()
    };
    for name in words(&dashboard).union(&words(&rules)) {
        assert!(page.contains(&format!("(\"{name}\", ")), "there is no metric {name}");
    }
}
