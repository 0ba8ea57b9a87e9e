//! Properties that tables inherit or take from templates: defaults, checks, names of constraints.

use crate::common;
use common::{MAJORS, copy, database, run, server, session, value};
use pgmove::{CompareOptions, SourceOptions, compare};

async fn arrives(server: &sandbox::Postgres, name: &str, schema: &str) {
    let from = database(server, name, schema).await;
    let to = database(server, &format!("{name}_copy"), "").await;
    copy(&from, &to, &SourceOptions::default()).await.unwrap();
    let found = compare(&from, &to, &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(found.equal(), "{found}");
}

/// The server refuses a table whose parents have different defaults for one column.
const DEFAULTS: &str = "
CREATE TABLE gp (b int DEFAULT 1); CREATE TABLE p1 () INHERITS (gp); CREATE TABLE p2 () INHERITS (gp);
CREATE TABLE dia (e int) INHERITS (p1, p2); ALTER TABLE ONLY p1 ALTER b SET DEFAULT 2; INSERT INTO dia VALUES (5, 6);
CREATE TABLE one (a int DEFAULT 1); CREATE TABLE two (a int DEFAULT 1);
CREATE TABLE both_ () INHERITS (one, two); ALTER TABLE ONLY one ALTER a SET DEFAULT 2;
CREATE TABLE below () INHERITS (both_); ALTER TABLE ONLY both_ ALTER a DROP DEFAULT;
CREATE TABLE x (c int DEFAULT 1); CREATE TABLE y (c int DEFAULT 2);
CREATE TABLE own (c int DEFAULT 3) INHERITS (x, y);
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defaults_of_two_parents_may_have_been_changed() {
    for major in MAJORS {
        let Some(server) = server(major) else { return };
        arrives(&server, "defaults", DEFAULTS).await;
        let copy = session(&server, "defaults_copy").await;
        let default = "SELECT string_agg(c.relname || '=' || pg_get_expr(d.adbin, d.adrelid), ' ' ORDER BY c.relname) \
                       FROM pg_attrdef d JOIN pg_class c ON c.oid = d.adrelid";
        assert_eq!(value(&copy, default).await, "below=1 dia=1 gp=1 one=2 own=3 p1=2 p2=1 two=1 x=1 y=2");
    }
}

/// Names that the server would choose are taken: by a table made by LIKE (pg-boss), by a partition that was detached.
const NAMES: &str = "
CREATE TABLE orders (id int PRIMARY KEY, sym text NOT NULL); CREATE TABLE archive (LIKE orders INCLUDING ALL);
CREATE TABLE pt (a int NOT NULL, b int NOT NULL) PARTITION BY LIST (a); CREATE TABLE part PARTITION OF pt FOR VALUES IN (1);
CREATE TABLE stays PARTITION OF pt FOR VALUES IN (2); ALTER TABLE pt DETACH PARTITION part; ALTER TABLE part RENAME TO away;
CREATE TABLE taken (a_b_not_null int CONSTRAINT a_b_not_null NOT NULL); CREATE TABLE a (b int NOT NULL);
CREATE TABLE old_name (c int NOT NULL); ALTER TABLE old_name RENAME TO new_name; CREATE TABLE old_name (c int NOT NULL);
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_null_constraints_keep_their_names() {
    let Some(server) = server(18) else { return };
    arrives(&server, "names", NAMES).await;
    let names = "SELECT string_agg(conrelid::regclass || '.' || conname, ' ' ORDER BY conrelid::regclass::text, conname) \
                 FROM pg_constraint WHERE contype = 'n' AND connamespace = 'public'::regnamespace";
    let wanted = value(&session(&server, "names").await, names).await;
    assert_eq!(value(&session(&server, "names_copy").await, names).await, wanted);
    assert!(wanted.contains("archive.orders_sym_not_null"), "{wanted}");
}

/// Checks that read other tables through functions, whose tables come before and after; on children and partitions too.
const CHECKS: &str = "
CREATE SCHEMA zz; CREATE SCHEMA aa; CREATE TABLE zz.kinds (kind text PRIMARY KEY);
CREATE FUNCTION zz.known(k text) RETURNS boolean LANGUAGE sql STABLE AS $$ SELECT EXISTS (SELECT 1 FROM zz.kinds WHERE kind = k) $$;
CREATE FUNCTION zz.known_pl(k text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM 1 FROM zz.kinds WHERE kind = k; RETURN FOUND; END $$;
CREATE FUNCTION zz.through(k text) RETURNS boolean LANGUAGE sql AS $$ SELECT zz.known(k) $$;
CREATE FUNCTION zz.op(k text, l text) RETURNS boolean LANGUAGE sql AS $$ SELECT zz.known(k) $$;
CREATE OPERATOR zz.### (LEFTARG = text, RIGHTARG = text, FUNCTION = zz.op);
CREATE FUNCTION zz.pure(k text) RETURNS boolean LANGUAGE sql AS $$ SELECT k <> '' $$;
CREATE TABLE aa.acct (id int PRIMARY KEY, kind text CHECK (zz.known(kind)), kind2 text CONSTRAINT pl CHECK (zz.known_pl(kind2)),
  kind3 text CHECK (zz.through(kind3) AND zz.pure(kind3)), kind4 text CONSTRAINT op CHECK (kind4 OPERATOR(zz.###) 'x'), CHECK (zz.pure(kind)));
COMMENT ON CONSTRAINT pl ON aa.acct IS 'by a function';
CREATE TABLE aa.child () INHERITS (aa.acct); ALTER TABLE aa.child ADD CONSTRAINT own CHECK (zz.known(kind));
ALTER TABLE aa.acct ADD CONSTRAINT own CHECK (zz.known(kind));
CREATE TABLE aa.pt (k int, kind text, CONSTRAINT pt_known CHECK (zz.known(kind))) PARTITION BY LIST (k);
CREATE TABLE aa.pt1 PARTITION OF aa.pt FOR VALUES IN (1);
CREATE TABLE aa.pt2 (k int, kind text, CONSTRAINT pt_known CHECK (zz.known(kind)), CONSTRAINT more CHECK (zz.known(kind) OR k > 5));
ALTER TABLE aa.pt ATTACH PARTITION aa.pt2 FOR VALUES IN (2);
INSERT INTO zz.kinds VALUES ('a'), ('b'); INSERT INTO aa.acct SELECT g, 'a', 'b', 'a', 'b' FROM generate_series(1, 1000) g;
INSERT INTO aa.child SELECT 2000, 'a', 'b', 'a', 'b'; INSERT INTO aa.pt VALUES (1, 'a'), (2, 'b');
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_that_reads_another_table_waits_for_the_rows() {
    for major in MAJORS {
        let Some(server) = server(major) else { return };
        arrives(&server, "checks", CHECKS).await;
        let copy = session(&server, "checks_copy").await;
        let said = "SELECT count(*) FROM pg_constraint WHERE contype = 'c' AND convalidated AND connamespace = 'aa'::regnamespace";
        assert_eq!(value(&copy, said).await, value(&session(&server, "checks").await, said).await);
        let comment = "SELECT obj_description(oid, 'pg_constraint') FROM pg_constraint WHERE conname = 'pl' AND conrelid = 'aa.acct'::regclass";
        assert_eq!(value(&copy, comment).await, "by a function");
        // Rows that do not fit are refused after all rows came, and by the constraint's name.
        run(
            &session(&server, "checks").await,
            "ALTER TABLE aa.pt DISABLE TRIGGER ALL; DELETE FROM zz.kinds WHERE kind = 'b'",
        )
        .await;
        let to = database(&server, "checks_refused", "").await;
        let refused = common::copy(&common::options(&server, "checks"), &to, &SourceOptions::default()).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("check constraint"), "{refused}");
        let rows = "SELECT (SELECT count(*) FROM aa.acct) + (SELECT count(*) FROM aa.pt)";
        assert_eq!(value(&session(&server, "checks_refused").await, rows).await, "1003");
    }
}
