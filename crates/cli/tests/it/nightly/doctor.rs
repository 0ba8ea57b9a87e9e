//! Findings of the doctor in a working setup, and for each kind of problem.
#![allow(clippy::unwrap_used, reason = "test code")]

use super::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_what_would_fail_and_how_to_fix_it() {
    let Some(stage) = Stage::start().await else { return };
    let sound = stage.run(&["doctor", "--send-test"]).exits(0);
    for line in [
        "ok       postgres: PostgreSQL 15",
        "ok       postgres: every table can be read",
        "100 keys, run id",
        "ok       repository: ",
        "and its clock agrees",
        "free on the disk of",
        "warning  schedule: no run is recorded on this host",
        "a test notice to `discord` was delivered",
    ] {
        assert!(sound.stdout.contains(line), "{line}\n{}", sound.stdout);
    }
    assert_eq!(stage.told.take("/ping/s3cret/log").len(), 1);
    assert_eq!(stage.told.notices().len(), 1);

    // A role that may not read, Redis gone, a folder that is not there.
    stage.sql("CREATE ROLE reader LOGIN PASSWORD 'x'; REVOKE ALL ON positions FROM PUBLIC").await;
    stage.configure("redis://127.0.0.1:1");
    let config = stage.here.path().join("dbhaul.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let (before, rest) = text.split_once("postgres://").unwrap();
    let (_, rest) = rest.split_once('@').unwrap();
    std::fs::write(&config, format!("{before}postgres://reader:x@{rest}")).unwrap();
    std::fs::remove_dir_all(stage.here.path().join("textfile")).unwrap();
    let found = stage.run(&["doctor", "--json"]).exits(3).json();
    let failures: Vec<(String, String)> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["verdict"] == "failure")
        .map(|finding| (finding["subject"].as_str().unwrap().to_owned(), finding.to_string()))
        .collect();
    let subjects: Vec<&str> = failures.iter().map(|(subject, _)| subject.as_str()).collect();
    assert_eq!(subjects, ["postgres", "redis", "metrics"], "{failures:?}");
    assert!(failures[0].1.contains("GRANT pg_read_all_data TO \\\"reader\\\""), "{failures:?}");
}
