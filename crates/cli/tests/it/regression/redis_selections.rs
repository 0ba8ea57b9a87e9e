//! Keys selected, renamed and with changed expiries, and compared in the same way. Reported as "compare cannot be
//! narrowed to what was migrated", "--key with a misspelling migrates nothing, with exit code 0".
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use crate::common::{ask, dbhaul, folder, quick_redis};
use sandbox::testing::require_redis;
use sandbox::{Redis, RedisOptions};

fn server(databases: u32) -> Option<Redis> {
    let mut options: RedisOptions = quick_redis();
    options.settings.push(("databases".to_owned(), databases.to_string()));
    Some(Redis::start(&require_redis("7.0")?, options).unwrap())
}

async fn set(url: &str, db: u64, key: &str, value: &str) {
    // One connection each: SELECT belongs to it.
    let mut connection = crate::common::redis(url).await;
    ::redis::pipe()
        .cmd("SELECT")
        .arg(db)
        .cmd("SET")
        .arg(key)
        .arg(value)
        .exec_async(&mut connection)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_was_migrated_is_compared_as_that_part() {
    let (Some(one), Some(other)) = (server(16), server(16)) else { return };
    let (from, to) = (one.url(), other.url());
    for (db, key) in [(0, "bot:a"), (0, "bot:b"), (0, "bot:tmp"), (0, "price:x"), (2, "bot:c"), (2, "z")] {
        set(&from, db, key, key).await;
    }
    ask(&from, &["PEXPIREAT", "bot:a", "4102444800000"]).await.unwrap();
    let here = folder();
    let run = |command: &str, more: &[&str]| {
        let sides: &[&str] = match command {
            "migrate" => &["migrate", "--from", &from, "--to", &to],
            _ => &["compare", &from, &to],
        };
        dbhaul(here.path(), &[sides, more].concat())
    };
    let part = ["--key", "bot:*", "--exclude-key", "*:tmp", "--db", "2=5"];
    run("migrate", &part).exits(0).shows("3 equal");
    run("compare", &part).exits(0).shows("3 equal");
    run("compare", &[]).exits(3);
    // Additional keys of the selection on the target are differences; other keys do not matter.
    set(&to, 5, "bot:more", "1").await;
    set(&to, 0, "other", "1").await;
    run("compare", &part).exits(3).shows("bot:more").shows("1 different");
    run("compare", &[&part[..], &["--exclude-key", "bot:more"]].concat()).exits(0);
    run("compare", &["--key", "bot:*", "--exclude-key", "*:tmp", "--db", "0"]).exits(0).shows("2 equal");
    // A misspelling.
    run("compare", &["--key", "bto:*"]).exits(2).says("`bto:*`");
    ask(&to, &["FLUSHALL"]).await.unwrap();
    run("migrate", &["--key", "bot:*", "--key", "bto:*"]).exits(2).says("`bto:*`");
    assert_eq!(ask(&to, &["DBSIZE"]).await.unwrap(), ["0"]);

    // Another prefix and other expiries.
    let renamed = ["--rename", "bot:=old:bot:", "--ttl", "+60", "--db", "0"];
    run("migrate", &renamed).exits(0).shows("4 equal");
    run("compare", &renamed).exits(0).shows("4 equal");
    assert_eq!(ask(&to, &["PEXPIRETIME", "old:bot:a"]).await.unwrap(), ["4102444860000"]);
    run("compare", &["--rename", "bot:=old:bot:", "--db", "0"]).exits(3).shows("another expiry");
    ask(&to, &["FLUSHALL"]).await.unwrap();
    run("migrate", &["--ttl", "drop"]).exits(0).shows("6 equal");
    run("compare", &["--ttl", "drop"]).exits(0).shows("6 equal");
    assert_eq!(ask(&to, &["PEXPIRETIME", "bot:a"]).await.unwrap(), ["-1"]);

    // Two keys that would get one name: found before anything is written.
    ask(&to, &["FLUSHALL"]).await.unwrap();
    set(&from, 0, "new:a", "1").await;
    let refused = run("migrate", &["--rename", "bot:=new:", "--on-existing", "replace"]).exits(5);
    refused.says("two keys would get the name `new:a`");
    assert_eq!(ask(&to, &["DBSIZE"]).await.unwrap(), ["0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_restored_and_compared_under_other_names() {
    let (Some(one), Some(other)) = (server(16), server(16)) else { return };
    let (from, to) = (one.url(), other.url());
    for key in ["bot:a", "bot:b", "price:x"] {
        set(&from, 0, key, key).await;
    }
    ask(&from, &["EXPIRE", "bot:a", "3"]).await.unwrap();
    let here = folder();
    dbhaul(here.path(), &["init", "--repository", "repo"]).exits(0);
    dbhaul(here.path(), &["backup", "--repository", "repo", "--redis", &from]).exits(0);
    // It expires on the source, but is still in the snapshot.
    std::thread::sleep(std::time::Duration::from_millis(3200));
    let options = ["--repository", "repo", "--key", "bot:*", "--rename", "bot:=b:", "--ttl", "drop"];
    dbhaul(here.path(), &[&["restore", "latest", "--redis", &to], &options[..]].concat())
        .exits(0)
        .shows("2 equal");
    dbhaul(here.path(), &[&["compare", "latest", &to], &options[..]].concat()).exits(0).shows("2 equal");
    ask(&to, &["SET", "b:a", "changed"]).await.unwrap();
    ask(&to, &["SET", "b:more", "1"]).await.unwrap();
    ask(&to, &["SET", "beside", "1"]).await.unwrap();
    let run = dbhaul(here.path(), &[&["compare", "latest", &to], &options[..]].concat()).exits(3);
    run.shows("b:more").shows("2 different");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_that_one_side_lacks_are_named() {
    let (Some(one), Some(other)) = (server(32), server(16)) else { return };
    let (from, to) = (one.url(), other.url());
    set(&from, 0, "a", "1").await;
    set(&to, 0, "a", "1").await;
    set(&from, 20, "b", "1").await;
    let here = folder();
    for args in [["compare", &from, &to], ["compare", &to, &from]] {
        let run = dbhaul(here.path(), &args).exits(3);
        run.shows(if args[1] == from {
            "NOT compared: database 20 with 1 key"
        } else {
            "missing on the left"
        });
    }
    dbhaul(here.path(), &["compare", &from, &to, "--db", "0"]).exits(0).shows("1 equal");
}
