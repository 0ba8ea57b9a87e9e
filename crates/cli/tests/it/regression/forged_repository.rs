//! Repositories that an attacker wrote to: their content is refused by name before it can do anything.
#![allow(clippy::unwrap_used, reason = "test code")]
#![allow(clippy::print_stderr, reason = "a skipped test must be seen")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use repository::{Manifest, Part, PartHeader, Repository, SnapshotStart, Store, StoreEnv};
use sandbox::testing::require_postgres;
use sandbox::{Postgres, PostgresOptions};
use sha2::Digest as _;

use crate::common::{Run, command, dbhaul, folder, postgres};

async fn open(folder: &Path) -> Repository {
    let store = Store::open(folder.join("store").to_str().unwrap(), &StoreEnv::default()).unwrap();
    Repository::open(store).await.unwrap()
}

fn part<'a>(manifest: &'a Manifest, end: &str) -> &'a Part {
    manifest.parts().map(|(_, part)| part).find(|part| part.name.ends_with(end)).unwrap()
}

/// A snapshot once more, with other bytes in the part whose name ends so. Gives the id.
async fn forge(folder: &Path, real: &str, end: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) -> String {
    let repository = open(folder).await;
    let real = repository.find(real).await.unwrap();
    let old = part(&real, end).clone();
    let bytes = change(repository.read_whole(&old).await.unwrap());
    let writer = repository.begin(SnapshotStart::new(&*real.job, real.taken_at, "forger")).await.unwrap();
    let stream = futures::stream::iter([Ok::<_, std::io::Error>(bytes.into())]);
    let new = writer.write_part(PartHeader::new(&*old.name, &*old.kind), stream).await.unwrap();
    let new = Part { attributes: old.attributes, ..new };
    let mut sources = real.sources.clone();
    for candidate in sources.iter_mut().flat_map(|source| &mut source.parts) {
        if candidate.name == new.name {
            *candidate = new.clone();
        }
    }
    writer.commit(sources, true).await.unwrap().id.to_string()
}

fn replaced(text: &str, with: &str) -> impl Fn(Vec<u8>) -> Vec<u8> {
    move |bytes| {
        let old = String::from_utf8(bytes).unwrap();
        assert!(old.contains(text), "{text} is not in {old}");
        old.replacen(text, with, 1).into_bytes()
    }
}

fn have(tools: &[&str]) -> bool {
    let missing: Vec<_> =
        tools.iter().filter(|tool| Command::new(tool).arg("--version").output().is_err()).collect();
    let required = std::env::var_os("DBHAUL_REQUIRE_SERVERS").is_some_and(|value| value == "1");
    assert!(!required || missing.is_empty(), "missing here: {missing:?}");
    if !missing.is_empty() {
        eprintln!("SKIPPED: missing here: {missing:?}");
    }
    missing.is_empty()
}

fn by_hand(folder: &Path, args: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/restore-by-hand.sh");
    Command::new(script).current_dir(folder).args(args).output().unwrap()
}

/// psql with a script on its standard input, as the documentation says.
fn psql(url: &str, script: &str) -> Output {
    use std::io::Write as _;
    let mut child = Command::new("psql")
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-d", url])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // One that stops early closes its end.
    let _ = child.stdin.take().unwrap().write_all(script.as_bytes());
    child.wait_with_output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Issue 12, section 5: `\.` and `\!` lines of a forged repository reach no psql.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_snapshot_runs_no_program_by_way_of_psql() {
    let Some(pg) = require_postgres(15) else { return };
    if !have(&["bash", "jq", "zstd", "psql"]) {
        return;
    }
    let server = Postgres::start(&pg, PostgresOptions::default()).unwrap();
    let client = postgres(&server.url("postgres")).await;
    for name in ["source", "target", "again", "commands", "by_hand"] {
        client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    }
    let client = postgres(&server.url("source")).await;
    client
        .batch_execute(
            r"CREATE TABLE t (a text DEFAULT 'a\' CHECK (a ~ '^[^\d]*$'));
              INSERT INTO t VALUES (E'\\.'), (E'x\n\\.\ny'), (E'\\! touch gone');
              CREATE VIEW v AS SELECT a AS forge_me FROM t;
              CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT E'\n\\! nothing\n' $$;",
        )
        .await
        .unwrap();
    let here = folder();
    let at = here.path();
    let touched = at.join("touched");
    let touch = format!("\\! touch {}", touched.display());
    dbhaul(at, &["init", "--repository", "store"]).exits(0);
    dbhaul(at, &["backup", "--no-forget", "--postgres", &server.url("source")]).exits(0);
    let real = open(at).await.find("latest").await.unwrap();
    let name = real.sources[0].name.clone();
    let export = |id: &str| dbhaul(at, &["export", id, "--format", "sql"]);

    // A genuine snapshot is restored, by a psql that knows `\restrict` and by one that does not.
    let script = export(real.id.as_str()).exits(0).stdout;
    let restored = psql(&server.url("target"), &script);
    assert!(restored.status.success(), "{}", stderr(&restored));
    dbhaul(at, &["compare", &server.url("source"), &server.url("target")]).exits(0);
    let as_if_older = script.replace(":VERSION_NUM BETWEEN", "0 BETWEEN");
    assert_ne!(script, as_if_older);
    let restored = psql(&server.url("again"), &as_if_older);
    assert!(restored.status.success(), "{}", stderr(&restored));
    // The script itself disables injected commands.
    let commands = script.replace("CREATE VIEW", &format!("{touch}\nCREATE VIEW"));
    assert_ne!(script, commands);
    let refused = psql(&server.url("commands"), &commands);
    assert!(!refused.status.success() && stderr(&refused).contains("restricted"), "{}", stderr(&refused));

    // A definition with a command in it; rows that end early; a script that was stored with a command in it.
    let json = serde_json::to_string(&format!("forge_me\n{touch}\n")).unwrap();
    let id = forge(at, real.id.as_str(), "catalog.json", replaced("forge_me", json.trim_matches('"'))).await;
    let said = export(&id).exits(5).says("a backslash outside of quotes").says("public.v");
    assert!(said.stdout.is_empty(), "{}", said.stdout);

    let rows = "/public.t";
    let ends = format!("x\n\\.\n{touch}\n");
    let with_rows = |bytes: Vec<u8>| [bytes, ends.clone().into_bytes()].concat();
    let id = forge(at, real.id.as_str(), rows, with_rows).await;
    export(&id).exits(5).says("would end the COPY block early");
    let refused = by_hand(at, &["store", "postgres", &id, &name, &server.url("by_hand")]);
    assert!(!refused.status.success() && stderr(&refused).contains("forged"), "{}", stderr(&refused));
    let id = forge(at, real.id.as_str(), rows, |bytes| [bytes, b"cut off".to_vec()].concat()).await;
    export(&id).exits(5).says("not terminated");
    let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    let client = postgres(&server.url("by_hand")).await;
    let count: i64 = client.query_one(tables, &[]).await.unwrap().get(0);
    assert_eq!(count, 0, "nothing was restored");

    let with_command = |bytes: Vec<u8>| [format!("{touch}\n").into_bytes(), bytes].concat();
    let id = forge(at, real.id.as_str(), "before-rows.sql", with_command).await;
    let refused = by_hand(at, &["store", "postgres", &id, &name, &server.url("by_hand")]);
    assert!(!refused.status.success() && stderr(&refused).contains("restricted"), "{}", stderr(&refused));
    // A psql that is too old is not used, unless the user trusts the repository.
    let old = at.join("old");
    std::fs::create_dir(&old).unwrap();
    let fake = "#!/bin/sh\ncase \"$1\" in --version) echo 'psql (PostgreSQL) 15.13 (Debian)';; *) exec /usr/bin/env PATH=\"$REAL\" psql \"$@\";; esac\n";
    sandbox::testing::write_program(&old.join("psql"), fake).unwrap();
    let path = std::env::var("PATH").unwrap();
    let with_old = |args: &[&str]| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/restore-by-hand.sh");
        let mut run = Command::new(script);
        run.current_dir(at).args(args).env("PATH", format!("{}:{path}", old.display())).env("REAL", &path);
        run.output().unwrap()
    };
    let url = server.url("by_hand");
    let run = ["store", "postgres", real.id.as_str(), &name, &url];
    let refused = with_old(&run);
    assert!(!refused.status.success() && stderr(&refused).contains("15.13"), "{}", stderr(&refused));
    let done = with_old(&[["-t"].as_slice(), &run].concat());
    assert!(done.status.success(), "{}", stderr(&done));
    dbhaul(at, &["compare", &server.url("source"), &url]).exits(0);
    assert!(!touched.exists(), "a command of the repository was run");
}

/// A snapshot of one chunk that its catalog, its roles and its rows name thousands of times.
async fn one_chunk_many_times(folder: &Path, times: usize) -> PathBuf {
    dbhaul(folder, &["init", "--repository", "store"]).exits(0);
    let repository = open(folder).await;
    let writer = repository.begin(SnapshotStart::new("nightly", chrono::Utc::now(), "forger")).await.unwrap();
    let spaces = vec![b' '; 4 << 20];
    let stream = futures::stream::iter([Ok::<_, std::io::Error>(spaces.into())]);
    let part =
        writer.write_part(PartHeader::new("main/catalog.json", "postgres/catalog"), stream).await.unwrap();
    assert_eq!(part.chunks.len(), 1);
    let source = repository::SourceRecord {
        name: "main".into(),
        kind: "postgres".into(),
        server: serde_json::json!({ "version_num": 150_000 }),
        details: serde_json::json!({ "taken-at": "2026-11-24T00:00:00Z", "tables": [] }),
        parts: vec![part],
    };
    let manifest = writer.commit(vec![source], true).await.unwrap();
    let path = folder.join(format!("store/snapshots/{}.json", manifest.id));
    let text = std::fs::read_to_string(&path).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let part = value.pointer_mut("/sources/0/parts/0").unwrap();
    part["bytes"] = ((4_u64 << 20) * times as u64).into();
    let chunk = part["chunks"][0].clone();
    part["chunks"] = vec![chunk; times].into();
    let text = format!("{value}\n");
    let hash: String = sha2::Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(&path, format!("{text}{{\"sha256\":\"{hash}\"}}\n")).unwrap();
    path
}

/// The binary with so many KiB of address space.
fn within(kib: u64, folder: &Path, args: &[&str]) -> Run {
    let inner = command(folder, args);
    let mut outer = Command::new("bash");
    outer.current_dir(folder).args(["-c", &format!("ulimit -v {kib}; exec \"$@\"")]);
    outer.arg("dbhaul").arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    Run::of(outer.output().unwrap())
}

/// Issue 12, section 5: a repository of 316 KB took 4 GB of memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_referenced_thousands_of_times_does_not_fill_memory() {
    let here = folder();
    let at = here.path();
    let manifest = one_chunk_many_times(at, 2_500).await;
    assert!(std::fs::metadata(&manifest).unwrap().len() < 400 << 10);
    std::fs::write(at.join("baseline.toml"), "").unwrap();
    // 10 GB do not fit, and neither do 4.
    for args in [
        ["inspect", "latest"].as_slice(),
        &["export", "latest", "--format", "sql"],
        &["baseline", "check", "--snapshot", "latest", "--baseline", "baseline.toml"],
        &["restore", "latest", "--postgres", "postgres://nobody@127.0.0.1:1/none"],
        &["compare", "latest", "postgres://nobody@127.0.0.1:1/none"],
    ] {
        within(2_000_000, at, &[args, &["--job", "nightly"]].concat())
            .exits(1)
            .says("9.8 GiB")
            .says("more than the 256.0 MiB")
            .says("max-in-memory");
    }
    if require_postgres(15).is_some() {
        within(2_000_000, at, &["rehearse", "latest", "--job", "nightly"]).exits(1).says("max-in-memory");
    }
    // The limit is configured.
    let config = std::fs::read_to_string(at.join("dbhaul.toml")).unwrap();
    let config = config.replace("# max-in-memory = \"256MiB\"", "max-in-memory = \"1MiB\"");
    std::fs::write(at.join("dbhaul.toml"), config).unwrap();
    within(2_000_000, at, &["inspect", "latest", "--job", "nightly"]).exits(1).says("more than the 1.0 MiB");
}
