//! The data folder of a Redis server as a source: stored, listed, restored, rehearsed.
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common;
use crate::common::{command, dbhaul, folder, quick_redis, redis};
use sandbox::testing::require_redis;
use sandbox::{Redis, RedisOptions};

fn keeping_aof(version: &str) -> Option<Redis> {
    Some(Redis::start(&require_redis(version)?, RedisOptions { appendonly: true, ..quick_redis() }).unwrap())
}

async fn fill(server: &Redis, keys: usize) {
    let mut connection = redis(&server.url()).await;
    for n in 0..keys {
        ::redis::cmd("SET").arg(n).arg(format!("value {n}")).exec_async(&mut connection).await.unwrap();
    }
}

async fn ask(server: &Redis, words: &[&str]) -> Vec<String> {
    common::ask(&server.url(), words).await.unwrap()
}

fn configure(here: &std::path::Path, server: &Redis, url: bool) {
    let url = if url { format!("url = \"{}\"\n", server.url()) } else { String::new() };
    let text = format!(
        "[repository]\nurl = \"backup\"\n[[source]]\nname = \"cache\"\nkind = \"redis\"\n{url}data-dir = \"{}\"\n",
        server.dir().display()
    );
    std::fs::write(here.join("dbhaul.toml"), text).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_folder_is_backed_up_and_restored_with_the_server_running_or_not() {
    let Some(mut server) = keeping_aof("7.0") else { return };
    fill(&server, 300).await;
    let here = folder();
    dbhaul(here.path(), &["init"]).exits(0);
    configure(here.path(), &server, true);
    dbhaul(here.path(), &["backup"]).exits(0).says("appendonly.aof.1.incr.aof");
    let setting = ask(&server, &["CONFIG", "GET", "auto-aof-rewrite-percentage"]).await;
    assert_eq!(setting, ["auto-aof-rewrite-percentage", "100"]);

    let target = Redis::start(&require_redis("8.2").unwrap(), quick_redis()).unwrap();
    let restored = dbhaul(here.path(), &["restore", "latest", "--redis", &target.url()]).exits(0);
    restored.shows("cache ->").shows("301 commands answered without an error");
    assert_eq!(ask(&target, &["DBSIZE"]).await, ["300"]);
    assert_eq!(ask(&target, &["GET", "7"]).await, ["value 7"]);
    dbhaul(here.path(), &["rehearse", "latest"]).exits(0);
    dbhaul(here.path(), &["inspect", "latest"]).exits(0).shows("cache");
    // Its base is empty; what came after it is known by its commands.
    dbhaul(here.path(), &["inspect", "latest", "--source", "cache"]).exits(0).shows("set: 300");
    dbhaul(here.path(), &["inspect", "latest", "--csv"]).exits(0).shows("command,set,,,,,300");
    let export = ["export", "latest", "--source", "cache", "--format", "json"];
    dbhaul(here.path(), &export).exits(2).says("is an append-only file");

    ask(&server, &["SAVE"]).await;
    server.stop();
    configure(here.path(), &server, false);
    dbhaul(here.path(), &["backup"])
        .exits(0)
        .says("left out, because a server does not load it")
        .says("dump.rdb");
    // Named itself, the RDB is a source like any captured one: its keys are proven.
    let text = std::fs::read_to_string(here.path().join("dbhaul.toml")).unwrap();
    let rdb = server.dir().join("dump.rdb");
    let text = text.replace(&format!("{}\"", server.dir().display()), &format!("{}\"", rdb.display()));
    std::fs::write(here.path().join("dbhaul.toml"), text).unwrap();
    dbhaul(here.path(), &["backup"]).exits(0);
    let other = Redis::start(&require_redis("7.0").unwrap(), quick_redis()).unwrap();
    dbhaul(here.path(), &["restore", "latest", "--redis", &other.url()]).exits(0).shows("300 keys");
    dbhaul(here.path(), &export).exits(0).shows("value 7");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_terminated_leaves_the_servers_setting_as_it_was() {
    let Some(server) = keeping_aof("7.0") else { return };
    fill(&server, 2000).await;
    let here = folder();
    dbhaul(here.path(), &["init"]).exits(0);
    configure(here.path(), &server, true);
    // A rewrite of 20 seconds, for which the backup waits.
    ask(&server, &["CONFIG", "SET", "rdb-key-save-delay", "10000"]).await;
    ask(&server, &["BGREWRITEAOF"]).await;
    let mut backup = command(here.path(), &["backup"]).spawn().unwrap();
    let is = async |wanted: &str| {
        for _ in 0..1000 {
            if ask(&server, &["CONFIG", "GET", "auto-aof-rewrite-percentage"]).await[1] == wanted {
                return true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        false
    };
    assert!(is("0").await);
    std::process::Command::new("kill").args(["-TERM", &backup.id().to_string()]).status().unwrap();
    assert_eq!(backup.wait().unwrap().code(), Some(130));
    assert!(is("100").await);
}
