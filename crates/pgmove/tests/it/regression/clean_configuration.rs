//! `Existing::Clean` over rows in the configuration tables of an extension, which refer to each other.

use crate::common::{copy_with, database, run, server_with, session, value};
use pgmove::{Existing, SourceOptions, TargetOptions, compare};
use sandbox::PostgresOptions;

const SCRIPT: &str = r"
CREATE TABLE @extschema@.job (id bigint PRIMARY KEY, name text NOT NULL, builtin bool DEFAULT false);
INSERT INTO @extschema@.job VALUES (1, 'vacuum', true);
CREATE TABLE @extschema@.run (id int, job bigint REFERENCES @extschema@.job, said text);
SELECT pg_catalog.pg_extension_config_dump('@extschema@.job', 'WHERE NOT builtin');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.run', '');
";

/// Rows that are here give way to those that come, the referring ones first; what the extension made itself stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_in_configuration_tables_give_way_to_those_that_come() {
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
    let Some(server) = server_with(18, PostgresOptions { settings, ..PostgresOptions::default() }) else {
        return;
    };
    let made = "CREATE SCHEMA jobs; CREATE EXTENSION jobs SCHEMA jobs;";
    let rows = "INSERT INTO jobs.job VALUES (2, 'nightly'), (3, 'hourly'); INSERT INTO jobs.run VALUES (1, 2, 'ok'), (2, 3, 'ok')";
    let from = database(&server, "a", &format!("{made} {rows}")).await;
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
