//! A comparison of schemas reports equal ones as equal, and only those.

use crate::common;
use common::{copy, copy_with, database, run, server, session, value};
use pgmove::ddl::RenderOptions;
use pgmove::{CompareOptions, Comparison, ConnectOptions, Sections, SourceOptions, TargetOptions, compare};

async fn compared(from: &ConnectOptions, to: &ConnectOptions) -> Comparison {
    compare(from, to, &CompareOptions::default(), &|_| ()).await.unwrap()
}

/// Between major versions a query may be deparsed differently, but significant parentheses are not spelling.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parentheses_count_between_versions_too() {
    let (Some(old), Some(new)) = (server(15), server(18)) else { return };
    let schema = |condition: &str, sum: &str| {
        format!(
            "CREATE TABLE t (a int, b int, c int); ALTER TABLE t ENABLE ROW LEVEL SECURITY; \
             CREATE VIEW v AS SELECT t.a FROM t WHERE {condition}; CREATE POLICY p ON t USING ({condition}); \
             CREATE INDEX i ON t (a) WHERE {condition}; CREATE INDEX s ON t (({sum}));"
        )
    };
    let left = schema("a > 1 OR (b > 2 AND c > 3)", "a + b * c");
    let from = database(&old, "a", &left).await;
    let same = database(&new, "same", &left).await;
    let found = compared(&from, &same).await;
    assert!(found.equal(), "{found}");
    let other = database(&new, "other", &schema("(a > 1 OR b > 2) AND c > 3", "(a + b) * c")).await;
    let found = compared(&from, &other).await;
    let objects: Vec<&str> = found.schema.iter().map(|difference| difference.object.as_str()).collect();
    assert_eq!(
        objects,
        ["index public.i", "index public.s", "policy p on public.t", "view public.v"],
        "{found}"
    );
}

/// The server writes a name for a constant of a later branch when it reads its own text again (MusicBrainz).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn constants_in_later_branches_of_a_union_are_no_difference() {
    let views = "CREATE TABLE a (x int, y int); \
        CREATE VIEW v AS SELECT * FROM (SELECT x, y FROM a UNION ALL SELECT x, NULL FROM a) q; \
        CREATE VIEW w AS SELECT x::text, 'k' AS k FROM a UNION (SELECT 'a', 'b' EXCEPT SELECT 'c', NULL) UNION SELECT NULL, 'd';";
    let (Some(old), Some(new)) = (server(15), server(18)) else { return };
    let from = database(&old, "a", views).await;
    for (server, name) in [(&old, "b"), (&new, "c")] {
        let to = database(server, name, "").await;
        copy(&from, &to, &SourceOptions::default()).await.unwrap();
        let found = compared(&from, &to).await;
        assert!(found.equal(), "{found}");
    }
    // Names of the first branch are names of the view's columns.
    let other = views.replace("'k' AS k", "'k' AS l");
    let found = compared(&from, &database(&old, "d", &other).await).await;
    assert_eq!(found.schema.len(), 1, "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_the_database_versions_of_extensions_and_views_are_looked_at() {
    let Some(server) = server(15) else { return };
    run(&session(&server, "postgres").await, "CREATE ROLE r1").await;
    let from = database(&server, "a", "CREATE EXTENSION hstore; CREATE TABLE t (a int); INSERT INTO t VALUES (1); CREATE MATERIALIZED VIEW m AS SELECT * FROM t").await;
    let to = database(&server, "b", "").await;
    copy(&from, &to, &SourceOptions::default()).await.unwrap();
    let found = compared(&from, &to).await;
    assert!(found.equal() && found.not_compared.is_empty(), "{found}");
    assert!(found.to_string().contains("never compared: roles"), "{found}");

    let b = session(&server, "b").await;
    run(&b, "DROP EXTENSION hstore; CREATE EXTENSION hstore SCHEMA public VERSION '1.7'").await;
    run(
        &session(&server, "a").await,
        "ALTER DATABASE a SET work_mem = '7MB'; ALTER ROLE r1 IN DATABASE a SET work_mem = '8MB'",
    )
    .await;
    run(&b, "COMMENT ON DATABASE b IS 'another'; INSERT INTO public.t VALUES (2); REFRESH MATERIALIZED VIEW public.m; DELETE FROM public.t WHERE a = 2").await;
    let strict = CompareOptions { database_settings: true, ..CompareOptions::default() };
    let found = compare(&from, &to, &strict, &|_| ()).await.unwrap();
    let said = found.to_string();
    for words in [
        "extension hstore: DIFFERENT",
        "settings of the database: DIFFERENT",
        "ALTER DATABASE a SET work_mem TO '7MB'",
        "ALTER ROLE r1 IN DATABASE a SET work_mem TO '8MB'",
        "not compared: comment of the database: none on the left, another on the right",
        "not compared: contents of materialized view public.m, which differ: 1 rows on the left, 2 on the right",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    assert_eq!(found.schema.len(), 2, "{said}");

    // By default they do not count, but are listed, as are those of the other side.
    run(&b, "ALTER DATABASE b SET statement_timeout = '1h'").await;
    let found = compared(&from, &to).await;
    let said = found.to_string();
    assert_eq!(found.schema.len(), 1, "{said}");
    for words in [
        "not compared: a setting that only the database on the left has: ALTER DATABASE a SET work_mem TO '7MB'",
        "not compared: a setting that only the database on the left has: ALTER ROLE r1 IN DATABASE a SET work_mem TO '8MB'",
        "not compared: a setting that only the database on the right has: ALTER DATABASE a SET statement_timeout TO '1h'",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    let part = pgmove::Filter { tables: vec!["t".into()], ..pgmove::Filter::default() };
    let part = CompareOptions { filter: part, database_settings: true, ..CompareOptions::default() };
    let said = compare(&from, &to, &part, &|_| ()).await.unwrap().to_string();
    assert!(said.contains("not compared: settings, locale, owner and comment of the databases"), "{said}");

    // Told by the plan, for an existing database is not given them.
    let source = pgmove::Source::open(&from, &SourceOptions::default()).await.unwrap();
    let target =
        pgmove::Target::open(&database(&server, "c", "").await, &TargetOptions::default()).await.unwrap();
    let plan = target.plan(source.catalog()).await.unwrap();
    let warnings: Vec<String> = plan.warnings().iter().map(ToString::to_string).collect();
    let wanted = "a setting of the source's database is not copied: ALTER DATABASE c SET work_mem TO '7MB'";
    assert!(warnings.iter().any(|warning| warning.contains(wanted)), "{warnings:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_alone_exclude_rows() {
    let Some(server) = server(15) else { return };
    let schema = "CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t DEFAULT VALUES; \
                  CREATE MATERIALIZED VIEW m AS SELECT * FROM t; SELECT lo_create(4711);";
    let from = database(&server, "a", schema).await;
    let to = database(&server, "b", "").await;
    let schema_only = TargetOptions { sections: Sections::SCHEMA, ..TargetOptions::default() };
    let source = pgmove::Source::open(&from, &SourceOptions::default()).await.unwrap();
    let target = pgmove::Target::open(&to, &schema_only).await.unwrap();
    let plan = target.plan(source.catalog()).await.unwrap();
    target.pre_data(&plan).await.unwrap();
    target.post_data(&plan, &|_| ()).await.unwrap();
    target.finish(&plan, &|_| ()).await.unwrap();
    source.finish().await.unwrap();
    let definitions = CompareOptions { schema_only: true, ..CompareOptions::default() };
    let found = compare(&from, &to, &definitions, &|_| ()).await.unwrap();
    assert!(found.equal(), "{found}");
    assert!(!compared(&from, &to).await.equal());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_may_be_others() {
    let Some(server) = server(15) else { return };
    run(
        &session(&server, "postgres").await,
        "CREATE ROLE owner_; CREATE ROLE grantee; CREATE ROLE third; CREATE ROLE zz",
    )
    .await;
    let schema = "CREATE TABLE t (a int); ALTER TABLE t OWNER TO owner_; GRANT SELECT ON t TO grantee; \
        GRANT INSERT ON t TO grantee WITH GRANT OPTION; SET ROLE grantee; GRANT INSERT ON t TO third; RESET ROLE; \
        CREATE POLICY p ON t TO grantee, owner_, third; ALTER DEFAULT PRIVILEGES FOR ROLE owner_ GRANT SELECT ON TABLES TO grantee;";
    let from = database(&server, "a", schema).await;
    let to = database(&server, "b", "").await;
    let role_map: std::collections::BTreeMap<String, String> =
        [("grantee".to_owned(), "owner_".to_owned())].into();
    let mapped = TargetOptions { role_map: role_map.clone(), ..TargetOptions::default() };
    let source = pgmove::Source::open(&from, &SourceOptions::default()).await.unwrap();
    let target = pgmove::Target::open(&to, &mapped).await.unwrap();
    let plan = target.plan(source.catalog()).await.unwrap();
    target.pre_data(&plan).await.unwrap();
    target.post_data(&plan, &|_| ()).await.unwrap();
    target.finish(&plan, &|_| ()).await.unwrap();
    let proof = target.prove_schema(&plan, source.catalog()).await.unwrap();
    assert!(proof.holds(), "{proof:?}");
    source.finish().await.unwrap();

    let with = |render: RenderOptions| CompareOptions { render, ..CompareOptions::default() };
    let mapped = with(RenderOptions { role_map, ..RenderOptions::default() });
    let found = compare(&from, &to, &mapped, &|_| ()).await.unwrap();
    assert!(found.equal(), "{found}");
    assert!(!compared(&from, &to).await.equal());

    // Without owners and privileges, for the role that connects.
    let plain = database(&server, "c", "").await;
    let none = TargetOptions { no_owner: true, no_acl: true, ..TargetOptions::default() };
    copy_with(&from, &plain, &SourceOptions::default(), &none).await.unwrap();
    let render = RenderOptions { no_owner: true, no_acl: true, ..RenderOptions::default() };
    let found = compare(&from, &plain, &with(render), &|_| ()).await.unwrap();
    assert!(found.equal(), "{found}");
    assert!(!compared(&from, &plain).await.equal());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_comment_on_public_is_removed() {
    let Some(server) = server(15) else { return };
    let from = database(&server, "a", "COMMENT ON SCHEMA public IS NULL").await;
    let to = database(&server, "b", "").await;
    let found = compared(&from, &to).await;
    assert_eq!(found.schema.len(), 1, "{found}");
    copy(&from, &to, &SourceOptions::default()).await.unwrap();
    let found = compared(&from, &to).await;
    assert!(found.equal(), "{found}");
    let comment = "SELECT obj_description('public'::regnamespace, 'pg_namespace')";
    assert_eq!(value(&session(&server, "b").await, comment).await, "<null>");
}
