//! A report states what was verified on a target and what was not, however it was filled.

use crate::common::{dbhaul, folder, postgres, target_name};
use sandbox::testing::require_postgres;
use sandbox::{Postgres, PostgresOptions};

const PAYROLL: &str = "
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader;
CREATE TABLE salary (id serial PRIMARY KEY, a int); INSERT INTO salary (a) VALUES (1), (2); REVOKE ALL ON salary FROM reader;
CREATE TABLE pt (a int, b text) PARTITION BY LIST (a); CREATE TABLE pt1 PARTITION OF pt FOR VALUES IN (1); INSERT INTO pt VALUES (1, 'x');
CREATE MATERIALIZED VIEW fresh AS SELECT a FROM salary;
CREATE MATERIALIZED VIEW stale AS SELECT a FROM salary; INSERT INTO salary (a) VALUES (3); REFRESH MATERIALIZED VIEW fresh;
";

async fn start() -> Option<Postgres> {
    let server = Postgres::start(&require_postgres(15)?, PostgresOptions::default()).unwrap();
    let client = postgres(&server.url("postgres")).await;
    for sql in ["CREATE ROLE reader", "CREATE DATABASE pay", "CREATE DATABASE copy"] {
        client.batch_execute(sql).await.unwrap();
    }
    postgres(&server.url("pay")).await.batch_execute(PAYROLL).await.unwrap();
    Some(server)
}

async fn reads(server: &Postgres) -> bool {
    let client = postgres(&server.url("copy")).await;
    let row =
        client.query_one("SELECT has_table_privilege('reader', 'salary', 'SELECT')", &[]).await.unwrap();
    row.get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_of_restoring_is_proven_for_what_was_asked() {
    let Some(server) = start().await else { return };
    let here = folder();
    let run = |args: &[&str]| {
        let all: Vec<&str> = args.iter().copied().chain(["--repository", "store"]).collect();
        dbhaul(here.path(), &all)
    };
    let (pay, copy) = (server.url("pay"), server.url("copy"));
    let name = target_name(&copy);
    run(&["init"]).exits(0);
    run(&["backup", "--postgres", &pay]).exits(0);
    run(&["restore", "latest", "--postgres", &copy])
        .exits(0)
        .shows("1 of 2 materialized views equal")
        .shows("not verified: materialized view public.stale: 2 rows at the source, 3 at the target")
        .shows("schema equal");
    assert!(!reads(&server).await);
    // The second time the target has the default privileges of the first restore.
    run(&["restore", "latest", "--postgres", &copy, "--clean", "--replace", &name])
        .exits(0)
        .shows("schema equal");
    assert!(!reads(&server).await);
    run(&["migrate", "--from", &pay, "--to", &copy, "--clean", "--replace", &name])
        .exits(0)
        .shows("schema equal");
    assert!(!reads(&server).await);

    // Rows alone: sequences and views are compared, definitions are not, and the report says so.
    postgres(&copy)
        .await
        .batch_execute("TRUNCATE salary, pt; SELECT setval('salary_id_seq', 77)")
        .await
        .unwrap();
    run(&["restore", "latest", "--postgres", &copy, "--into-existing"])
        .exits(0)
        .shows("schema equal: 1 objects")
        .shows("not compared: definitions: the schema already existed")
        .shows("1 of 2 materialized views equal");

    // A part, beside other things.
    postgres(&copy).await.batch_execute("DROP TABLE pt").await.unwrap();
    run(&["restore", "latest", "--postgres", &copy, "--table", "pt"])
        .exits(0)
        .shows("1 of 1 tables equal, 1 rows")
        .shows("schema equal");
    run(&["restore", "latest", "--postgres", &copy, "--table", "ptt", "--clean"])
        .exits(2)
        .says("no table matches `ptt`");
    run(&["backup", "--postgres", &pay, "--exclude-table", "ptt"]).exits(2).says("no table matches `ptt`");
}
