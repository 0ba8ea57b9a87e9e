//! Files of schedules: those in `deploy/` equal the output of `schedule print`, and the programs that read them
//! accept them.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "test code")]

use std::path::{Path, PathBuf};
use std::process::Command;

use sandbox::testing::require_kubectl;

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

/// The objects of a manifest as kubectl reads them, which it does without a cluster: as they are written, or as the types of
/// the API know them.
fn read_by_kubectl(kubectl: &Path, verb: &[&str], manifest: &Path) -> Vec<serde_json::Value> {
    let mut command = Command::new(kubectl);
    let output = command.args(verb).args(["--local", "-o", "json", "-f"]).arg(manifest).output().unwrap();
    assert!(output.status.success(), "{verb:?}: {}", String::from_utf8_lossy(&output.stderr));
    let objects = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
    objects.map(|object| object.unwrap()).collect()
}

/// The first place at which something that is written is not what was understood.
fn lost(written: &serde_json::Value, understood: &serde_json::Value, at: &str) -> Option<String> {
    use serde_json::Value;
    match (written, understood) {
        (Value::Object(written), Value::Object(understood)) => written.iter().find_map(|(name, value)| {
            let at = format!("{at}.{name}");
            understood.get(name).map_or_else(|| Some(at.clone()), |other| lost(value, other, &at))
        }),
        (Value::Array(written), Value::Array(understood)) if written.len() == understood.len() => {
            let both = written.iter().zip(understood).enumerate();
            both.into_iter().find_map(|(n, (left, right))| lost(left, right, &format!("{at}[{n}]")))
        }
        (left, right) => (left != right).then(|| format!("{at}: {left} is understood as {right}")),
    }
}

#[test]
fn kubectl_understands_every_field_of_the_cronjobs() {
    let Some(kubectl) = require_kubectl() else { return };
    let here = folder();
    let [(_, text)] = &printed("--k8s")[..] else { panic!("not one file") };
    let file = here.path().join("dbhaul.yaml");
    std::fs::write(&file, text).unwrap();
    let written = read_by_kubectl(&kubectl, &["label", "--overwrite", "app=dbhaul"], &file);
    let kinds: Vec<&str> = written.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["PersistentVolumeClaim", "CronJob", "CronJob"]);
    let claim = written[0]["metadata"]["name"].as_str().unwrap();

    let jobs = here.path().join("jobs.yaml");
    std::fs::write(&jobs, text.split_once("---\n").unwrap().1).unwrap();
    let understood = read_by_kubectl(&kubectl, &["set", "image", "dbhaul=other:1"], &jobs);
    for (job, understood) in written.iter().skip(1).zip(&understood) {
        let mut plain = job.clone();
        plain["metadata"].as_object_mut().unwrap().remove("labels");
        // What changes nothing prints nothing.
        plain["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"] = "other:1".into();
        assert_eq!(lost(&plain, understood, ""), None);
        assert_eq!(job["apiVersion"], "batch/v1");
        let spec = &job["spec"];
        assert_eq!((&spec["concurrencyPolicy"], &spec["timeZone"]), (&"Forbid".into(), &"Asia/Seoul".into()));
        assert!(spec["startingDeadlineSeconds"].as_u64().unwrap() > 0);
        let run = &spec["jobTemplate"]["spec"];
        assert_eq!(run["backoffLimit"], 0);
        assert!(run["activeDeadlineSeconds"].as_u64().unwrap() > 0);
        let pod = &run["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(
            (&pod["restartPolicy"], &pod["automountServiceAccountToken"]),
            (&"Never".into(), &false.into())
        );
        let [container] = &pod["containers"].as_array().unwrap()[..] else { panic!("{pod}") };
        let rights = &container["securityContext"];
        assert_eq!(rights["readOnlyRootFilesystem"], true);
        assert_eq!(rights["allowPrivilegeEscalation"], false);
        assert_eq!(rights["capabilities"]["drop"], serde_json::json!(["ALL"]));
        // Secrets come from secrets: the configuration as a file, what it takes from the environment as variables.
        assert_eq!(pod["volumes"][0]["secret"]["secretName"], "dbhaul-config");
        assert_eq!(pod["volumes"][0]["secret"]["defaultMode"], 0o440);
        assert_eq!(container["envFrom"][0]["secretRef"]["name"], "dbhaul-environment");
        assert_eq!(pod["volumes"][1]["persistentVolumeClaim"]["claimName"], claim);
        let mounts = container["volumeMounts"].as_array().unwrap();
        let at = |name: &str| mounts.iter().find(|mount| mount["name"] == name).unwrap()["mountPath"].clone();
        let variable = |name: &str| {
            let all = container["env"].as_array().unwrap();
            all.iter().find(|variable| variable["name"] == name).unwrap()["value"].clone()
        };
        assert_eq!(variable("STATE_DIRECTORY"), at("state"));
        assert!(variable("DBHAUL_CONFIG").as_str().unwrap().starts_with(at("config").as_str().unwrap()));
    }
    let schedules = [&written[1], &written[2]].map(|job| job["spec"]["schedule"].as_str().unwrap());
    assert_eq!(schedules, ["5 3 * * *", "30 4 * * 0"]);
    // A field that Kubernetes does not know is found.
    std::fs::write(
        &jobs,
        text.replace("concurrencyPolicy", "concurrentPolicy").split_once("---\n").unwrap().1,
    )
    .unwrap();
    let written = read_by_kubectl(&kubectl, &["label", "--overwrite", "app=dbhaul"], &jobs);
    let understood = read_by_kubectl(&kubectl, &["set", "image", "dbhaul=other:1"], &jobs);
    assert_eq!(lost(&written[0]["spec"], &understood[0]["spec"], "").as_deref(), Some(".concurrentPolicy"));
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
