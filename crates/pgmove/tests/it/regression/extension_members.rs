//! Changes that users make to the objects of an extension, and an extension's configuration tables.

use std::os::unix::fs::PermissionsExt as _;

use crate::common;
use common::{copy, database, options, run, server_with, session, value};
use pgmove::{CompareOptions, Source, SourceOptions, Target, TargetOptions, compare};
use sandbox::{Postgres, PostgresOptions};

/// Rows of `a_run` refer to those of `z_queue`; ids come from a sequence that is the user's too, and from an identity.
const SCRIPT: &str = "
CREATE TABLE z_queue (id int PRIMARY KEY, name text);
CREATE TABLE a_run (id int PRIMARY KEY, queue int REFERENCES z_queue, note text, before int REFERENCES a_run);
CREATE SEQUENCE run_id; CREATE TABLE m_tick (id int GENERATED ALWAYS AS IDENTITY, run int REFERENCES a_run);
CREATE TABLE fixed (a int); INSERT INTO fixed VALUES (1); INSERT INTO a_run VALUES (1, NULL, 'the script\'\'s own');
GRANT SELECT ON fixed TO reader; GRANT INSERT (note) ON a_run TO reader; GRANT SELECT (id, note) ON a_run TO reader;
CREATE FUNCTION older() RETURNS int LANGUAGE sql AS 'SELECT 1';
SELECT pg_catalog.pg_extension_config_dump('a_run', 'WHERE id >= 100'); SELECT pg_catalog.pg_extension_config_dump('z_queue', '');
SELECT pg_catalog.pg_extension_config_dump('m_tick', ''); SELECT pg_catalog.pg_extension_config_dump('run_id', '');
";

/// A server that offers the extension `jobs` in these versions, the last by default.
async fn start(versions: &[&str]) -> Option<(Postgres, tempfile::TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let extension = folder.path().join("extension");
    std::fs::create_dir(&extension).unwrap();
    for folder in [folder.path(), &extension] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let default = versions.last().unwrap();
    let write = |name: String, text: &str| std::fs::write(extension.join(name), text).unwrap();
    write("jobs.control".to_owned(), &format!("default_version = '{default}'\nrelocatable = false\n"));
    for version in versions {
        let newer = if *version == "1.0" {
            ""
        } else {
            "CREATE FUNCTION newer() RETURNS int LANGUAGE sql AS 'SELECT 2';"
        };
        write(format!("jobs--{version}.sql"), &format!("{}{newer}", SCRIPT.replace("\\'", "'")));
    }
    let path = format!("{}:$system", folder.path().display());
    let settings = vec![("extension_control_path".to_owned(), path)];
    let server = server_with(18, PostgresOptions { settings, ..PostgresOptions::default() })?;
    run(&session(&server, "postgres").await, "CREATE ROLE reader").await;
    Some((server, folder))
}

const USED: &str = "
CREATE EXTENSION jobs; INSERT INTO z_queue VALUES (1, 'q'), (2, 'r');
INSERT INTO a_run SELECT 100 + g, 1 + g % 2, 'run', CASE WHEN g > 1 THEN 99 + g END FROM generate_series(1, 50) g;
INSERT INTO m_tick (run) VALUES (101), (102), (103); SELECT nextval('run_id') FROM generate_series(1, 5);
REVOKE SELECT ON fixed FROM reader; REVOKE INSERT (note) ON a_run FROM reader; REVOKE SELECT (id, note) ON a_run FROM reader;
GRANT UPDATE (note) ON a_run TO reader;
";

const PRIVILEGES: &str = "SELECT concat_ws(' ', has_table_privilege('reader', 'public.fixed', 'SELECT'), \
    has_column_privilege('reader', 'public.a_run', 'note', 'INSERT'), has_column_privilege('reader', 'public.a_run', 'id', 'SELECT'), \
    has_column_privilege('reader', 'public.a_run', 'note', 'UPDATE'))";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configuration_is_loaded_in_a_valid_order_and_sequences_continue() {
    let Some((server, _folder)) = start(&["1.0", "1.1"]).await else { return };
    let from = database(&server, "a", USED).await;
    for round in 0..5 {
        let name = format!("b{round}");
        let to = database(&server, &name, "").await;
        let tables = copy(&from, &to, &SourceOptions { jobs: 4, ..SourceOptions::default() }).await.unwrap();
        assert_eq!(tables.values().map(|proof| proof.rows).sum::<u64>(), 55);
        let b = session(&server, &name).await;
        assert_eq!(value(&b, "SELECT nextval('public.run_id')").await, "6");
        assert_eq!(value(&b, "INSERT INTO public.m_tick (run) VALUES (104) RETURNING id").await, "4");
        assert_eq!(value(&b, PRIVILEGES).await, "f f f t");
    }
    let to = database(&server, "c", "").await;
    copy(&from, &to, &SourceOptions::default()).await.unwrap();
    let found = compare(&from, &to, &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(found.equal(), "{found}");
    run(&session(&server, "c").await, "GRANT INSERT (note) ON public.a_run TO reader").await;
    let found = compare(&from, &to, &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(found.to_string().contains("column public.a_run.note: DIFFERENT"), "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn privileges_on_what_an_older_extension_lacks_are_left_out_with_a_warning() {
    let (Some((new, _one)), Some((old, _other))) = (start(&["1.1"]).await, start(&["1.0"]).await) else {
        return;
    };
    let extra = "REVOKE EXECUTE ON FUNCTION newer() FROM PUBLIC; GRANT EXECUTE ON FUNCTION newer() TO reader; \
                 REVOKE EXECUTE ON FUNCTION older() FROM PUBLIC;";
    let from = database(&new, "a", &format!("{USED}{extra}")).await;
    let to = database(&old, "b", "").await;
    let source = Source::open(&from, &SourceOptions::default()).await.unwrap();
    let target = Target::open(&to, &TargetOptions::default()).await.unwrap();
    let plan = target.plan(source.catalog()).await.unwrap();
    assert!(
        plan.warnings()
            .iter()
            .any(|found| found.to_string().contains("version 1.0 at the target, 1.1 at the source"))
    );
    target.pre_data(&plan).await.unwrap();
    target.post_data(&plan, &|_| ()).await.unwrap();
    let told = std::sync::Mutex::new(Vec::new());
    target.finish(&plan, &|event| told.lock().unwrap().push(event.to_string())).await.unwrap();
    let told = told.into_inner().unwrap().join("\n");
    assert!(
        told.contains(
            "left out: privileges of function public.newer(), which extension jobs of the target does not create"
        ),
        "{told}"
    );
    let older = "SELECT has_function_privilege('reader', 'public.older()', 'EXECUTE')";
    assert_eq!(value(&session(&old, "b").await, older).await, "f");
    let proof = target.prove_schema(&plan, source.catalog()).await.unwrap();
    assert!(proof.holds(), "{proof:?}");
    assert!(proof.not_compared.iter().any(|said| said.contains("public.newer()")), "{proof:?}");

    // Between two servers, another version is a difference.
    let found = compare(&from, &to, &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(found.to_string().contains("extension jobs: DIFFERENT definition"), "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_added_to_an_extension_is_named() {
    let Some((server, _folder)) = start(&["1.0"]).await else { return };
    let added = "CREATE TABLE extra (a int); INSERT INTO extra VALUES (7); ALTER EXTENSION jobs ADD TABLE extra; \
                 CREATE INDEX my_idx ON a_run (note); ALTER TABLE z_queue ADD COLUMN mine int;";
    let from = database(&server, "a", &format!("CREATE EXTENSION jobs; {added}")).await;
    let to = database(&server, "b", "").await;
    let source = Source::open(&from, &SourceOptions::default()).await.unwrap();
    let target = Target::open(&to, &TargetOptions::default()).await.unwrap();
    let plan = target.plan(source.catalog()).await.unwrap();
    target.pre_data(&plan).await.unwrap();
    target.post_data(&plan, &|_| ()).await.unwrap();
    target.finish(&plan, &|_| ()).await.unwrap();
    let proof = target.prove_schema(&plan, source.catalog()).await.unwrap();
    let mut named: Vec<&str> =
        proof.differences.iter().map(|difference| difference.object.as_str()).collect();
    named.sort_unstable();
    let wanted = [
        "TABLE public.a_run of extension jobs",
        "TABLE public.extra of extension jobs",
        "TABLE public.z_queue of extension jobs",
    ];
    assert_eq!(named, wanted, "{proof:?}");
    source.finish().await.unwrap();
    let found = compare(&from, &to, &CompareOptions::default(), &|_| ()).await.unwrap();
    assert_eq!(found.schema.len(), 3, "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_extension_that_the_target_has_already_is_no_difference() {
    let Some((server, _folder)) = start(&["1.0"]).await else { return };
    let from = database(&server, "a", "CREATE TABLE t (a int); INSERT INTO t VALUES (1)").await;
    let to =
        database(&server, "b", "CREATE EXTENSION jobs; COMMENT ON EXTENSION jobs IS 'by the image'").await;
    let source = Source::open(&from, &SourceOptions::default()).await.unwrap();
    let target = Target::open(&to, &TargetOptions::default()).await.unwrap();
    let plan = target.plan(source.catalog()).await.unwrap();
    target.pre_data(&plan).await.unwrap();
    target.post_data(&plan, &|_| ()).await.unwrap();
    target.finish(&plan, &|_| ()).await.unwrap();
    let proof = target.prove_schema(&plan, source.catalog()).await.unwrap();
    assert!(proof.holds(), "{proof:?}");
    assert!(
        proof.not_compared.iter().any(|said| said.starts_with("extension jobs: only the target has it")),
        "{proof:?}"
    );
    // Two servers that are compared differ in it.
    source.finish().await.unwrap();
    let definitions = CompareOptions { schema_only: true, ..CompareOptions::default() };
    let found = compare(&options(&server, "a"), &to, &definitions, &|_| ()).await.unwrap();
    assert!(!found.equal(), "{found}");
}
