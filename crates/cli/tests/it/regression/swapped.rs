//! Swapped source and target: a full target was replaced by an empty source, and the report said "equal".

use crate::common::{Run, ask, dbhaul, folder, postgres, quick_redis};
use sandbox::testing::{require_postgres, require_redis};
use sandbox::{Postgres, PostgresOptions, Redis};

const TABLES: &str = "CREATE TABLE orders (id int PRIMARY KEY); CREATE TABLE notes (t text);";

async fn rows(url: &str) -> i64 {
    let client = postgres(url).await;
    client
        .query_one("SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM notes)", &[])
        .await
        .unwrap()
        .get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_not_replaced_by_none_nor_without_the_targets_name() {
    let Some(binaries) = require_postgres(15) else { return };
    let server = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    let admin = postgres(&server.url("postgres")).await;
    for name in ["many", "none", "near"] {
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        postgres(&server.url(name)).await.batch_execute(TABLES).await.unwrap();
    }
    let (full, none, near) = (server.url("many"), server.url("none"), server.url("near"));
    let fill = "INSERT INTO orders SELECT generate_series(1, 1500); INSERT INTO notes VALUES ('a')";
    postgres(&full).await.batch_execute(fill).await.unwrap();
    let fill = "INSERT INTO orders SELECT generate_series(1, 760); INSERT INTO notes VALUES ('b')";
    postgres(&near).await.batch_execute(fill).await.unwrap();
    let here = folder();
    let run = |args: &[&str]| -> Run { dbhaul(here.path(), args) };
    let target = format!("{}:5432/many", server.socket_dir().display());

    let clean = ["migrate", "--from", &none, "--to", &full, "--clean"];
    let truncate =
        ["migrate", "--from", &none, "--to", &full, "--into-existing", "--on-existing", "truncate"];
    for swapped in [&clean[..], &truncate[..]] {
        let named = [swapped, &["--replace", &target]].concat();
        for args in [swapped, &named] {
            run(args).exits(5).says("1,501 rows of").says("by 0 rows").says("nothing was written");
        }
    }
    assert_eq!(rows(&full).await, 1501);
    // Without the rows of the source nothing comes in their place.
    let schema =
        ["migrate", "--from", &near, "--to", &full, "--clean", "--schema-only", "--replace", &target];
    run(&schema).exits(5).says("by 0 rows");
    // A condition on the source's rows counts.
    let part = [
        "migrate",
        "--from",
        &near,
        "--to",
        &full,
        "--clean",
        "--where",
        "orders=id < 10",
        "--replace",
        &target,
    ];
    run(&part).exits(5).says("by 10 rows");

    // Enough of them, but the target is not named; or it is another one.
    let near_clean = ["migrate", "--from", &near, "--to", &full, "--clean"];
    run(&near_clean).exits(5).says(&format!("--replace {target}")).says("by 761 rows");
    let other = [&near_clean[..], &["--replace", "127.0.0.1:5432/many"]].concat();
    run(&other).exits(5).says("--replace names 127.0.0.1:5432/many").says(&target);
    assert_eq!(rows(&full).await, 1501);
    let named = [&near_clean[..], &["--replace", &target]].concat();
    run(&named).exits(0).says("replacing 1,501 rows");
    assert_eq!(rows(&full).await, 761);

    // Empty tables are cleaned without confirmation, and a name is then not required.
    run(&["migrate", "--from", &full, "--to", &none, "--clean"]).exits(0);
    run(&["migrate", "--from", &full, "--to", &near, "--replace", &target]).exits(2).says("--clean");

    // The same from a snapshot; and with leave.
    let restored = ["restore", "latest", "--repository", "store", "--postgres", &full, "--clean"];
    run(&["init", "--repository", "store"]).exits(0);
    postgres(&none).await.batch_execute("TRUNCATE orders, notes").await.unwrap();
    run(&["backup", "--repository", "store", "--postgres", &none]).exits(0);
    run(&restored).exits(5).says("761 rows of").says("by 0 rows");
    run(&[&restored[..], &["--replace", &target]].concat()).exits(5);
    run(&[&restored[..], &["--allow-fewer"]].concat()).exits(5).says(&format!("--replace {target}"));
    assert_eq!(rows(&full).await, 761);
    run(&[&restored[..], &["--allow-fewer", "--replace", &target]].concat()).exits(0);
    assert_eq!(rows(&full).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_not_replaced_by_far_fewer() {
    let Some(binaries) = require_redis("7.0") else { return };
    let start = || Redis::start(&binaries, quick_redis()).unwrap();
    let (full, none) = (start(), start());
    for key in 0..10 {
        ask(&full.url(), &["SET", &format!("key:{key}"), "v"]).await.unwrap();
    }
    ask(&none.url(), &["SET", "one", "v"]).await.unwrap();
    let here = folder();
    let run = |args: &[&str]| -> Run { dbhaul(here.path(), args) };
    let keys = async || ask(&full.url(), &["DBSIZE"]).await.unwrap();
    let (from, to, address) = (none.url(), full.url(), full.address());

    let migrate = ["migrate", "--from", &from, "--to", &to, "--flush", &address];
    run(&migrate).exits(5).says("10 keys of").says("by 1 keys").says("nothing was written");
    run(&["init", "--repository", "store"]).exits(0);
    run(&["backup", "--repository", "store", "--redis", &from]).exits(0);
    let restore = ["restore", "latest", "--repository", "store", "--redis", &to, "--flush", &address];
    run(&restore).exits(5).says("10 keys of").says("by 1 keys");
    run(&["export", "latest", "--repository", "store", "--format", "rdb", "-o", "one.rdb"]).exits(0);
    let file = ["restore", "./one.rdb", "--redis", &to, "--flush", &address];
    run(&file).exits(5).says("by 1 keys");
    assert_eq!(keys().await, ["10"]);

    // Only the keys that are asked for count.
    for key in 0..9 {
        ask(&none.url(), &["SET", &format!("other:{key}"), "v"]).await.unwrap();
    }
    run(&[&migrate[..], &["--key", "one"]].concat()).exits(5).says("by 1 keys");
    assert_eq!(keys().await, ["10"]);
    run(&migrate).exits(0);
    assert_eq!(ask(&to, &["EXISTS", "key:1"]).await.unwrap(), ["0"]);
    run(&[&file[..], &["--allow-fewer"]].concat()).exits(0);
    assert_eq!(keys().await, ["1"]);
}
