//! Full disks, lost documents, read-only folders and unusual locations, from the user's point of view.
#![allow(clippy::print_stderr, reason = "a test that cannot run says so")]

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::common::{Run, command, dbhaul, folder, postgres};
use sandbox::testing::require_postgres;
use sandbox::{Postgres, PostgresOptions};

/// A file system of its own, gone with the value. Only root may mount one.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(size: &str) -> Option<Mounted> {
        let dir = folder();
        if mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], dir.path()) {
            return Some(Mounted(dir));
        }
        eprintln!("SKIPPED: a small file system cannot be mounted here (root is needed)");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).output();
    }
}

fn mount(options: &[&str], path: &Path) -> bool {
    Command::new("mount").args(options).arg(path).output().is_ok_and(|output| output.status.success())
}

/// A server with one table of about this many bytes.
async fn server(bytes: usize) -> Option<Postgres> {
    let server = Postgres::start(&require_postgres(15)?, PostgresOptions::default()).unwrap();
    let rows = bytes / 64;
    let sql = format!(
        "CREATE TABLE t AS SELECT md5(g::text) || md5((g * 7)::text) AS a FROM generate_series(1, {rows}) g"
    );
    postgres(&server.url("postgres")).await.batch_execute(&sql).await.unwrap();
    Some(server)
}

fn init(here: &Path) {
    dbhaul(here, &["init", "--no-config", "--repository", "store"]).exits(0);
}

fn backup(here: &Path, server: &Postgres) -> Run {
    // Several servers stand for one that grows.
    let url = server.url("postgres");
    dbhaul(here, &["backup", "--new-lineage", "--repository", "store", "--postgres", &url])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_fills_the_disk_says_how_to_free_it_and_that_works() {
    let Some(disk) = Mounted::new("8m") else { return };
    let (Some(small), Some(large)) = (server(100_000).await, server(30_000_000).await) else { return };
    let here = disk.0.path();
    init(here);
    backup(here, &small).exits(0);
    let run = backup(here, &large).exits(1);
    run.says("the disk is full").says("dbhaul prune --now").says("the next run reuses");
    // Another program uses the remaining space.
    let _ = std::fs::remove_file(here.join("store/reserve"));
    let mut other = std::fs::File::create(here.join("other")).unwrap();
    while other.write_all(&[1; 512]).is_ok() {}
    dbhaul(here, &["prune", "--repository", "store"]);
    dbhaul(here, &["prune", "--now", "--dry-run", "--repository", "store"]).exits(0).shows("to delete");
    dbhaul(here, &["prune", "--now", "--repository", "store"]).exits(0).shows("deleted");
    backup(here, &small).exits(0);
    dbhaul(here, &["check", "--read-data", "--repository", "store"]).exits(0);
}

/// restic #4848, #4862; rustic #1141.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_document_is_covered_by_its_copy_and_never_replaced_by_a_new_one() {
    let Some(server) = server(10_000).await else { return };
    let here = folder();
    let here = here.path();
    init(here);
    backup(here, &server).exits(0);
    std::fs::remove_file(here.join("store/dbhaul.json")).unwrap();
    dbhaul(here, &["snapshots", "--repository", "store"]).exits(0).says("dbhaul.json.copy");
    backup(here, &server).exits(0);
    let healed = dbhaul(here, &["snapshots", "--repository", "store"]).exits(0);
    assert!(!healed.stderr.contains("dbhaul.json"), "{}", healed.stderr);
    for name in ["dbhaul.json", "dbhaul.json.copy"] {
        std::fs::remove_file(here.join("store").join(name)).unwrap();
    }
    let run = dbhaul(here, &["init", "--no-config", "--repository", "store"]).exits(5);
    run.says("holds 2 snapshots").says("dbhaul.json");
    assert!(!here.join("store/dbhaul.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_reported_before_a_failed_retention() {
    let Some(server) = server(10_000).await else { return };
    let here = folder();
    let here = here.path();
    init(here);
    let config = format!(
        "[repository]\nurl = \"store\"\n[[source]]\nname = \"db\"\nkind = \"postgres\"\nurl = \"{}\"\n\
         [retention]\ndaily = 7\nweekly = 4\n",
        server.url("postgres")
    );
    std::fs::write(here.join("dbhaul.toml"), config).unwrap();
    std::fs::create_dir_all(here.join("store/tombstones")).unwrap();
    std::fs::write(here.join("store/tombstones/20260101T000000Z-abcdef.json"), "torn").unwrap();
    let run = dbhaul(here, &["backup"]).exits(4);
    run.shows("snapshot 2").says("retention failed").says("tombstones/20260101T000000Z-abcdef.json");
    let listed = dbhaul(here, &["snapshots", "--json"]).exits(0).json();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 1);
    let json = dbhaul(here, &["backup", "--json"]).exits(4).json();
    assert!(json["snapshot"].is_string() && json["retention-error"].is_string(), "{json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_repository_is_rehearsed_and_the_result_is_reported() {
    let Some(disk) = Mounted::new("16m") else { return };
    let Some(server) = server(10_000).await else { return };
    let here = disk.0.path();
    init(here);
    backup(here, &server).exits(0);
    assert!(mount(&["-o", "remount,ro"], here));
    let run = dbhaul(here, &["rehearse", "--repository", "store"]).exits(0);
    run.shows("equal").says("was not stored").says("read-only");
}

#[test]
fn modes_do_not_depend_on_the_umask() {
    for (umask, flag, folders, files) in
        [("000", "", 0o700, 0o600), ("077", "--shared-group", 0o2770, 0o660), ("027", "", 0o700, 0o600)]
    {
        let here = folder();
        let run = format!(
            "umask {umask}; exec {} init --no-config --repository store {flag}",
            env!("CARGO_BIN_EXE_dbhaul")
        );
        let status = Command::new("sh").args(["-c", &run]).current_dir(here.path()).output().unwrap().status;
        assert!(status.success());
        let mode = |path: &str| here.path().join(path).metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("store"), mode("store/dbhaul.json")), (folders, files), "umask {umask} {flag}");
    }
}

#[test]
fn a_place_is_what_a_shell_would_make_of_it_or_is_refused() {
    let here = folder();
    let here = here.path();
    std::fs::write(here.join("dbhaul.toml"), "[repository]\nurl = \"~/backups\"\n").unwrap();
    std::fs::create_dir(here.join("home")).unwrap();
    let mut run = command(here, &["init"]);
    assert!(run.env("HOME", here.join("home")).output().unwrap().status.success());
    assert!(here.join("home/backups/dbhaul.json").exists());
    for (place, says) in [
        ("file://relative", "absolute path"),
        ("s3://bucket?endpoint=minio:9000", "https://"),
        ("s3://bucket?virtual-hosted=perhaps", "virtual-hosted"),
    ] {
        let output = command(here, &["snapshots", "--repository", place])
            .envs([("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "hush")])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{place}: {said}");
        assert!(said.contains(says) && !said.contains("panicked"), "{place}: {said}");
    }
}
