//! A series whose sources change is refused, until the user confirms it.
#![allow(clippy::unwrap_used, reason = "test code")]

use super::subset_snapshots::{init, run};
use crate::common::{dbhaul, folder, postgres, quick_redis};
use sandbox::testing::{require_postgres, require_redis};
use sandbox::{Postgres, PostgresOptions, Redis};

#[tokio::test(flavor = "multi_thread")]
async fn another_database_under_the_same_name_is_refused_and_accepted_on_request() {
    let (Some(pg), Some(rd)) = (require_postgres(15), require_redis("7.0")) else { return };
    let server = Postgres::start(&pg, PostgresOptions::default()).unwrap();
    let redis = Redis::start(&rd, quick_redis()).unwrap();
    for database in ["blog", "shop"] {
        let client = postgres(&server.url("postgres")).await;
        client.batch_execute(&format!("CREATE DATABASE {database}")).await.unwrap();
    }
    let (blog, shop, cache) = (server.url("blog"), server.url("shop"), redis.url());
    let here = folder();
    init(here.path());
    let go = |args: &[&str]| run(here.path(), args);
    go(&["backup", "--postgres", &blog, "--redis", &cache]).exits(0);
    // A subset is the same series; a server of Redis that was restarted is too.
    go(&["backup", "--redis", &cache]).exits(0);
    drop(redis);
    let redis = Redis::start(&rd, quick_redis()).unwrap();
    go(&["backup", "--postgres", &blog, "--redis", &redis.url()]).exits(0);

    let refused = go(&["backup", "--postgres", &shop]).exits(5).says("nothing was backed up");
    let refused = refused.says("database `shop`").says("database `blog`").says("--new-lineage");
    assert!(refused.stdout.is_empty());
    let count = || go(&["snapshots", "--json"]).json()["snapshots"].as_array().unwrap().len();
    assert_eq!(count(), 3);
    // Another server with a database of the same name: a move, reported once.
    let moved = Postgres::start(&pg, PostgresOptions::default()).unwrap();
    postgres(&moved.url("postgres")).await.batch_execute("CREATE DATABASE blog").await.unwrap();
    let moved = moved.url("blog");
    go(&["backup", "--postgres", &moved]).exits(5).says("system identifier");
    let taken =
        go(&["backup", "--postgres", &moved, "--redis", &redis.url(), "--new-lineage", "--json"]).exits(0);
    let id = taken.json()["snapshot"].as_str().unwrap().to_owned();
    let manifest = std::fs::read_to_string(here.path().join(format!("store/snapshots/{id}.json"))).unwrap();
    assert!(manifest.contains("\"new-lineage\":true"), "{manifest}");
    go(&["backup", "--postgres", &moved]).exits(0);
    go(&["backup", "--postgres", &blog]).exits(5).says("is now database `blog`");

    // Other names under the same job id are another application.
    let config = format!(
        "[job]\nid = \"default\"\n[repository]\nurl = \"store\"\n\
         [[source]]\nname = \"bot\"\nkind = \"postgres\"\nurl = \"{shop}\"\n"
    );
    std::fs::write(here.path().join("dbhaul.toml"), config).unwrap();
    let other = dbhaul(here.path(), &["backup"]).exits(5);
    other.says("its sources are now `bot`, and were `postgres`, `redis`");
    // Its own job id is all that it needs.
    dbhaul(here.path(), &["backup", "--job", "bot"]).exits(0);
}

/// A host with only the key file, which cannot decrypt backups, can still distinguish two databases.
#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_series_is_recognized_without_an_identity() {
    let Some(pg) = require_postgres(15) else { return };
    let server = Postgres::start(&pg, PostgresOptions::default()).unwrap();
    let client = postgres(&server.url("postgres")).await;
    client.batch_execute("CREATE DATABASE blog; ").await.unwrap();
    client.batch_execute("CREATE DATABASE shop; ").await.unwrap();
    let here = folder();
    dbhaul(here.path(), &["key", "generate", "--output", "identity.txt"]).exits(0);
    let identity = std::fs::read_to_string(here.path().join("identity.txt")).unwrap();
    let recipient = identity.split_whitespace().find(|word| word.starts_with("age1")).unwrap().to_owned();
    run(here.path(), &["init", "--recipient", &recipient]).exits(0);
    std::fs::remove_file(here.path().join("dbhaul.toml")).unwrap();
    let go = |args: &[&str]| run(here.path(), &[args, &["--key-file", "dbhaul.key"]].concat());
    let taken = go(&["backup", "--postgres", &server.url("blog"), "--json"]).exits(0);
    go(&["backup", "--postgres", &server.url("blog")]).exits(0);
    go(&["backup", "--postgres", &server.url("shop")]).exits(5).says("its name is encrypted");
    go(&["backup", "--postgres", &server.url("shop"), "--identity", "identity.txt"])
        .exits(5)
        .says("was database `blog` of system identifier");
    let id = taken.json()["snapshot"].as_str().unwrap().to_owned();
    let manifest = std::fs::read_to_string(here.path().join(format!("store/snapshots/{id}.json"))).unwrap();
    assert!(!manifest.contains("blog") && manifest.contains("hmac-sha256:"), "{manifest}");
    go(&["snapshots"]).exits(0).shows("postgres (encrypted)");
}
