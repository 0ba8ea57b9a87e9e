//! Partial databases, and targets that are not empty: what was requested arrives, and reports do not claim more.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "test code")]

use crate::common::{Run, dbhaul, folder, postgres, target_name};
use sandbox::testing::require_postgres;
use sandbox::{Postgres, PostgresOptions};

const SHOP: &str = "
CREATE ROLE clerk; CREATE ROLE boss SUPERUSER; GRANT clerk TO boss WITH ADMIN OPTION; ALTER ROLE clerk SET work_mem = '8MB'; COMMENT ON ROLE clerk IS 'sells';
CREATE TYPE state AS ENUM ('new', 'paid');
CREATE TABLE customer (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name varchar(20) NOT NULL);
CREATE TABLE orders (id serial PRIMARY KEY, customer int NOT NULL REFERENCES customer, state state DEFAULT 'new', total numeric(10,2));
CREATE TABLE \"o\"\"dd
-- name\" (\"a
b\" text, money money, at timestamptz, raw bytea);
INSERT INTO customer (name) SELECT 'c' || g FROM generate_series(1, 50) g;
INSERT INTO orders (customer, total) SELECT 1 + g % 50, g * 1.5 FROM generate_series(1, 500) g;
INSERT INTO \"o\"\"dd
-- name\" VALUES (E'x\\ny\\\\.', -12.34, '2026-11-23 01:02:03.000004+09', '\\x00ff5c0a'), (NULL, NULL, 'infinity', ''), (E'\\\\.', 0, NULL, NULL);
SELECT lo_from_bytea(7777, '\\x00ff'); COMMENT ON LARGE OBJECT 7777 IS 'large';
CREATE VIEW dear AS SELECT * FROM orders WHERE total > 100;
CREATE MATERIALIZED VIEW sums AS SELECT customer, sum(total) AS total FROM orders GROUP BY 1;
ALTER TABLE orders OWNER TO clerk; GRANT SELECT ON customer TO clerk;
";

/// A source with the shop in it, and a second server for targets.
async fn servers(major: u32) -> Option<(Postgres, Postgres)> {
    let binaries = require_postgres(major)?;
    let start = || Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    let (from, to) = (start(), start());
    let client = postgres(&from.url("postgres")).await;
    client.batch_execute("CREATE DATABASE shop").await.unwrap();
    client
        .batch_execute(
            "ALTER DATABASE shop SET search_path = public, pg_catalog; COMMENT ON DATABASE shop IS 'it''s'",
        )
        .await
        .unwrap();
    postgres(&from.url("shop")).await.batch_execute(SHOP).await.unwrap();
    Some((from, to))
}

async fn one(url: &str, sql: &str) -> String {
    let messages = postgres(url).await.simple_query(sql).await.unwrap();
    messages
        .iter()
        .find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("<null>").to_owned()),
            _ => None,
        })
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_restored_whole_in_part_and_without_this_tool() {
    let Some((from, to)) = servers(15).await else { return };
    let here = folder();
    let run = |args: &[&str]| -> Run {
        let all: Vec<&str> = args.iter().copied().chain(["--repository", "store"]).collect();
        dbhaul(here.path(), &all)
    };
    let shop = from.url("shop");
    run(&["init"]).exits(0);
    std::fs::remove_file(here.path().join("dbhaul.toml")).unwrap();
    run(&["backup", "--postgres", &shop, "--globals", "--no-forget"]).exits(0);
    run(&["inspect", "--objects"]).exits(0).shows("materialized view  public.sums").shows("7777");

    // Missing roles are reported before anything is written, with the solutions; then they are created from the
    // snapshot.
    let whole = to.url("whole");
    run(&["restore", "latest", "--postgres", &whole, "--create"])
        .exits(5)
        .says("--role-map OLD=NEW")
        .says("role clerk");
    assert_eq!(one(&to.url("postgres"), "SELECT count(*) FROM pg_roles WHERE rolname = 'clerk'").await, "0");
    assert_eq!(
        one(&to.url("postgres"), "SELECT count(*) FROM pg_database WHERE datname = 'whole'").await,
        "0"
    );
    run(&["restore", "latest", "--postgres", &whole, "--create", "--globals"])
        .exits(0)
        .shows("4 of 4 tables equal");
    assert_eq!(one(&whole, "SHOW search_path").await, "public, pg_catalog");
    let said = "SELECT shobj_description((SELECT oid FROM pg_database WHERE datname = 'whole'), 'pg_database') || shobj_description('clerk'::regrole, 'pg_authid')";
    assert_eq!(one(&whole, said).await, "it'ssells");
    assert_eq!(one(&whole, "SELECT pg_has_role('boss', 'clerk', 'MEMBER')").await, "t");

    // One table of a snapshot into a database with others; never over an existing one.
    postgres(&whole).await.batch_execute("DROP TABLE orders CASCADE").await.unwrap();
    run(&["restore", "latest", "--postgres", &whole, "--table", "customer"])
        .exits(5)
        .says("table public.customer already exists");
    run(&["restore", "latest", "--postgres", &whole, "--table", "orders"])
        .exits(0)
        .shows("1 of 1 tables equal");
    run(&["restore", "latest", "--postgres", &whole, "--table", "ordres"])
        .exits(2)
        .says("no table matches `ordres`");
    run(&["compare", "latest", &whole, "--schema-only"])
        .exits(3)
        .shows("view public.dear")
        .shows("foreign key orders_customer_fkey");
    let name = target_name(&whole);
    run(&["restore", "latest", "--postgres", &whole, "--clean", "--replace", &name]).exits(0);
    run(&["compare", "latest", &whole]).exits(0);
    let refused = run(&["restore", "latest", "--postgres", &whole, "--json"]).exits(5).says("is not empty");
    let conflicts = refused.json()["error"]["conflicts"].clone();
    assert_eq!(conflicts[0]["conflict"], "not-empty", "{conflicts}");
    assert!(
        conflicts[0]["message"].as_str().unwrap().starts_with("it is not empty: it holds"),
        "{conflicts}"
    );

    // A part of a database says so, and is not the latest.
    run(&["backup", "--postgres", &shop, "--where", "orders=id <= 10", "--exclude-table-data", "customer"])
        .exits(0);
    run(&["snapshots"])
        .exits(0)
        .shows("only without rows of customer; orders where id <= 10")
        .shows("default:part");
    run(&["compare", "latest", &shop]).exits(0);
    let rows = to.url("rows");
    run(&["migrate", "--from", &shop, "--to", &rows, "--create", "--schema-only"]).exits(0);
    assert_eq!(one(&rows, "SELECT count(*) || ' ' || count(*) FILTER (WHERE relkind = 'i') FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'public'").await, "9 2");
    run(&["restore", "latest", "--postgres", &rows, "--data-only"]).exits(0).shows("4 of 4 tables equal");
    run(&["restore", "latest", "--postgres", &rows, "--data-only"]).exits(5).says("holds rows");
    let truncate = ["--into-existing", "--on-existing", "truncate", "--replace", &target_name(&rows)];
    run(&[&["restore", "latest", "--postgres", &rows], &truncate[..]].concat()).exits(0);
    assert_eq!(one(&rows, "SELECT count(*) FROM sums").await, "50");

    // A script that psql restores.
    run(&["export", "latest", "--format", "sql", "--output", "shop.sql"]).exits(0);
    run(&["export", "latest", "--format", "sql", "--output", "shop.sql"]).exits(1).says("shop.sql");
    postgres(&to.url("postgres")).await.batch_execute("CREATE DATABASE psql").await.unwrap();
    let psql = psql_command()
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "shop.sql", &to.url("psql")])
        .current_dir(here.path())
        .output();
    match psql {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && !said.contains("ERROR"), "{said}");
            // A script brings no settings of the database: always named, and counted on request.
            let psql = to.url("psql");
            let counted = ["compare", "latest", &psql, "--database-settings"];
            run(&["compare", "latest", &psql])
                .exits(0)
                .shows("not compared: a setting that only the database");
            run(&counted).exits(3).shows("settings of the database: DIFFERENT definition");
            let set = "ALTER DATABASE psql SET search_path = public, pg_catalog; COMMENT ON DATABASE psql IS 'it''s'";
            postgres(&to.url("postgres")).await.batch_execute(set).await.unwrap();
            run(&counted).exits(0);
        }
        Err(error) => {
            assert!(std::env::var_os("DBHAUL_REQUIRE_SERVERS").is_none(), "psql is required here: {error}");
            eprintln!("SKIPPED: the exported script, for there is no psql: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_of_the_sources_roles_is_needed() {
    let Some((from, to)) = servers(15).await else { return };
    let here = folder();
    let shop = from.url("shop");
    let run = |args: &[&str]| -> Run { dbhaul(here.path(), args) };
    postgres(&to.url("postgres")).await.batch_execute("CREATE ROLE other").await.unwrap();
    run(&["migrate", "--from", &shop, "--to", &to.url("mapped"), "--create", "--role-map", "clerk=other"])
        .exits(0);
    assert_eq!(
        one(&to.url("mapped"), "SELECT tableowner FROM pg_tables WHERE tablename = 'orders'").await,
        "other"
    );
    run(&["migrate", "--from", &shop, "--to", &to.url("bare"), "--create", "--no-owner", "--no-acl"])
        .exits(0);
    assert_eq!(
        one(&to.url("bare"), "SELECT tableowner FROM pg_tables WHERE tablename = 'orders'").await,
        "postgres"
    );

    // With `--on-error continue`, rejected statements are listed at the end.
    let client = postgres(&shop).await;
    client
        .batch_execute("CREATE FUNCTION short(t text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN t IN (SELECT state::text FROM orders); END'; CREATE INDEX by_short ON customer (short(name))")
        .await
        .unwrap();
    let args = ["migrate", "--from", &shop, "--create", "--no-owner", "--no-acl"];
    let to_url = |name: &str| to.url(name);
    let all =
        |more: &[&str]| -> Run { run(&args.iter().copied().chain(more.iter().copied()).collect::<Vec<_>>()) };
    all(&["--to", &to_url("stopped")]).exits(1).says("index public.by_short").says("--search-path");
    let gone_on = all(&["--to", &to_url("on"), "--on-error", "continue"]).exits(4);
    assert!(
        gone_on.stdout.contains("4 of 4 tables equal") && gone_on.stdout.contains("by_short"),
        "{}",
        gone_on.stdout
    );
    all(&["--to", &to_url("path"), "--search-path", "public"]).exits(0);
}

/// psql: beside one of the servers, or of this host.
fn psql_command() -> std::process::Command {
    let beside = [15, 18].into_iter().filter_map(require_postgres).map(|binaries| binaries.bin().to_owned());
    match beside.map(|bin| bin.join("psql")).find(|psql| psql.exists()) {
        Some(psql) => {
            let mut command = std::process::Command::new(&psql);
            // Programs that were unpacked, and not installed, find their libraries only so.
            if let Some(lib) = psql.parent().and_then(|bin| bin.parent()).map(|home| home.join("lib")) {
                command.env("LD_LIBRARY_PATH", lib);
            }
            command
        }
        None => std::process::Command::new("psql"),
    }
}
