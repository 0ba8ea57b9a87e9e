//! Maintenance of a repository from the user's point of view: stats, partial checks, repair, copies, undelete and
//! prune.
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::{dbhaul, folder, quick_redis, redis};
use sandbox::testing::require_redis;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_is_cared_for_from_the_command_line() {
    let Some(binaries) = require_redis("7.0") else { return };
    let server = sandbox::Redis::start(&binaries, quick_redis()).unwrap();
    let mut connection = redis(&server.url()).await;
    for n in 0..200 {
        let value = format!("value {n} ").repeat(50);
        ::redis::cmd("SET").arg(n).arg(value).exec_async(&mut connection).await.unwrap();
    }
    let here = folder();
    let run = |args: &[&str]| dbhaul(here.path(), args);
    run(&["init"]).exits(0);
    let url = server.url();
    run(&["backup", "--redis", &url]).exits(0);
    run(&["backup", "--redis", &url]).exits(0);

    let stats = run(&["stats", "--json"]).exits(0).json();
    assert_eq!(stats["snapshots"].as_array().unwrap().len(), 2);
    assert!(stats["raw-bytes"].as_u64().unwrap() > stats["stored-bytes"].as_u64().unwrap());
    assert_eq!(stats["prune"]["deleted"], 0);
    run(&["stats"]).exits(0).shows("2 snapshots").shows("pruning would free");

    let portion = run(&["check", "--read-data=10%", "--json"]).exits(0).json();
    assert!(portion["data"]["chunks"].as_u64().unwrap() >= 1);
    run(&["check", "--read-data=5GiB"]).exits(0).shows("of them read");
    run(&["check", "--read-data=much"]).exits(2).says("is not a portion");
    run(&["check", "--read-data"]).exits(0).shows("all data read");

    // A second repository, then damage in the first: reported, quarantined, repaired by the next backup.
    run(&["init", "--repository", "second", "--config", "second.toml"]).exits(0);
    run(&["copy", "--to", "second"]).exits(0).shows("2 copied");
    let again = run(&["copy", "--to", "second", "latest", "--json"]).exits(0).json();
    assert_eq!(again["present"].as_array().unwrap().len(), 1);
    run(&["check", "--repository", "second", "--read-data"]).exits(0);
    run(&["copy", "--to", "nowhere"]).exits(1).says("does not contain a repository");

    let chunk = walk(&here.path().join("backup/chunks"));
    let mut bytes = std::fs::read(&chunk).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&chunk, bytes).unwrap();
    run(&["check", "--read-data"]).exits(3).shows("is damaged").shows("referenced by").shows("--repair");
    let report = run(&["check", "--read-data", "--repair", "--json"]).exits(3).json();
    assert_eq!(report["repair"]["damaged"].as_array().unwrap().len(), 1);
    run(&["copy", "--to", "second"]).exits(0);

    // An unreadable manifest is not copied, and the copy is not a success.
    let manifest = walk(&here.path().join("backup/snapshots"));
    let text = std::fs::read(&manifest).unwrap();
    std::fs::write(&manifest, &text[..text.len() / 2]).unwrap();
    run(&["copy", "--to", "second"]).exits(3).shows("was NOT copied").shows("1 failed");
    std::fs::write(&manifest, text).unwrap();
    run(&["copy", "--to", "second"]).exits(0);

    // Forgotten, listed as such, undeleted.
    let repository = repository::Store::open(
        here.path().join("second").to_str().unwrap(),
        &repository::StoreEnv::default(),
    );
    let repository = repository::Repository::open(repository.unwrap()).await.unwrap();
    let id = repository.find("latest").await.unwrap().id;
    repository.forget(std::slice::from_ref(&id), chrono::Utc::now()).await.unwrap();
    let second = ["--repository", "second"];
    let run2 = |args: &[&str]| dbhaul(here.path(), &[args, second.as_slice()].concat());
    run2(&["undelete"]).exits(0).shows(id.as_str()).shows("until");
    run2(&["undelete", "20200101T000000Z-000000"]).exits(1).says("no snapshot of this name was forgotten");
    run2(&["undelete", id.as_str()]).exits(0).shows("is listed again");
    run2(&["undelete"]).exits(0).shows("no forgotten snapshot");
    let dry = run2(&["prune", "--dry-run", "--json"]).exits(0).json();
    assert_eq!((&dry["dry-run"], &dry["marked"]), (&serde_json::json!(true), &serde_json::json!(0)));
    run2(&["prune", "--dry-run"]).exits(0).shows("free 0 bytes now");
    run2(&["prune"]).exits(0).shows("0 chunks deleted");

    // Settings that cannot be changed later.
    let third = ["init", "--repository", "third", "--config", "third.toml"];
    let init = |more: &[&str]| run(&[third.as_slice(), more].concat());
    init(&["--chunk-size", "32KiB"]).exits(2).says("from 64KiB to 4MiB");
    init(&["--chunk-size", "10%"]).exits(2).says("from 64KiB to 4MiB");
    init(&["--grace", "1"]).exits(2);
    init(&["--chunk-size", "256KiB", "--grace", "168"]).exits(0);
    let text = std::fs::read_to_string(here.path().join("third/dbhaul.json")).unwrap();
    let chosen: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(chosen["chunker"], serde_json::json!({ "min": 65_536, "average": 262_144, "max": 1_048_576 }));
    assert_eq!(chosen["grace-ms"], 168 * 3_600_000);
}

/// A snapshot repaired by a backup counts for the retention after it, although a check had found it damaged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mended_snapshot_counts_for_retention() {
    let Some(binaries) = require_redis("7.0") else { return };
    let server = sandbox::Redis::start(&binaries, quick_redis()).unwrap();
    let mut connection = redis(&server.url()).await;
    ::redis::cmd("SET").arg("key").arg("value").exec_async(&mut connection).await.unwrap();
    ::redis::cmd("SAVE").exec_async(&mut connection).await.unwrap();
    let here = folder();
    let rdb = here.path().join("dump.rdb");
    std::fs::copy(server.dir().join("dump.rdb"), &rdb).unwrap();
    let config = format!(
        "[repository]\nurl = \"backup\"\n[[source]]\nname = \"cache\"\nkind = \"redis\"\ndata-dir = \"{}\"\n\
         [retention]\nkeep-within = \"7d\"\n",
        rdb.display()
    );
    let run = |args: &[&str]| dbhaul(here.path(), args);
    run(&["init"]).exits(0);
    std::fs::write(here.path().join("dbhaul.toml"), config).unwrap();
    run(&["backup"]).exits(0);
    run(&["backup"]).exits(0);
    let counted = || {
        let plan = run(&["forget", "--dry-run", "--json"]).exits(0).json();
        let entries = plan["plan"]["entries"].as_array().unwrap().clone();
        let within = |entry: &&serde_json::Value| {
            entry["reasons"].as_array().unwrap().iter().any(|reason| reason["reason"] == "within")
        };
        (entries.len(), entries.iter().filter(within).count())
    };
    assert_eq!(counted(), (2, 2));
    let chunk = walk(&here.path().join("backup/chunks"));
    let mut bytes = std::fs::read(&chunk).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&chunk, bytes).unwrap();
    run(&["check", "--read-data", "--repair"]).exits(3).shows("writes chunks/");
    assert_eq!(counted(), (2, 0));
    run(&["backup"]).exits(0);
    assert_eq!(counted(), (3, 3));
    run(&["check", "--read-data"]).exits(0);
}

/// The largest file below a folder.
fn walk(folder: &std::path::Path) -> std::path::PathBuf {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        found.push(if path.is_dir() { walk(&path) } else { path });
    }
    found.into_iter().max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap()
}
