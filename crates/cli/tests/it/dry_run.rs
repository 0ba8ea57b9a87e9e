//! The plan of a restore or a migration is printed, is exact, and nothing is written.
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::{Run, ask, dbhaul, folder, postgres, quick_redis};
use sandbox::testing::{require_postgres, require_redis};
use sandbox::{Postgres, PostgresOptions, Redis};

const SHOP: &str = "
CREATE ROLE clerk;
CREATE TABLE customer (id int PRIMARY KEY, name text);
CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customer, total int);
CREATE INDEX orders_total ON orders (total);
INSERT INTO customer SELECT g, 'c' || g FROM generate_series(1, 50) g;
INSERT INTO orders SELECT g, 1 + g % 50, g FROM generate_series(1, 120000) g;
ALTER TABLE orders OWNER TO clerk;
";

async fn number(url: &str, sql: &str) -> i64 {
    postgres(url).await.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plan_of_a_database_is_shown_and_nothing_is_written() {
    let Some(binaries) = require_postgres(15) else { return };
    let start = || Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    let (from, to) = (start(), start());
    postgres(&from.url("postgres")).await.batch_execute("CREATE DATABASE shop").await.unwrap();
    let shop = from.url("shop");
    postgres(&shop).await.batch_execute(SHOP).await.unwrap();
    let here = folder();
    let run = |args: &[&str]| -> Run { dbhaul(here.path(), args) };
    run(&["init", "--repository", "store"]).exits(0);
    run(&["backup", "--postgres", &shop, "--globals", "--no-forget"]).exits(0);

    // A new database with its roles: neither is created.
    let whole = to.url("whole");
    let restore = ["restore", "latest", "--postgres", &whole, "--create", "--dry-run"];
    run(&restore).exits(5).says("role clerk");
    let with_roles: Vec<&str> = restore.iter().copied().chain(["--globals"]).collect();
    run(&with_roles)
        .exits(0)
        .shows("dry run: nothing was written")
        .shows("database `whole` is created")
        .shows("roles created unless they exist: clerk")
        .shows("public.orders")
        .shows("COPY FREEZE")
        .shows("index public.orders_total")
        .shows("read back public.orders");
    let maintenance = to.url("postgres");
    assert_eq!(number(&maintenance, "SELECT count(*) FROM pg_database WHERE datname = 'whole'").await, 0);
    assert_eq!(number(&maintenance, "SELECT count(*) FROM pg_roles WHERE rolname = 'clerk'").await, 0);

    // The same as JSON: every step comes after its dependencies.
    let json: Vec<&str> = with_roles.iter().copied().chain(["--json"]).collect();
    let plan = run(&json).exits(0).json();
    let plan = &plan["targets"][0];
    assert_eq!(plan["kind"], "postgres");
    assert_eq!(plan["existing"]["policy"], "new-database");
    let orders = plan["tables"].as_array().unwrap().iter().find(|table| table["rows"] == 120000).unwrap();
    assert_eq!((&orders["streams"], &orders["copy"]), (&1.into(), &"frozen".into()));
    let nodes = plan["graph"]["nodes"].as_array().unwrap();
    assert!(nodes.iter().any(|node| node["work"] == "load"));
    for (at, node) in nodes.iter().enumerate() {
        assert!(node["needs"].as_array().unwrap().iter().all(|need| (need.as_u64().unwrap() as usize) < at));
    }

    // A database that is not empty: refused as in the run itself, and the objects to drop are listed.
    for sql in ["CREATE DATABASE there", "CREATE ROLE clerk"] {
        postgres(&maintenance).await.batch_execute(sql).await.unwrap();
    }
    let there = to.url("there");
    postgres(&there)
        .await
        .batch_execute("CREATE TABLE orders (x int); INSERT INTO orders VALUES (1)")
        .await
        .unwrap();
    let migrate = ["migrate", "--from", &shop, "--to", &there, "--dry-run"];
    run(&migrate).exits(5).says("public.orders");
    let clean: Vec<&str> = migrate.iter().copied().chain(["--clean"]).collect();
    run(&clean).exits(0).shows("drop table public.orders").shows("load public.orders");
    assert_eq!(number(&there, "SELECT count(*) FROM orders").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plan_of_a_redis_server_is_shown_and_nothing_is_written() {
    let (Some(new), Some(old)) = (require_redis("8.2"), require_redis("6.2")) else { return };
    let from = Redis::start(&new, quick_redis()).unwrap();
    let to = Redis::start(&old, quick_redis()).unwrap();
    ask(&from.url(), &["SET", "a", "1"]).await.unwrap();
    ask(&from.url(), &["HSET", "h", "f", "1"]).await.unwrap();
    let here = folder();
    let (from, to) = (from.url(), to.url());
    let migrate = ["migrate", "--from", &from, "--to", &to, "--dry-run"];
    dbhaul(here.path(), &migrate).exits(0).shows("2 keys").shows("it holds 0 keys");
    // An older server does not know expiries of fields: the run would be refused, and so is the plan.
    ask(&from, &["HPEXPIRE", "h", "100000000", "FIELDS", "1", "f"]).await.unwrap();
    dbhaul(here.path(), &migrate).exits(5).shows("the run would be refused");
    let left_out: Vec<&str> = migrate.iter().copied().chain(["--on-unsupported", "skip"]).collect();
    dbhaul(here.path(), &left_out).exits(0).shows("they are left out");
    assert_eq!(ask(&to, &["KEYS", "*"]).await.unwrap(), Vec::<String>::new());
}
