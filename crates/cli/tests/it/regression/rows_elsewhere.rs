//! Rows that are stored elsewhere on the target: in other partitions, other tablespaces.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "test code")]

use crate::common::{dbhaul, folder, postgres};
use sandbox::testing::require_postgres;
use sandbox::{Postgres, PostgresOptions};

async fn run(url: &str, sql: &str) {
    let client = postgres(url).await;
    for statement in sql.split(";\n").map(str::trim).filter(|sql| !sql.is_empty()) {
        if let Err(error) = client.batch_execute(statement).await {
            panic!("{error:?}\n{statement}");
        }
    }
}

async fn value(url: &str, sql: &str) -> String {
    postgres(url).await.query_one(sql, &[]).await.unwrap().get(0)
}

/// The hash of an enum value depends on its label's OID, which differs between databases.
const ENUM: &str = "CREATE TYPE pad AS ENUM ('p1','p2','p3','p4','p5');
CREATE TYPE mood AS ENUM ('sad','ok','happy','glad','mad','bad','joy','fear');
CREATE TABLE hm (m mood, n int, twice int GENERATED ALWAYS AS (n * 2) STORED) PARTITION BY HASH (m);
CREATE TABLE hm0 PARTITION OF hm FOR VALUES WITH (MODULUS 4, REMAINDER 0);
CREATE TABLE hm1 PARTITION OF hm FOR VALUES WITH (MODULUS 4, REMAINDER 1) PARTITION BY RANGE (n);
CREATE TABLE hm1_low PARTITION OF hm1 FOR VALUES FROM (0) TO (400);
CREATE TABLE hm1_high PARTITION OF hm1 FOR VALUES FROM (400) TO (1000);
CREATE TABLE hm2 PARTITION OF hm FOR VALUES WITH (MODULUS 4, REMAINDER 2);
CREATE TABLE hm3 PARTITION OF hm FOR VALUES WITH (MODULUS 4, REMAINDER 3);
CREATE TABLE plain (id int);
INSERT INTO plain VALUES (1);
INSERT INTO hm SELECT (ARRAY['sad','ok','happy','glad','mad','bad','joy','fear'])[1 + g % 8]::mood, g FROM generate_series(1,800) g";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hash_partitions_on_an_enum_take_their_rows_through_the_parent() {
    let (Some(old), Some(new)) = (require_postgres(15), require_postgres(18)) else { return };
    let (old, new) =
        [old, new].map(|binaries| Postgres::start(&binaries, PostgresOptions::default()).unwrap()).into();
    let here = folder();
    run(&old.url("postgres"), "CREATE DATABASE a;\nCREATE DATABASE b").await;
    run(&new.url("postgres"), "CREATE DATABASE c").await;
    // Numbers of labels are even, whatever they are: used up in another order, they are others.
    run(&old.url("b"), "CREATE TABLE used_up (id int);\nDROP TABLE used_up;\nCREATE TYPE more AS ENUM ('a', 'b', 'c');\nDROP TYPE more").await;
    let from = old.url("a");
    run(&from, ENUM).await;
    let all = "SELECT md5(string_agg(m::text || n || twice, ',' ORDER BY n)) FROM hm";
    for to in [old.url("b"), new.url("c")] {
        dbhaul(here.path(), &["migrate", "--from", &from, "--to", &to])
            .exits(0)
            .shows("2 of 2 tables equal, 801 rows")
            .shows("schema equal");
        assert_eq!(value(&to, all).await, value(&from, all).await);
        let compared = dbhaul(here.path(), &["compare", &from, &to]);
        if to == old.url("b") {
            compared.exits(0);
        } else {
            compared.shows("public.hm: equal, 800 rows");
        }
    }
    // And out of a repository, into the schema that is there.
    dbhaul(here.path(), &["init", "--repository", "r"]).exits(0);
    dbhaul(here.path(), &["backup", "--repository", "r", "--postgres", &from]).exits(0);
    let to = old.url("b");
    run(&to, "TRUNCATE hm, plain").await;
    let restore = ["restore", "latest", "--repository", "r", "--postgres", &to, "--data-only"];
    dbhaul(here.path(), &restore).exits(0).shows("2 of 2 tables equal, 801 rows");
    let append = [&restore[..], &["--on-existing", "append"]].concat();
    dbhaul(here.path(), &append).exits(0).shows("2 of 2 tables equal, 801 rows");
    assert_eq!(value(&to, "SELECT count(*)::text FROM hm").await, "1600");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hash_partitions_on_text_are_refilled_in_another_encoding() {
    let Some(binaries) = require_postgres(15) else { return };
    let server = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    let here = folder();
    run(
        &server.url("postgres"),
        "CREATE DATABASE a TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C';\nCREATE DATABASE b TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'",
    )
    .await;
    let (from, to) = (server.url("a"), server.url("b"));
    run(
        &from,
        "CREATE TABLE t (name text, n int) PARTITION BY HASH (name);
         CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 3, REMAINDER 0);
         CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 3, REMAINDER 1);
         CREATE TABLE t2 PARTITION OF t FOR VALUES WITH (MODULUS 3, REMAINDER 2);
         INSERT INTO t SELECT 'é' || g || 'ü', g FROM generate_series(1, 300) g",
    )
    .await;
    dbhaul(here.path(), &["migrate", "--from", &from, "--to", &to])
        .exits(0)
        .shows("1 of 1 tables equal, 300 rows");
    dbhaul(here.path(), &["compare", &from, &to]).shows("public.t: equal, 300 rows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_table_fills_a_partitioned_one() {
    let Some(binaries) = require_postgres(15) else { return };
    let server = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    let here = folder();
    run(&server.url("postgres"), "CREATE DATABASE a;\nCREATE DATABASE b").await;
    let (from, to) = (server.url("a"), server.url("b"));
    run(
        &from,
        "CREATE TABLE kinds (id int PRIMARY KEY);
         INSERT INTO kinds VALUES (1), (2);
         CREATE TABLE t (id int, kind int, at date);
         INSERT INTO t SELECT g, 1 + g % 2, '2026-01-01'::date + g FROM generate_series(0, 99) g",
    )
    .await;
    run(
        &to,
        "CREATE TABLE kinds (id int PRIMARY KEY);
         CREATE TABLE t (id int, kind int REFERENCES kinds, at date) PARTITION BY RANGE (at);
         CREATE TABLE early PARTITION OF t FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
         CREATE TABLE late PARTITION OF t FOR VALUES FROM ('2026-02-01') TO ('2027-01-01')",
    )
    .await;
    let migrate = ["migrate", "--from", &from, "--to", &to, "--into-existing"];
    dbhaul(here.path(), &migrate).exits(0).shows("2 of 2 tables equal, 102 rows");
    assert_eq!(value(&to, "SELECT count(*)::text FROM early").await, "31");
    dbhaul(here.path(), &migrate).exits(5).says("table public.t holds rows").says("nothing was written");
    let name = format!("{}:5432/b", server.socket_dir().display());
    let truncate = [&migrate[..], &["--on-existing", "truncate", "--replace", &name]].concat();
    dbhaul(here.path(), &truncate).exits(0).shows("2 of 2 tables equal, 102 rows");
    run(&to, "TRUNCATE kinds CASCADE").await;
    let append = [&migrate[..], &["--on-existing", "append"]].concat();
    run(&to, "INSERT INTO t VALUES (7, NULL, '2026-03-01')").await;
    dbhaul(here.path(), &append).exits(0).shows("2 of 2 tables equal, 102 rows");
    assert_eq!(value(&to, "SELECT count(*)::text FROM t").await, "101");
    // A trigger of a single partition fires for its rows too.
    run(
        &to,
        "TRUNCATE kinds CASCADE;
         CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER eats BEFORE INSERT ON late FOR EACH ROW EXECUTE FUNCTION tf();
         ALTER TABLE late ENABLE ALWAYS TRIGGER eats",
    )
    .await;
    dbhaul(here.path(), &migrate).exits(5).says("trigger eats on public.late fires even for replicated rows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tablespaces_that_are_missing_are_found_before_anything_is_written() {
    let Some(binaries) = require_postgres(15) else { return };
    let [from, to] = [(); 2].map(|()| Postgres::start(&binaries, PostgresOptions::default()).unwrap());
    let here = folder();
    for (server, name) in [(&from, "fast"), (&to, "slow")] {
        let space = server.socket_dir().join("space");
        std::fs::create_dir(&space).unwrap();
        let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(server.data_dir()).unwrap());
        std::os::unix::fs::chown(&space, Some(owner), None).unwrap();
        let sql = format!("CREATE TABLESPACE {name} LOCATION '{}'", space.display());
        run(&server.url("postgres"), &sql).await;
    }
    run(&to.url("postgres"), "CREATE DATABASE b;\nCREATE DATABASE c;\nCREATE DATABASE d").await;
    let from = from.url("postgres");
    run(
        &from,
        "CREATE TABLE t (id int PRIMARY KEY USING INDEX TABLESPACE fast) TABLESPACE fast;
         CREATE INDEX i ON t (id) TABLESPACE fast;
         CREATE MATERIALIZED VIEW m TABLESPACE fast AS SELECT id FROM t;
         CREATE TABLE p (id int) PARTITION BY RANGE (id) TABLESPACE fast;
         INSERT INTO t SELECT generate_series(1, 10)",
    )
    .await;
    let b = to.url("b");
    let migrate = ["migrate", "--from", &from, "--to", &b];
    dbhaul(here.path(), &migrate)
        .exits(5)
        .says("tablespace fast does not exist at the target and is needed by")
        .says("--tablespace-map OLD=NEW")
        .says("nothing was written");
    dbhaul(here.path(), &[&migrate[..], &["--no-tablespaces"]].concat()).exits(0).shows("schema equal");
    let c = to.url("c");
    dbhaul(here.path(), &["migrate", "--from", &from, "--to", &c, "--tablespace-map", "fast=slow"])
        .exits(0)
        .shows("schema equal");
    let placed = "SELECT count(*)::text FROM pg_class c JOIN pg_tablespace s ON s.oid = c.reltablespace WHERE s.spcname = 'slow'";
    assert_eq!(value(&c, placed).await, "5");
    // Nothing names the database's default tablespace.
    let d = to.url("d");
    dbhaul(here.path(), &["migrate", "--from", &from, "--to", &d, "--tablespace-map", "fast=pg_default"])
        .exits(0)
        .shows("schema equal");
    let map = ["migrate", "--from", &from, "--to", &d, "--tablespace-map", "fast"];
    dbhaul(here.path(), &map).exits(2).says("--tablespace-map expects OLD=NEW");
}

/// No temporary file at all is allowed here, and the objects are read by a role that is no superuser.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_objects_need_no_temporary_space_at_the_source() {
    let Some(binaries) = require_postgres(15) else { return };
    let settings = vec![("temp_file_limit".to_owned(), "0".to_owned())];
    let from =
        Postgres::start(&binaries, PostgresOptions { settings, ..PostgresOptions::default() }).unwrap();
    let to = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    let here = folder();
    for server in [&from, &to] {
        run(&server.url("postgres"), "CREATE ROLE app LOGIN;\nCREATE DATABASE app OWNER app").await;
    }
    let own = from.url("app").replace("//postgres@", "//app@");
    run(&own, "SELECT lo_from_bytea(0, decode(repeat('ab', 20000000), 'hex'));\nSELECT lo_from_bytea(0, '\\x01') FROM generate_series(1, 2000);\nSELECT lo_create(0)").await;
    let to = to.url("app");
    dbhaul(here.path(), &["migrate", "--from", &own, "--to", &to]).exits(0).shows("1 of 1 tables equal");
    let all =
        "SELECT count(*) || md5(string_agg(md5(lo_get(oid)), ',' ORDER BY oid)) FROM pg_largeobject_metadata";
    assert_eq!(value(&to, all).await, value(&from.url("app"), all).await);
}

/// The server takes no message of more than 1 GB, and a row is one message when it is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run by scripts/test --all; needs about 6 GB of memory"]
async fn a_row_of_nearly_a_gigabyte_follows_small_ones() {
    let Some(binaries) = require_postgres(15) else { return };
    let server = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    let here = folder();
    run(&server.url("postgres"), "CREATE DATABASE a;\nCREATE DATABASE b").await;
    let (from, to) = (server.url("a"), server.url("b"));
    // About 60 kB of small rows, then 1,073,720,0xx bytes of COPY text, which the server can just send.
    run(
        &from,
        "CREATE TABLE blobs (id int, b bytea);
         INSERT INTO blobs SELECT g, repeat('z', 496)::bytea FROM generate_series(10, 69) g;
         INSERT INTO blobs SELECT 1, repeat('a', 536860000)::bytea;
         INSERT INTO blobs VALUES (2, 'x')",
    )
    .await;
    dbhaul(here.path(), &["migrate", "--from", &from, "--to", &to])
        .exits(0)
        .shows("1 of 1 tables equal, 62 rows");
}
