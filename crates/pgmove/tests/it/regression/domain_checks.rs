//! Checks of domains that read tables, and such checks of tables in forms that are created late.

use crate::common;
use common::{MAJORS, copy, database, options, run, server, session, value};
use pgmove::{SourceOptions, compare};

/// The check reads a table that is loaded after the one with the domain.
const DOMAINS: &str = "
CREATE SCHEMA zz; CREATE SCHEMA aa; CREATE TABLE zz.kinds (kind text PRIMARY KEY);
CREATE FUNCTION zz.known(k text) RETURNS boolean LANGUAGE sql STABLE AS $$ SELECT EXISTS (SELECT 1 FROM zz.kinds WHERE kind = k) $$;
CREATE DOMAIN aa.kind AS text CONSTRAINT known CHECK (zz.known(VALUE)) CONSTRAINT filled CHECK (VALUE <> '');
COMMENT ON CONSTRAINT known ON DOMAIN aa.kind IS 'by a function';
CREATE DOMAIN aa.fine AS aa.kind CHECK (length(VALUE) < 9); CREATE DOMAIN aa.listed AS text CHECK (VALUE <> '');
CREATE TABLE aa.a (id int, kind aa.kind, fine aa.fine DEFAULT 'a'); CREATE TABLE aa.b (all_of aa.listed[]);
CREATE TABLE aa.p (kind aa.kind, n int) PARTITION BY RANGE (n); CREATE TABLE aa.p1 PARTITION OF aa.p FOR VALUES FROM (0) TO (9);
CREATE TABLE aa.late (k text); ALTER TABLE aa.late ADD CONSTRAINT late CHECK (zz.known(k)) NOT VALID;
CREATE TABLE aa.lp (k text, n int) PARTITION BY RANGE (n); CREATE TABLE aa.lp1 (n int, k text);
ALTER TABLE aa.lp ATTACH PARTITION aa.lp1 FOR VALUES FROM (0) TO (9); ALTER TABLE aa.lp ADD CONSTRAINT lp CHECK (zz.known(k)) NOT VALID;
ALTER TABLE aa.lp1 ADD CONSTRAINT own CHECK (zz.known(k) OR n > 4);
INSERT INTO zz.kinds VALUES ('a'), ('b'); INSERT INTO aa.a SELECT g, 'a', 'b' FROM generate_series(1, 1000) g;
INSERT INTO aa.b VALUES ('{a,b}'); INSERT INTO aa.p VALUES ('b', 1); INSERT INTO aa.late VALUES ('a'); INSERT INTO aa.lp VALUES ('b', 1);
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_of_a_domain_that_reads_a_table_waits_for_the_rows() {
    for major in MAJORS {
        let Some(server) = server(major) else { return };
        let from = database(&server, "a", DOMAINS).await;
        let to = database(&server, "b", "").await;
        copy(&from, &to, &SourceOptions { jobs: 1, ..SourceOptions::default() }).await.unwrap();
        let found = compare(&from, &to, &Default::default(), &|_| ()).await.unwrap();
        assert!(found.equal(), "{found}");
        let said = "SELECT string_agg(conname || ' ' || convalidated || coalesce(obj_description(oid, 'pg_constraint'), ''), ',' ORDER BY conname) \
                    FROM pg_constraint WHERE contype = 'c' AND connamespace = 'aa'::regnamespace";
        let (a, b) = (session(&server, "a").await, session(&server, "b").await);
        assert_eq!(value(&b, said).await, value(&a, said).await);
        // Rows that do not fit are refused after they came.
        run(&a, "DELETE FROM zz.kinds WHERE kind = 'b'").await;
        let to = database(&server, "refused", "").await;
        let refused =
            copy(&options(&server, "a"), &to, &SourceOptions::default()).await.unwrap_err().to_string();
        assert!(refused.contains("23514"), "{refused}");
        let rows = "SELECT count(*) FROM aa.a";
        assert_eq!(value(&session(&server, "refused").await, rows).await, "1000");
    }
}

/// The server adds no check to a domain inside of an array: it stays where pg_dump has it, and is as lucky.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_in_an_array_keeps_its_check() {
    let Some(server) = server(15) else { return };
    let sql = "CREATE TABLE aa (kind text); CREATE FUNCTION known(k text) RETURNS boolean LANGUAGE sql STABLE \
               AS $$ SELECT EXISTS (SELECT 1 FROM public.aa WHERE kind = k) $$; \
               CREATE DOMAIN d AS text CHECK (known(VALUE)); CREATE TABLE zz (a d[]); INSERT INTO aa VALUES ('a'); INSERT INTO zz VALUES ('{a}')";
    let from = database(&server, "a", sql).await;
    let source = pgmove::Source::open(&from, &SourceOptions::default()).await.unwrap();
    let script = pgmove::ddl::render(source.catalog(), 150_000, &Default::default()).unwrap();
    let made: Vec<&str> = script
        .statements
        .iter()
        .map(|s| s.sql.as_str())
        .filter(|sql| sql.contains("public.known(VALUE)"))
        .collect();
    assert!(matches!(made.as_slice(), [sql] if sql.starts_with("CREATE DOMAIN")), "{made:?}");
}
