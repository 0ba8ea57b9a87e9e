//! Users of a Redis server: stored with the keys, tested before the restore, created after the keys.
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common;
use crate::common::{ask, dbhaul, folder, quick_redis};
use sandbox::Redis;
use sandbox::testing::require_redis;

fn server(version: &str) -> Option<Redis> {
    Some(Redis::start(&require_redis(version)?, quick_redis()).unwrap())
}

async fn told(server: &Redis, words: &str) -> String {
    let words: Vec<&str> = words.split(' ').collect();
    ask(&server.url(), &words).await.unwrap().join(" ")
}

fn hides(run: &common::Run, secrets: &[&str]) {
    for secret in secrets {
        assert!(
            !run.stdout.contains(secret) && !run.stderr.contains(secret),
            "{secret} is shown: {}{}",
            run.stdout,
            run.stderr
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_copied_on_request() {
    let (Some(source), Some(target), Some(moved)) = (server("7.0"), server("8.2"), server("7.0")) else {
        return;
    };
    told(&source, "SET bot:state on").await;
    told(&source, "ACL SETUSER bot on >correct-horse ~bot:* -@all +get").await;
    told(&source, "CONFIG SET masterauth very-secret").await;
    told(&source, "CONFIG SET maxmemory 123456789").await;
    let here = folder();
    dbhaul(here.path(), &["init", "--no-config", "--repository", "store"]).exits(0);
    let (from, to, third) = (source.url(), target.url(), moved.url());
    let backup = ["backup", "--repository", "store", "--redis", &from, "--with-acl"];
    let restore = ["restore", "latest", "--repository", "store", "--redis", &to, "--with-acl"];

    // A snapshot without users says so before a key is written.
    dbhaul(here.path(), &backup[..5]).exits(0);
    dbhaul(here.path(), &restore).exits(2).says("taken without --with-acl");
    assert_eq!(told(&target, "DBSIZE").await, "0");

    dbhaul(here.path(), &backup).exits(0).says("not stored, being secret: masterauth");
    let restored = dbhaul(here.path(), &restore).exits(0);
    hides(&restored, &["correct-horse", "very-secret", "#"]);
    restored.shows("2 users made: bot, default").shows("maxmemory: \"123456789\" in the backup, \"0\" here");
    let as_bot = |server: &Redis| server.url_as("bot", "correct-horse");
    assert_eq!(ask(&as_bot(&target), &["GET", "bot:state"]).await.unwrap(), ["on"]);
    assert!(
        ask(&as_bot(&target), &["GET", "other"])
            .await
            .unwrap_err()
            .code()
            .is_some_and(|code| code == "NOPERM")
    );
    for words in [&["check", "--read-data"][..], &["rehearse", "latest"], &["inspect", "latest", "--json"]] {
        let seen = dbhaul(here.path(), &[words, &["--repository", "store"]].concat()).exits(0);
        hides(&seen, &["correct-horse", "very-secret"]);
    }

    let migrate = ["migrate", "--from", &from, "--to", &third, "--with-acl", "--json"];
    let migrated = dbhaul(here.path(), &migrate).exits(0);
    hides(&migrated, &["very-secret", "#"]);
    assert_eq!(migrated.json()["targets"][0]["access"]["users"], serde_json::json!(["bot", "default"]));
    assert_eq!(ask(&as_bot(&moved), &["GET", "bot:state"]).await.unwrap(), ["on"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_have_the_users_gets_no_keys() {
    let (Some(source), Some(old)) = (server("7.0"), server("5.0")) else { return };
    told(&source, "SET k v").await;
    let here = folder();
    let (from, to) = (source.url(), old.url());
    dbhaul(here.path(), &["migrate", "--from", &from, "--to", &to, "--with-acl"])
        .exits(5)
        .says("ACLs require Redis 6.0");
    assert_eq!(told(&old, "DBSIZE").await, "0");
    dbhaul(here.path(), &["migrate", "--from", &from, "--to", &to]).exits(0);
    assert_eq!(told(&old, "GET k").await, "v");
}
