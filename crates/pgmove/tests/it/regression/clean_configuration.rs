//! Rows in the configuration tables of an extension, which refer to each other, and a target that already has some.

use crate::common::{copy_with, database, run, server_with, session, value};
use pgmove::{Existing, OnRows, Source, SourceOptions, Target, TargetOptions, compare};
use sandbox::{Postgres, PostgresOptions};

const SCRIPT: &str = r"
CREATE TABLE @extschema@.job (id bigint PRIMARY KEY, name text NOT NULL, builtin bool DEFAULT false);
INSERT INTO @extschema@.job VALUES (1, 'vacuum', true);
CREATE TABLE @extschema@.run (id int, job bigint REFERENCES @extschema@.job, said text);
SELECT pg_catalog.pg_extension_config_dump('@extschema@.job', 'WHERE NOT builtin');
CREATE SEQUENCE @extschema@.run_id;
SELECT pg_catalog.pg_extension_config_dump('@extschema@.run', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.run_id', '');
";

const MADE: &str = "CREATE SCHEMA jobs; CREATE EXTENSION jobs SCHEMA jobs;";
const ROWS: &str = "INSERT INTO jobs.job VALUES (2, 'nightly'), (3, 'hourly'); INSERT INTO jobs.run VALUES (1, 2, 'ok'), (2, 3, 'ok'); \
                    SELECT setval('jobs.run_id', 41)";

/// A server that offers the extension.
fn start() -> Option<(Postgres, tempfile::TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("extension");
    std::fs::create_dir(&files).unwrap();
    std::fs::write(
        files.join("jobs.control"),
        "default_version = '1.0'\nschema = jobs\nrelocatable = false\n",
    )
    .unwrap();
    std::fs::write(files.join("jobs--1.0.sql"), SCRIPT).unwrap();
    for path in [folder.path(), files.as_path()] {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    // Only 18 looks for extensions elsewhere than among its own files.
    let settings =
        vec![("extension_control_path".to_owned(), format!("$system:{}", folder.path().display()))];
    let server = server_with(18, PostgresOptions { settings, ..PostgresOptions::default() })?;
    Some((server, folder))
}

/// Rows that are here give way to those that come, the referring ones first; what the extension made itself stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_configuration_tables_are_replaced_by_those_of_the_source() {
    let Some((server, _folder)) = start() else { return };
    let from = database(&server, "a", &format!("{MADE} {ROWS}")).await;
    let to = database(&server, "b", "").await;
    // One after the other, by name: the rows that are referred to come first.
    let one = SourceOptions { jobs: 1, ..SourceOptions::default() };
    copy_with(&from, &to, &one, &TargetOptions::default()).await.unwrap();
    let b = session(&server, "b").await;
    run(&b, "INSERT INTO jobs.job VALUES (4, 'mine'); INSERT INTO jobs.run VALUES (3, 4, 'mine')").await;
    let clean = TargetOptions { existing: Existing::Clean, ..TargetOptions::default() };
    for _ in 0..2 {
        copy_with(&from, &to, &one, &clean).await.unwrap();
    }
    let names = "SELECT string_agg(id || name, ',' ORDER BY id) FROM jobs.job";
    assert_eq!(value(&b, names).await, "1vacuum,2nightly,3hourly");
    assert_eq!(value(&b, "SELECT string_agg(job || said, ',' ORDER BY id) FROM jobs.run").await, "2ok,3ok");
    let found = compare(&from, &to, &Default::default(), &|_| ()).await.unwrap();
    assert!(found.equal(), "{found}");
}

/// Into a schema that is there, with the extension: its rows are data like others, and its own stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configuration_is_restored_into_an_existing_schema() {
    let Some((server, _folder)) = start() else { return };
    let table = "CREATE TABLE public.t (a int)";
    let from =
        database(&server, "a", &format!("{MADE} {ROWS}; {table}; INSERT INTO public.t VALUES (1)")).await;
    let to = database(&server, "b", &format!("{MADE} {table}")).await;
    let into = |on_rows| TargetOptions { existing: Existing::Into(on_rows), ..TargetOptions::default() };
    let b = session(&server, "b").await;
    let names = "SELECT string_agg(id || name, ',' ORDER BY id) FROM jobs.job";
    copy_with(&from, &to, &SourceOptions::default(), &into(OnRows::Refuse)).await.unwrap();
    assert_eq!(value(&b, names).await, "1vacuum,2nightly,3hourly");
    assert_eq!(value(&b, "SELECT nextval('jobs.run_id')").await, "42");

    let refused = copy_with(&from, &to, &SourceOptions::default(), &into(OnRows::Refuse)).await.unwrap_err();
    assert!(refused.to_string().contains("table jobs.job holds rows"), "{refused}");
    run(&b, "INSERT INTO jobs.job VALUES (4, 'mine'); INSERT INTO jobs.run VALUES (3, 4, 'mine')").await;
    copy_with(&from, &to, &SourceOptions::default(), &into(OnRows::Truncate)).await.unwrap();
    assert_eq!(value(&b, names).await, "1vacuum,2nightly,3hourly");
    assert_eq!(value(&b, "SELECT string_agg(job || said, ',' ORDER BY id) FROM jobs.run").await, "2ok,3ok");
    run(&b, "DELETE FROM jobs.run; DELETE FROM jobs.job; INSERT INTO jobs.job VALUES (4, 'mine')").await;
    copy_with(&from, &to, &SourceOptions::default(), &into(OnRows::Append)).await.unwrap();
    assert_eq!(value(&b, names).await, "2nightly,3hourly,4mine");

    // Without the extension there are no tables for them.
    let source = Source::open(&from, &SourceOptions::default()).await.unwrap();
    let to = database(&server, "c", table).await;
    let target = Target::open(&to, &into(OnRows::Refuse)).await.unwrap();
    let plan = target.plan(source.catalog()).await.unwrap();
    let expected = pgmove::Warning::MissingConfigurationTable {
        table: pgmove::TableName::new("jobs", "job"),
        extension: "jobs".to_owned(),
    };
    assert!(plan.warnings().contains(&expected), "{:?}", plan.warnings());
}
