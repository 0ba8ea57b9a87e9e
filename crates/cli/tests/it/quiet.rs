//! `--quiet`: a successful run prints nothing, so that cron sends no mail; a failed one is reported in full.
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::{Run, ask, dbhaul, folder, postgres, quick_redis};
use sandbox::testing::{require_postgres, require_redis};
use sandbox::{Postgres, PostgresOptions, Redis};

#[tokio::test(flavor = "multi_thread")]
async fn every_command_that_succeeds_is_silent_when_quiet() {
    let (Some(pg), Some(rd)) = (require_postgres(15), require_redis("7.0")) else { return };
    let server = Postgres::start(&pg, PostgresOptions::default()).unwrap();
    let keys = [(); 2].map(|()| Redis::start(&rd, quick_redis()).unwrap());
    let client = postgres(&server.url("postgres")).await;
    for statement in ["CREATE DATABASE app", "CREATE DATABASE restored", "CREATE DATABASE moved"] {
        client.batch_execute(statement).await.unwrap();
    }
    let [app, restored, moved] = ["app", "restored", "moved"].map(|name| server.url(name));
    postgres(&app).await.batch_execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1)").await.unwrap();
    ask(&keys[0].url(), &["SET", "k", "v"]).await.unwrap();

    let here = folder();
    let (from, to) = (keys[0].url(), keys[1].url());
    let tried = std::cell::RefCell::new(std::collections::BTreeSet::new());
    let run = |args: &[&str]| -> Run {
        tried.borrow_mut().insert(args[0].to_owned());
        dbhaul(here.path(), &[args, &["--quiet"]].concat())
    };
    let silent = |args: &[&str]| {
        let run = run(args).exits(0);
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""), "{args:?}");
    };
    let shows =
        |args: &[&str]| assert_ne!(run(args).exits(0).stdout, "", "{args:?} shows what it is asked for");

    silent(&["key", "generate", "--output", "identity.txt"]);
    let recipient = std::fs::read_to_string(here.path().join("identity.txt")).unwrap();
    let recipient = recipient.split_whitespace().find(|word| word.starts_with("age1")).unwrap().to_owned();
    silent(&["init", "--repository", "store"]);
    silent(&["init", "--no-config", "--repository", "other", "--recipient", &recipient]);
    silent(&["backup", "--postgres", &app, "--redis", &from]);
    std::fs::write(
        here.path().join("n.toml"),
        format!(
            "[job]\nid = \"n\"\n[repository]\nurl = \"store\"\n[nightly]\nstate-dir = \"state\"\n\
         [[source]]\nname = \"app\"\nkind = \"postgres\"\nurl = \"{app}\"\n"
        ),
    )
    .unwrap();
    silent(&["nightly", "--config", "n.toml"]);
    shows(&["status", "--config", "n.toml"]);
    shows(&["schedule", "print", "--cron"]);
    shows(&["doctor", "--config", "n.toml"]);
    shows(&["snapshots"]);
    shows(&["stats"]);
    shows(&["inspect"]);
    shows(&["undelete"]);
    shows(&["baseline", "capture", &app]);
    shows(&["export", "latest", "--format", "json"]);
    shows(&["forget", "--dry-run", "--daily", "7"]);
    shows(&["prune", "--dry-run"]);
    silent(&["pin", "latest"]);
    silent(&["unpin", "latest"]);
    silent(&["check"]);
    silent(&["check", "--read-data"]);
    silent(&["forget", "--daily", "7"]);
    silent(&["prune"]);
    silent(&["copy", "--to", "other", "--to-key-file", "dbhaul.key"]);
    silent(&["restore", "latest", "--postgres", &restored, "--redis", &to]);
    silent(&["compare", &app, &restored]);
    silent(&["compare", &from, &to]);
    silent(&["migrate", "--from", &app, "--to", &moved]);
    silent(&["rehearse", "latest"]);
    let baseline = dbhaul(here.path(), &["baseline", "capture", &app]).exits(0);
    std::fs::write(here.path().join("b.toml"), baseline.stdout).unwrap();
    silent(&["baseline", "check", &app, "--baseline", "b.toml"]);
    silent(&["export", "latest", "--format", "rdb", "--output", "dump.rdb"]);
    silent(&["verify-file", "dump.rdb"]);
    let old = here.path().join("old/coinpilot_20260820_030500.sql.gz");
    crate::import::with_sum(&old, &crate::import::dump("20260820"));
    silent(&["import", "old"]);

    // A failure is reported.
    postgres(&moved).await.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
    let different = run(&["compare", &app, &moved]).exits(3);
    assert_ne!(different.stdout, "");
    let failed = run(&["backup", "--redis", "redis://127.0.0.1:1"]).exits(1);
    assert!(failed.stderr.starts_with("error: "), "{}", failed.stderr);

    // A command that is new decides here too.
    let help = dbhaul(here.path(), &["--help"]).exits(0).stdout;
    let listed = help.split_once("\nCommands:\n").unwrap().1;
    for line in listed.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   ")) {
        let name = line.split_whitespace().next().unwrap();
        // Output is the purpose of completions.
        let exempt = ["help", "completions"].contains(&name);
        assert!(exempt || tried.borrow().contains(name), "{name} was not tried");
    }
}
