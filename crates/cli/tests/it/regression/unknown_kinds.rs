//! Snapshots of a later version with an unknown kind of source: it is not read as PostgreSQL.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::path::Path;

use repository::{InitOptions, PartHeader, Repository, SnapshotStart, SourceRecord, Store};

use crate::common::{dbhaul, folder};

async fn snapshot_of_a_newer_version(folder: &Path) -> String {
    let store = Store::folder(&folder.join("store")).unwrap();
    let repository = Repository::init(store, &InitOptions::default()).await.unwrap();
    let writer =
        repository.begin(SnapshotStart::new("default", chrono::Utc::now(), "a newer host")).await.unwrap();
    let stream = futures::stream::iter([Ok::<_, std::io::Error>(b"rows".to_vec().into())]);
    let part = writer.write_part(PartHeader::new("files/db", "sqlite/database"), stream).await.unwrap();
    let source = SourceRecord {
        name: "files".into(),
        kind: "sqlite".into(),
        server: serde_json::json!({ "version": "3.46" }),
        details: serde_json::json!({}),
        parts: vec![part],
    };
    writer.commit(vec![source], true).await.unwrap().id.to_string()
}

/// Issue 15, 3: `rehearse` and `compare` read any unknown kind as PostgreSQL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_kind_was_written_by_a_newer_version() {
    const NEWER: &str =
        "source `files` is of unknown kind `sqlite`: the snapshot was written by a newer version";
    let here = folder();
    let at = here.path();
    let id = snapshot_of_a_newer_version(at).await;
    let run = |args: &[&str]| dbhaul(at, &[args, &["--repository", "store"]].concat());

    let side = format!("{id}:files");
    run(&["compare", &side, &side]).exits(1).says(NEWER).says("hint: update dbhaul");
    let target = ["--postgres", "postgres://postgres@127.0.0.1:1/app"];
    run(&[&["restore", &id, "--source", "files"], &target[..]].concat()).exits(1).says(NEWER);

    // The rehearsal says nothing against the snapshot.
    run(&["rehearse", &id]).exits(4).shows(NEWER).shows("says nothing against the snapshot");
    let listed = run(&["snapshots", "--json"]).exits(0).json();
    let rehearsal = &listed["snapshots"][0]["rehearsal"];
    assert_eq!(rehearsal["incomplete"], true, "{rehearsal}");

    // It can be looked at, by name.
    run(&["inspect", &id]).exits(0).shows("sqlite");
}
