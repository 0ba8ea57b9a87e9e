//! A disk that is full in the middle of an index build (issue 16, bad input): the index is named with the server's own
//! words, and the run is resumed when there is room.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "test code")]

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use sandbox::testing::require_postgres;
use sandbox::{Postgres, PostgresOptions};

use crate::common::{dbhaul, folder, postgres, target_name};

/// Less than the table and its index, and more than either.
const ROOM: u64 = 40 << 20;

fn succeeds(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
}

/// What keeps a server from writing on: a small file system, or a limit on the size of its files.
enum Limit {
    Mounted(PathBuf),
    Files(String),
}

impl Limit {
    /// A small file system, where that may be mounted, for a folder that belongs to the server.
    fn mounted(server: &Postgres) -> Option<Limit> {
        let data = std::fs::metadata(server.data_dir()).ok()?;
        let place = server.socket_dir().join("small");
        std::fs::create_dir(&place).ok()?;
        let options = format!("size={ROOM},mode=0700,uid={},gid={}", data.uid(), data.gid());
        let text = place.to_str()?;
        succeeds("mount", &["-t", "tmpfs", "-o", &options, "tmpfs", text])
            .then(|| Limit::Mounted(place.clone()))
    }

    /// No file of the server grows beyond a size; the segments of the write-ahead log are as large already.
    fn files(server: &Postgres) -> Option<Limit> {
        let pid = std::fs::read_to_string(server.data_dir().join("postmaster.pid")).ok()?;
        let pid = pid.lines().next()?.trim().to_owned();
        let limit = format!("--fsize={}:unlimited", 24 << 20);
        succeeds("prlimit", &["--pid", &pid, &limit]).then_some(Limit::Files(pid))
    }

    fn folder(&self) -> Option<&Path> {
        match self {
            Limit::Mounted(place) => Some(place),
            Limit::Files(_) => None,
        }
    }

    fn make_room(&self) {
        let made = match self {
            Limit::Mounted(place) => succeeds("mount", &["-o", "remount,size=400m", place.to_str().unwrap()]),
            Limit::Files(pid) => succeeds("prlimit", &["--pid", pid, "--fsize=unlimited:unlimited"]),
        };
        assert!(made, "the limit is lifted");
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        if let Limit::Mounted(place) = self {
            // The server may still have files open there.
            succeeds("umount", &["--lazy", place.to_str().unwrap_or_default()]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_build_that_fills_the_disk_is_named_and_resumed() {
    let Some(binaries) = require_postgres(15) else { return };
    let start = || Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    let (source, mut target) = (start(), start());
    let Some(limit) = Limit::mounted(&target).or_else(|| Limit::files(&target)) else {
        eprintln!("SKIPPED: neither mount nor prlimit may limit a server here");
        return;
    };
    let admin = postgres(&target.url("postgres")).await;
    match limit.folder() {
        Some(place) => {
            let make = format!("CREATE TABLESPACE small LOCATION '{}'", place.display());
            admin.batch_execute(&make).await.unwrap();
            admin.batch_execute("CREATE DATABASE target TABLESPACE small").await.unwrap();
        }
        None => {
            eprintln!("a limit on the size of files stands in for a small file system");
            admin.batch_execute("CREATE DATABASE target").await.unwrap();
        }
    }
    // The index is much larger than the table.
    let wide = (0..7).map(|n| format!("md5((a + {n})::text)")).collect::<Vec<_>>().join(" || ");
    let sql = format!(
        "CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 150000);
         CREATE INDEX narrow ON t ((a % 10)); CREATE INDEX wide ON t (({wide})); CREATE TABLE u (a int REFERENCES t); INSERT INTO u VALUES (1)"
    );
    let (from, to, here) = (source.url("postgres"), target.url("target"), folder());
    postgres(&from).await.batch_execute(&sql).await.unwrap();
    let job = ["migrate", "--from", &from, "--to", &to, "--jobs", "2"];
    let said = dbhaul(here.path(), &job).exits(1);
    let words = match limit {
        Limit::Mounted(_) => ["No space left on device", "SQLSTATE 53100"],
        Limit::Files(_) => ["File too large", "SQLSTATE"],
    };
    for words in
        [words[0], words[1], "index public.wide", "is incomplete", "the source was not changed", "--resume"]
    {
        assert!(said.stderr.contains(words), "{words}: {}", said.stderr);
    }
    let rows = "SELECT (SELECT count(*) FROM t) + (SELECT count(*) FROM pg_class WHERE relname = 'wide')";
    assert_eq!(postgres(&to).await.query_one(rows, &[]).await.unwrap().get::<_, i64>(0), 150_000);

    limit.make_room();
    let name = target_name(&to);
    dbhaul(here.path(), &[&job[..], &["--resume", "--replace", &name]].concat())
        .exits(0)
        .shows("resumed: ")
        .shows("none was loaded again");
    dbhaul(here.path(), &["compare", &from, &to]).exits(0);
    target.stop();
}
