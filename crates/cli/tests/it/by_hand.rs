//! A snapshot restored without dbhaul: by docs/restore-by-hand.sh, with psql and a redis-server that loads the
//! written file; then compared with the source, row by row and key by key.
#![allow(clippy::unwrap_used, reason = "test code")]
#![allow(clippy::print_stderr, reason = "a skipped test must be seen")]

use crate::common;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::{dbhaul, folder, postgres};
use sandbox::testing::{require_postgres, require_redis};
use sandbox::{Postgres, PostgresOptions, Redis};

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/restore-by-hand.sh")
}

/// Whether these are here; otherwise says that a test is left out.
fn have(tools: &[&str]) -> bool {
    let missing: Vec<_> =
        tools.iter().filter(|tool| Command::new(tool).arg("--version").output().is_err()).collect();
    // Old distributions lack age; everything else is available everywhere.
    let required = std::env::var_os("DBHAUL_REQUIRE_SERVERS").is_some_and(|value| value == "1");
    let only_age = missing.iter().all(|tool| tool.starts_with("age"));
    assert!(!required || only_age, "missing here: {missing:?}; scripts/prepare by-hand installs them");
    if !missing.is_empty() {
        eprintln!("SKIPPED: missing here: {missing:?}; scripts/prepare by-hand installs them");
    }
    missing.is_empty()
}

fn by_hand(args: &[&str]) -> Output {
    Command::new(script()).args(args).output().unwrap()
}

#[track_caller]
fn succeeds(args: &[&str]) -> String {
    let output = by_hand(args);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{args:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

#[track_caller]
fn fails(args: &[&str], saying: &str) {
    let output = by_hand(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains(saying),
        "{args:?} does not fail with {saying:?}:\n{said}"
    );
}

/// Backs the fixture up with these settings of `init`, and restores it by hand with these options of the script.
async fn restore(init: &[&str], options: &[&str], here: &Path) {
    let (Some(pg), Some(rd)) = (require_postgres(15), require_redis("7.0")) else { return };
    let from = Postgres::start(&pg, PostgresOptions::default()).unwrap();
    let to = Postgres::start(&pg, PostgresOptions::default()).unwrap();
    let keys = Redis::start(&rd, common::quick_redis()).unwrap();
    common::load_sample(&from.url("postgres"), &keys.url()).await;
    // Not part of the fixture: large objects, names that need quotes, a table without columns.
    let client = postgres(&from.url("postgres")).await;
    client
        .batch_execute(
            r#"SELECT lo_from_bytea(0, decode(repeat('5c7827000a', 900), 'hex'));
               CREATE SCHEMA "of ""hand""";
               CREATE TABLE "of ""hand"""."it's\." ("a""b" text, "c\d" int GENERATED ALWAYS AS (1) STORED);
               INSERT INTO "of ""hand"""."it's\." VALUES (E'\\.\n\t\\'), (NULL), ('');
               CREATE TABLE bare ();
               INSERT INTO bare DEFAULT VALUES;"#,
        )
        .await
        .unwrap();

    dbhaul(here, &[&["init", "--repository", "store"], init].concat()).exits(0);
    let (pg_url, rd_url) = (from.url("postgres"), keys.url());
    let backup =
        dbhaul(here, &["backup", "--json", "--postgres", &pg_url, "--redis", &rd_url]).exits(0).json();
    let snapshot = backup["snapshot"].as_str().unwrap();
    let store = here.join("store");
    let with = |args: &[&str]| -> Vec<String> {
        let all = [options, &[store.to_str().unwrap()], args].concat();
        all.into_iter().map(str::to_owned).collect()
    };
    let run = |args: &[&str]| {
        let args = with(args);
        succeeds(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };

    assert!(run(&["snapshots"]).contains(snapshot));
    let parts = run(&["parts", snapshot]);
    let source = |kind: &str| {
        let line = parts.lines().find(|line| line.split('\t').nth(1) == Some(kind)).unwrap();
        line.split('\t').next().unwrap().to_owned()
    };
    run(&["check", snapshot]);
    let to_url = to.url("postgres");
    run(&["postgres", snapshot, &source("postgres/copy"), &to_url]);
    dbhaul(here, &["compare", &pg_url, &to_url]).exits(0);

    let bytes = "SELECT md5(string_agg(lo_get(oid), '' ORDER BY oid)) FROM pg_largeobject_metadata";
    let [before, after] = [client, postgres(&to_url).await];
    let (before, after) = (before.query_one(bytes, &[]).await, after.query_one(bytes, &[]).await);
    let of = |row: tokio_postgres::Row| row.get::<_, Option<String>>(0).unwrap();
    assert_eq!(of(before.unwrap()), of(after.unwrap()));

    let folder = here.join("redis");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("dump.rdb");
    run(&["redis", snapshot, &source("redis/rdb"), file.to_str().unwrap()]);
    let settings = [("dir", folder.to_str().unwrap()), ("dbfilename", "dump.rdb")];
    let mut options = common::quick_redis();
    options.settings.extend(settings.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let restored = Redis::start(&rd, options).unwrap();
    dbhaul(here, &["compare", &rd_url, &restored.url()]).exits(0);

    // Damaged objects are not accepted.
    let manifest = store.join(format!("snapshots/{snapshot}.json"));
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(
        &manifest,
        text.replacen("nightly", "nightlz", 1).replacen("complete\":true", "complete\":false", 1),
    )
    .unwrap();
    let args = with(&["check", snapshot]);
    fails(&args.iter().map(String::as_str).collect::<Vec<_>>(), "is damaged");
    std::fs::write(&manifest, text).unwrap();
    let shelf = std::fs::read_dir(store.join("chunks")).unwrap().next().unwrap().unwrap().path();
    let chunk = std::fs::read_dir(shelf).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&chunk).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&chunk, bytes).unwrap();
    let output = by_hand(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_snapshot_is_restored_with_stock_tools() {
    if have(&["bash", "jq", "zstd", "psql"]) {
        restore(&[], &[], folder().path()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_snapshot_is_restored_with_stock_tools() {
    if have(&["bash", "jq", "zstd", "psql", "age", "age-keygen"]) {
        let here = folder();
        let identity = here.path().join("identity.txt");
        // A key that age made, not dbhaul.
        let made = Command::new("age-keygen").arg("-o").arg(&identity).output().unwrap();
        assert!(made.status.success());
        let text = std::fs::read_to_string(&identity).unwrap();
        let recipient = text.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
        restore(&["--recipient", recipient], &["-i", identity.to_str().unwrap()], here.path()).await;
        fails(&[here.path().join("store").to_str().unwrap(), "check", "x"], "give an identity");
    }
}
