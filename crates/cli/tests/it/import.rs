//! `dbhaul import`: files of an earlier backup script as snapshots.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::io::Write as _;
use std::path::{Path, PathBuf};

use sandbox::testing::{require_postgres, require_redis};
use sandbox::{Postgres, PostgresOptions, Redis, RedisOptions};
use sha2::{Digest as _, Sha256};

use crate::common::{Run, ask, command, dbhaul, folder, postgres, run};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A script as pg_dump writes it, on this day.
pub(crate) fn dump(day: &str) -> Vec<u8> {
    let rows: String = (0..2000).map(|n| format!("{n}\t{day}\n")).collect();
    let script = format!(
        "--\n-- PostgreSQL database dump\n--\n\n-- Dumped from database version 15.4\n\nCREATE TABLE t (id int, day text);\n\
         COPY t FROM stdin;\n{rows}\\.\n\n--\n-- PostgreSQL database dump complete\n--\n\n"
    );
    gzip(script.as_bytes())
}

/// Writes a file and its sum, as `sha256sum` does.
pub(crate) fn with_sum(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
    let sum: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let line = format!("{sum}  {}\n", path.display());
    std::fs::write(format!("{}.sha256", path.display()), line).unwrap();
}

fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o640);
        // As an attacker would: the crate itself refuses names that lead out of the folder.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        archive.append(&header, *bytes).unwrap();
    }
    gzip(&archive.into_inner().unwrap())
}

const CONFIG: &str = "[repository]\nurl = \"store\"\n\n[job]\nid = \"coinpilot\"\n\n[retention]\ndaily = 7\nweekly = 4\n\
                      zone = \"Asia/Seoul\"\n\n";

fn stage(sources: &str) -> tempfile::TempDir {
    let here = folder();
    std::fs::write(here.path().join("dbhaul.toml"), format!("{CONFIG}{sources}")).unwrap();
    dbhaul(here.path(), &["init", "--repository", "store", "--no-config"]).exits(0);
    here
}

fn results(run: &Run) -> Vec<(String, String)> {
    let of = |file: &serde_json::Value| {
        let name = PathBuf::from(file["path"].as_str().unwrap());
        let name = name.file_name().unwrap().to_str().unwrap().to_owned();
        (name, file["result"].as_str().unwrap().to_owned())
    };
    run.json()["files"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn dumps_become_one_history_and_come_out_as_they_were() {
    for encrypted in [false, true] {
        let here = folder();
        std::fs::write(here.path().join("dbhaul.toml"), CONFIG).unwrap();
        let dbhaul = |args: &[&str]| {
            let mut command = command(here.path(), args);
            if encrypted {
                command
                    .env("DBHAUL_KEY_FILE", here.path().join("key"))
                    .env("DBHAUL_PASSPHRASE", "of the test");
            }
            run(command)
        };
        let init = ["init", "--repository", "store", "--no-config", "--passphrase"];
        dbhaul(&init[..if encrypted { 5 } else { 4 }]).exits(0);
        let old = here.path().join("old");
        let days = ["20260820", "20260903", "20260904", "20260905"];
        for day in days {
            with_sum(&old.join(format!("daily/coinpilot_{day}_030500.sql.gz")), &dump(day));
        }
        // The same file once more in another folder, as such scripts link or copy it.
        with_sum(&old.join("weekly/coinpilot_20260905_030500.sql.gz"), &dump("20260905"));
        std::fs::write(old.join("backup.log"), "done").unwrap();
        let before = std::fs::read_dir(here.path().join("store/snapshots")).map_or(0, Iterator::count);
        let tried = dbhaul(&["import", "--dry-run", "--json", "old"]).exits(0);
        assert!(results(&tried).iter().all(|(_, result)| result == "importable"), "{}", tried.stdout);
        assert_eq!(std::fs::read_dir(here.path().join("store/snapshots")).map_or(0, Iterator::count), before);

        let imported = dbhaul(&["import", "--json", "old"]).exits(0);
        let told = results(&imported);
        assert_eq!(told.iter().filter(|(_, result)| result == "imported").count(), 4, "{told:?}");
        assert_eq!(told.iter().filter(|(_, result)| result == "present").count(), 1, "{told:?}");
        assert_eq!(imported.json()["ignored"].as_array().unwrap().len(), 1);
        // Dated by the name, in the zone of the policy.
        let listed = dbhaul(&["snapshots", "--json"]).exits(0).json();
        let rows = listed["snapshots"].as_array().unwrap_or_else(|| listed.as_array().unwrap());
        let ids: Vec<String> = rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(ids.len(), 4);
        assert!(ids[0].starts_with("20260819T180500Z-"), "{ids:?}");
        dbhaul(&["snapshots"]).exits(0).shows("2026-08-20 03:05:00 KST");

        // Twice is once.
        let again = dbhaul(&["import", "--json", "old"]).exits(0);
        assert!(results(&again).iter().all(|(_, result)| result == "present"), "{}", again.stdout);
        assert_eq!(dbhaul(&["snapshots", "--json"]).json(), listed);

        // It is checked like any other, and the bytes are those of the file.
        dbhaul(&["check", "--read-data"]).exits(0);
        dbhaul(&["inspect", &ids[1]]).exits(0).shows("sql-dump");
        dbhaul(&["export", &ids[1], "--format", "file", "--output", "out.sql.gz"]).exits(0);
        assert_eq!(std::fs::read(here.path().join("out.sql.gz")).unwrap(), dump("20260903"));

        // It is not accepted as a snapshot to restore.
        let pg = ["--to", "postgres://nobody@127.0.0.1:1/x"];
        dbhaul(&["restore", &ids[1], pg[0], pg[1]])
            .exits(5)
            .says("is an imported SQL dump")
            .says("--format file");
        dbhaul(&["restore", &ids[1], "--source", "postgres", pg[0], pg[1]]).exits(5);
        dbhaul(&["rehearse", &ids[1]]).exits(5).says("is an imported SQL dump");
        dbhaul(&["compare", &ids[1], pg[1]]).exits(5).says("is an imported SQL dump");
        dbhaul(&["restore", "latest", pg[0], pg[1]]).exits(1).says("only imported SQL dumps");
        dbhaul(&["export", &ids[1], "--format", "sql"]).exits(5);
        dbhaul(&["status"]).exits(3);

        // Retention counts them by the days of their names: 20 August is the only one of its week, and the newest three
        // are three days.
        let plan = dbhaul(&["forget", "--dry-run", "--json"]).exits(0).json();
        let entries = plan["plan"]["entries"].as_array().unwrap();
        assert_eq!(entries.len(), 4, "{plan}");
        with_sum(&old.join("daily/coinpilot_20260905_010000.sql.gz"), &dump("20260905 earlier"));
        dbhaul(&["import", "old"]).exits(0);
        dbhaul(&["forget"]).exits(0);
        let left = dbhaul(&["snapshots", "--json"]).json();
        let left = left["snapshots"].as_array().unwrap_or_else(|| left.as_array().unwrap()).len();
        assert_eq!(left, 4, "the earlier one of the same day goes");
    }
}

#[test]
fn incomplete_files_are_named_and_not_imported() {
    let here = stage("");
    let old = here.path().join("old");
    let whole = dump("x");
    let at = |day: u32| old.join(format!("coinpilot_202609{day:02}_030500.sql.gz"));
    with_sum(&at(1), &whole);
    // No sum: the script stopped in the middle.
    std::fs::write(at(2), &whole[..whole.len() / 2]).unwrap();
    // A sum of something that was not written to its end, as by a pipe whose first program failed; and of nothing at all.
    with_sum(&at(3), &gzip(b"--\n-- PostgreSQL database dump\n--\nCREATE TABLE t ("));
    with_sum(&at(4), &gzip(b""));
    // No date, and one to come.
    with_sum(&old.join("coinpilot_latest.sql.gz"), &whole);
    with_sum(&old.join("coinpilot_20990101.sql.gz"), &whole);
    let first = dbhaul(here.path(), &["import", "--json", "old"]).exits(4);
    let told = results(&first);
    let expect = |name: &str, result: &str| {
        assert!(told.iter().any(|(n, r)| n == name && r == result), "{name} {result}: {told:?}");
    };
    expect("coinpilot_20260901_030500.sql.gz", "imported");
    expect("coinpilot_20260902_030500.sql.gz", "suspect");
    expect("coinpilot_20260903_030500.sql.gz", "suspect");
    expect("coinpilot_20260904_030500.sql.gz", "suspect");
    expect("coinpilot_latest.sql.gz", "unusable");
    expect("coinpilot_20990101.sql.gz", "unusable");
    let first = first.says("coinpilot_20260902_030500.sql.gz: suspect: it has no checksum file");
    drop(first.says("coinpilot_20260904_030500.sql.gz: suspect: the script does not end"));

    // A byte that turned, after the sum and before it.
    let mut turned = whole.clone();
    turned[100] ^= 1;
    with_sum(&at(6), &whole);
    std::fs::write(at(6), &turned).unwrap();
    with_sum(&at(7), &turned);
    with_sum(&at(8), &whole[..whole.len() - 3]);
    with_sum(&at(9), b"");
    let second = dbhaul(here.path(), &["import", "--json", "old"]).exits(3);
    for (name, result) in results(&second) {
        let damaged = ["06", "07", "08", "09"].iter().any(|day| name.contains(&format!("202609{day}")));
        assert_eq!(result == "damaged", damaged, "{name}: {result}");
    }
    assert!(
        second.stderr.contains("coinpilot_20260906_030500.sql.gz: damaged: its SHA-256 is"),
        "{}",
        second.stderr
    );
    // Only the good one is there, and one suspect file alone is the same exit code.
    assert_eq!(std::fs::read_dir(here.path().join("store/snapshots")).unwrap().count(), 1);
    dbhaul(here.path(), &["import", at(2).to_str().unwrap()]).exits(4);
    dbhaul(here.path(), &["import", "dbhaul.toml"]).exits(2);
    dbhaul(here.path(), &["import", "nowhere"]).exits(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_of_redis_is_a_snapshot_that_restores() {
    let Some(binaries) = require_redis("7.0") else { return };
    let start = || Redis::start(&binaries, RedisOptions::default()).unwrap();
    let server = start();
    let sources = format!("[[source]]\nname = \"cache\"\nkind = \"redis\"\nurl = \"{}\"\n", server.url());
    let here = stage(&sources);
    ask(&server.url(), &["SET", "bot:status", "live"]).await.unwrap();
    ask(&server.url(), &["RPUSH", "prices", "1", "2", "3"]).await.unwrap();
    dbhaul(here.path(), &["backup"]).exits(0);
    dbhaul(here.path(), &["export", "latest", "--format", "rdb", "--output", "dump.rdb"]).exits(0);
    let rdb = std::fs::read(here.path().join("dump.rdb")).unwrap();
    let old = here.path().join("old");
    with_sum(&old.join("coinpilot_redis_20260901_031500.tar.gz"), &archive(&[("data/dump.rdb", &rdb)]));
    let told = dbhaul(here.path(), &["import", "--json", "old"]).exits(0);
    let id = told.json()["files"][0]["snapshot"].as_str().unwrap().to_owned();
    assert!(id.starts_with("20260831T181500Z-"), "{id}");
    dbhaul(here.path(), &["rehearse", &id]).exits(0);
    let target = start();
    dbhaul(here.path(), &["restore", &id, "--to", &target.url()]).exits(0);
    assert_eq!(ask(&target.url(), &["GET", "bot:status"]).await.unwrap(), ["live"]);
    assert_eq!(ask(&target.url(), &["LRANGE", "prices", "0", "-1"]).await.unwrap(), ["1", "2", "3"]);
    // The series goes on.
    dbhaul(here.path(), &["backup"]).exits(0);

    // Archives with a path outside of their folder, a link, no data, or a truncated file.
    let hostile = [
        ("11", archive(&[("../../escaped.rdb", &rdb)])),
        ("12", archive(&[("/tmp/escaped.rdb", &rdb)])),
        ("13", archive(&[("n8n/database.sqlite", b"x")])),
        ("14", archive(&[("dump.rdb", &rdb), ("dump.rdb", &rdb)])),
        ("15", gzip(b"no archive at all")),
    ];
    for (day, bytes) in &hostile {
        with_sum(&old.join(format!("coinpilot_redis_202609{day}_031500.tar.gz")), bytes);
    }
    let told = dbhaul(here.path(), &["import", "--json", "old"]).exits(4);
    let told = results(&told);
    assert_eq!(told.iter().filter(|(_, result)| result == "unusable").count(), 5, "{told:?}");
    assert!(!here.path().join("escaped.rdb").exists() && !Path::new("/tmp/escaped.rdb").exists());
}

/// Backups by dbhaul and files of the old script in one series.
#[tokio::test(flavor = "multi_thread")]
async fn a_series_continues_after_an_import() {
    let Some(binaries) = require_postgres(15) else { return };
    let server = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    let client = postgres(&server.url("postgres")).await;
    client.batch_execute("CREATE TABLE t AS SELECT generate_series(1, 100) id").await.unwrap();
    let url = server.url("postgres");
    let sources = format!("[[source]]\nname = \"main\"\nkind = \"postgres\"\nurl = \"{url}\"\n");
    let here = stage(&sources);
    let today = chrono::Utc::now().with_timezone(&chrono_tz::Asia::Seoul).format("%Y%m%d_%H%M%S").to_string();
    with_sum(&here.path().join("old/coinpilot_20260903_030500.sql.gz"), &dump("a"));
    dbhaul(here.path(), &["import", "old"]).exits(0);
    let own =
        dbhaul(here.path(), &["backup", "--json"]).exits(0).json()["snapshot"].as_str().unwrap().to_owned();
    // Newer by its name than our own.
    with_sum(&here.path().join(format!("old/coinpilot_{today}.sql.gz")), &dump("b"));
    dbhaul(here.path(), &["import", "old"]).exits(0);
    dbhaul(here.path(), &["backup"]).exits(0);
    dbhaul(here.path(), &["rehearse"]).exits(0);
    dbhaul(here.path(), &["status"]).exits(0);
    dbhaul(here.path(), &["compare", &own, &url]).exits(0);
    dbhaul(here.path(), &["import", "--postgres-source", "other", "old"]).exits(2).says("no source `other`");
}
