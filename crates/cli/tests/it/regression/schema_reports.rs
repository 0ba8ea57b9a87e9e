//! Reports about schemas: omissions, what was not compared, and exported rows.

use crate::common::{dbhaul, folder, postgres};
use sandbox::testing::require_postgres;
use sandbox::{Postgres, PostgresOptions};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn omissions_are_reported_and_roles_may_differ() {
    let Some(binaries) = require_postgres(15) else { return };
    let server = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    let client = postgres(&server.url("postgres")).await;
    for sql in ["CREATE DATABASE a", "CREATE DATABASE b", "CREATE ROLE owner_", "CREATE ROLE reader"] {
        client.batch_execute(sql).await.unwrap();
    }
    client.batch_execute("ALTER DATABASE a SET work_mem = '7MB'").await.unwrap();
    let (a, b, here) = (server.url("a"), server.url("b"), folder());
    postgres(&a)
        .await
        .batch_execute(
            "CREATE TABLE t (id serial PRIMARY KEY, a text); INSERT INTO t (a) SELECT E'two\\nlines' FROM generate_series(1, 300); \
             ALTER TABLE t OWNER TO owner_; GRANT SELECT ON t TO reader;",
        )
        .await
        .unwrap();
    postgres(&b).await.batch_execute("CREATE EXTENSION hstore").await.unwrap();
    let run = |args: &[&str]| dbhaul(here.path(), args);
    run(&["migrate", "--from", &a, "--to", &b, "--role-map", "reader=owner_"])
        .exits(0)
        .says("a setting of the source's database is not copied: ALTER DATABASE b SET work_mem TO '7MB'")
        .shows("schema equal")
        .shows("not compared: extension hstore: only the target has it")
        .shows("never compared: roles, memberships, tablespaces");

    postgres(&b).await.batch_execute("DROP EXTENSION hstore").await.unwrap();
    client.batch_execute("ALTER DATABASE b SET work_mem = '7MB'").await.unwrap();
    run(&["compare", &a, &b]).exits(3).shows("GRANT SELECT ON TABLE public.t TO reader");
    run(&["compare", &a, &b, "--role-map", "reader=owner_"]).exits(0);
    run(&["compare", &a, &b, "--no-owner", "--no-acl"]).exits(0);
    run(&["compare", &a, &b, "--role-map", "reader"]).exits(2).says("--role-map expects OLD=NEW");
    run(&["compare", "redis://localhost", "redis://localhost", "--no-owner"]).exits(2).says("PostgreSQL");
    postgres(&b).await.batch_execute("SELECT nextval('t_id_seq')").await.unwrap();
    let mapped = ["--role-map", "reader=owner_"];
    run(&[&["compare", &a, &b][..], &mapped[..]].concat())
        .exits(3)
        .shows("sequence public.t_id_seq: DIFFERENT");
    run(&[&["compare", &a, &b, "--schema-only"][..], &mapped[..]].concat()).exits(0);

    let stored = |args: &[&str]| run(&[args, &["--repository", "store"]].concat());
    stored(&["init"]).exits(0);
    stored(&["backup", "--postgres", &a]).exits(0);
    stored(&["export", "latest", "--format", "sql", "--output", "a.sql"]).exits(0).says("300 rows");
}
