//! Error messages: each cause once, with the server's message and what to do; and as JSON.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::process::Command;

use crate::common::{Run, ask, command, dbhaul, folder, postgres, quick_redis};
use sandbox::testing::{require_postgres, require_redis};
use sandbox::{Postgres, PostgresOptions, Redis};

/// No line of an error says what another has said, and no driver speaks of itself.
#[track_caller]
fn tells_once(run: &Run) {
    let lines: Vec<&str> = run.stderr.lines().filter(|line| !line.starts_with('[')).collect();
    let core = |line: &str| {
        let mut text = line.trim();
        for label in ["error: ", "caused by: ", "hint: ", "warning: ", "db error: ", "ERROR: ", "FATAL: "] {
            text = text.strip_prefix(label).unwrap_or(text).trim_start();
        }
        text.to_owned()
    };
    assert!(!run.stderr.contains("db error"), "{}", run.stderr);
    for (at, line) in lines.iter().enumerate() {
        for (other_at, other) in lines.iter().enumerate() {
            let repeated = at != other_at && !core(line).is_empty() && core(other).contains(&core(line));
            assert!(!repeated, "told twice: {line:?} and {other:?}\n{}", run.stderr);
        }
    }
    assert!(run.stderr.lines().any(|line| line.starts_with("error: ")), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_a_server_is_reported_once() {
    let (Some(pg), Some(rd)) = (require_postgres(15), require_redis("7.0")) else { return };
    let server = Postgres::start(&pg, PostgresOptions::default()).unwrap();
    let keys = Redis::start(&rd, quick_redis()).unwrap();
    let here = folder();
    let url = server.url("postgres");
    let client = postgres(&url).await;
    client.batch_execute("CREATE TABLE t (a int); CREATE ROLE weak LOGIN").await.unwrap();
    for database in ["CREATE DATABASE bad", "CREATE DATABASE filled"] {
        client.batch_execute(database).await.unwrap();
    }
    dbhaul(here.path(), &["init", "--repository", "store"]).exits(0);
    let as_weak = url.replacen("://", "://weak@", 1).replace("weak@postgres@", "weak@");

    // No such database, a role without rights, a statement that fails in the midst of a restore, a lost server.
    let missing = server.url("nowhere");
    tells_once(&dbhaul(here.path(), &["backup", "--postgres", &missing]).exits(1).says("SQLSTATE 3D000"));
    tells_once(&dbhaul(here.path(), &["backup", "--postgres", &as_weak]).exits(1).says("weak"));
    postgres(&server.url("bad"))
        .await
        .batch_execute(
            "CREATE FUNCTION f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
               'BEGIN IF to_regclass(''public.guard'') IS NULL THEN RAISE EXCEPTION ''no guard here''; END IF; RETURN $1; END';
             CREATE TABLE guard (x int); CREATE TABLE u (a int); INSERT INTO u VALUES (1);
             CREATE INDEX ON u (f(a))",
        )
        .await
        .unwrap();
    dbhaul(here.path(), &["backup", "--postgres", &server.url("bad")]).exits(0);
    let restored = ["restore", "latest", "--table", "u", "--postgres", &server.url("filled")];
    let run = dbhaul(here.path(), &restored);
    if run.code == 1 {
        tells_once(&run);
        assert!(
            run.stderr.contains("is incomplete") && run.stderr.contains("hint: the source"),
            "{}",
            run.stderr
        );
    }
    tells_once(&dbhaul(here.path(), &["backup", "--postgres", "postgres://u@127.0.0.1:1/db"]).exits(1));
    tells_once(&dbhaul(here.path(), &["backup", "--job", "keys", "--redis", "redis://127.0.0.1:1"]).exits(1));
    ask(&keys.url(), &["CONFIG", "SET", "requirepass", "secret"]).await.unwrap();
    tells_once(
        &dbhaul(here.path(), &["backup", "--job", "keys", "--redis", &keys.url()]).exits(1).says("NOAUTH"),
    );
    // Both fail: each is reported once, and there is no snapshot.
    let both = dbhaul(
        here.path(),
        &["backup", "--job", "both", "--postgres", &missing, "--redis", "redis://127.0.0.1:1"],
    )
    .exits(1);
    assert_eq!(both.stderr.matches("3D000").count(), 1, "{}", both.stderr);
    tells_once(&both.says("no snapshot was created"));
}

#[test]
fn a_repository_that_does_not_exist_yet_names_the_command_that_creates_it() {
    let Some(rd) = require_redis("7.0") else { return };
    let keys = Redis::start(&rd, quick_redis()).unwrap();
    let here = folder();
    // A name that a shell would take apart.
    let place = "my backups/it's here";
    std::fs::create_dir_all(here.path().join(place)).unwrap();
    let backup = ["backup", "--repository", place, "--redis", &keys.url()];
    let run = dbhaul(here.path(), &backup)
        .exits(1)
        .says("does not contain a repository")
        .says("hint: create it with `dbhaul init --no-config");
    let offered = run.stderr.lines().find_map(|line| line.strip_prefix("hint: create it with `")).unwrap();
    let offered =
        offered.strip_suffix('`').unwrap().replace("dbhaul ", &format!("{} ", env!("CARGO_BIN_EXE_dbhaul")));
    let shell = Command::new("sh").args(["-c", &offered]).current_dir(here.path()).status().unwrap();
    assert!(shell.success(), "{offered}");
    assert!(!here.path().join("dbhaul.toml").exists(), "--no-config wrote one");
    dbhaul(here.path(), &backup).exits(0);

    // From a configuration, `init` needs no more than it says.
    std::fs::write(here.path().join("other.toml"), "[repository]\nurl = \"second\"\n").unwrap();
    dbhaul(here.path(), &["--config", "other.toml", "snapshots"])
        .exits(1)
        .says("`dbhaul init --config other.toml`");
    dbhaul(here.path(), &["init", "--config", "other.toml"]).exits(0);
    dbhaul(here.path(), &["--config", "other.toml", "snapshots"]).exits(0);
    dbhaul(here.path(), &["copy", "--repository", place, "--to", "third"])
        .exits(1)
        .says("`dbhaul init --no-config --repository third`");
}

#[test]
fn errors_are_json_too() {
    let here = folder();
    let error = |args: &[&str], code: i32| {
        let run = dbhaul(here.path(), args).exits(code);
        assert!(run.stderr.contains("error: "), "people are told as well: {}", run.stderr);
        let json = run.json();
        assert_eq!(json["error"]["exit-code"], code, "{json}");
        json["error"].clone()
    };
    // Found by the job, by the configuration, by the command line.
    let found = error(&["--json", "snapshots", "--repository", "none"], 1);
    assert!(found["message"].as_str().unwrap().contains("none"), "{found}");
    assert!(found["hints"][0].as_str().unwrap().contains("dbhaul init"), "{found}");
    assert!(found["caused-by"][0].as_str().unwrap().contains("does not contain a repository"), "{found}");
    error(&["backup", "--json"], 2);
    let found = error(&["nonsense", "--json"], 2);
    assert!(found["message"].as_str().unwrap().contains("nonsense"), "{found}");
    std::fs::write(here.path().join("dbhaul.toml"), "[retention]\ndaily = 7\nzone = \"Asia/Soul\"\n")
        .unwrap();
    let found = error(&["snapshots", "--json"], 2);
    assert!(found["message"].as_str().unwrap().contains("did you mean `Asia/Seoul`?"), "{found}");
    // Without it standard output stays empty.
    let plain = dbhaul(here.path(), &["snapshots"]).exits(2);
    assert_eq!(plain.stdout, "");
}

#[test]
fn an_unknown_zone_names_the_nearest_one() {
    let here = folder();
    for (wrong, right) in [("Asia/Soul", "Asia/Seoul"), ("KST", "Asia/Seoul"), ("Seoul", "Asia/Seoul")] {
        let forget = ["forget", "--daily", "7", "--zone", wrong, "--repository", "r"];
        dbhaul(here.path(), &forget).exits(2).says(&format!("did you mean `{right}`?"));
    }
    dbhaul(here.path(), &["forget", "--daily", "7", "--zone", "Mars/Base", "--repository", "r"])
        .exits(2)
        .says("unknown time zone");
}

#[test]
fn a_configuration_is_found_for_the_user_and_the_nearer_one_wins() {
    let here = folder();
    let write = |path: &str, url: &str| {
        let path = here.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("[repository]\nurl = \"{url}\"\n")).unwrap();
    };
    let run = |args: &[&str], xdg: bool| {
        let mut command = command(here.path(), args);
        command.env("HOME", here.path().join("home"));
        match xdg {
            true => command.env("XDG_CONFIG_HOME", here.path().join("xdg")),
            false => command.env_remove("XDG_CONFIG_HOME"),
        };
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    assert!(run(&["snapshots"], false).contains("no repository is named"));
    write("home/.config/dbhaul/dbhaul.toml", "of-home");
    assert!(run(&["snapshots"], false).contains("home/.config/dbhaul/of-home"));
    write("xdg/dbhaul/dbhaul.toml", "of-xdg");
    assert!(run(&["snapshots"], true).contains("xdg/dbhaul/of-xdg"));
    write("dbhaul.toml", "of-here");
    assert!(run(&["snapshots"], true).contains("of-here"));
    write("named.toml", "of-name");
    assert!(run(&["--config", "named.toml", "snapshots"], true).contains("of-name"));
}
