//! Plans for empty databases; `tests/` has those that need a server.

use super::*;
use crate::baseline::migrate::plan::Mode;

fn scripts(files: &[(&str, &str)]) -> Vec<Script> {
    files.iter().map(|(name, sql)| Script::read(&format!("{name}.sql"), sql)).collect()
}

fn planned(files: &[(&str, &str)], options: &PlanOptions<'_>) -> Plan {
    plan(&scripts(files), &Catalog::default(), &["public".to_owned()], options).unwrap()
}

fn empty(files: &[(&str, &str)]) -> Plan {
    planned(files, &PlanOptions::default())
}

#[track_caller]
fn reasons(plan: &Plan, name: &str) -> String {
    plan.file(name).unwrap().reasons.join("; ")
}

#[test]
fn files_run_in_the_order_of_their_numbers_unless_one_needs_another() {
    let found = empty(&[
        ("v1_10", "CREATE TABLE c (a int REFERENCES b)"),
        ("v1_9", "CREATE TABLE b (id int PRIMARY KEY)"),
        ("v1_1", "ALTER TABLE c ADD COLUMN d int; CREATE INDEX i ON c (d);"),
    ]);
    assert_eq!(found.order, ["v1_9", "v1_10", "v1_1"]);
    assert_eq!(found.files[0].name, "v1_1");
    assert_eq!(
        reasons(&found, "v1_1"),
        "line 1 needs public.c, which only v1_10 creates; so it runs afterwards"
    );
    assert!(!found.is_done());
}

#[test]
fn a_file_completed_by_another_is_not_run() {
    let files = [
        ("1_alter", "ALTER TABLE t ADD COLUMN IF NOT EXISTS b int;"),
        ("2_create", "CREATE TABLE IF NOT EXISTS t (a int, b int);"),
    ];
    let found = empty(&files);
    assert_eq!(found.order, ["2_create"]);
    assert_eq!(found.file("1_alter").unwrap().action, Action::Covered);
    assert!(reasons(&found, "1_alter").starts_with("line 1 needs public.t, which only 2_create creates"));

    // It also changes rows, which that does not cover.
    let sql = "ALTER TABLE t ADD COLUMN IF NOT EXISTS b int; UPDATE t SET b = 1 WHERE b IS NULL;";
    let found = empty(&[("1_alter", sql), files[1]]);
    assert_eq!(found.order, ["2_create", "1_alter"]);

    // Without IF NOT EXISTS it would fail, which is reported beforehand.
    let found = empty(&[("1_alter", "ALTER TABLE t ADD COLUMN b int; UPDATE t SET b = 1;"), files[1]]);
    assert!(
        reasons(&found, "1_alter").contains("line 1 creates column public.t.b, which will already exist")
    );
    assert_eq!(found.file("1_alter").unwrap().action, Action::Blocked);
}

#[test]
fn optional_files_are_left_out_with_what_they_need() {
    let baseline = Baseline::parse(
        "environments = [\"a\", \"b\"]\n[[migration]]\nname = \"one\"\noptional-in = \"a\"\n[[migration]]\nname = \"two\"\n[[migration]]\nname = \"gone\"",
    )
    .unwrap();
    let files = [("two", "CREATE TABLE t (x int)"), ("one", "ALTER TABLE t ADD COLUMN y int")];
    let options =
        |environment| PlanOptions { baseline: Some(&baseline), environment, ..PlanOptions::default() };
    let found = planned(&files, &options(Some("a")));
    assert_eq!(found.order, ["two"]);
    assert_eq!(found.file("one").unwrap().action, Action::Skip);
    assert_eq!(reasons(&found, "one"), "optional in a; line 1 needs public.t, which only two creates");
    assert_eq!(found.without_file, ["gone"]);
    assert_eq!(planned(&files, &options(Some("b"))).order, ["two", "one"]);
    let error = plan(&scripts(&files), &Catalog::default(), &[], &options(Some("c"))).unwrap_err();
    assert!(error.to_string().contains("`c`"), "{error}");
}

#[test]
fn cycles_and_unmet_needs_are_named() {
    let found = empty(&[
        ("a", "CREATE TABLE a (id int PRIMARY KEY); ALTER TABLE b ADD COLUMN x int;"),
        ("b", "CREATE TABLE b (id int REFERENCES a);"),
        ("c", "\n\nCREATE INDEX i ON nowhere (x);"),
        ("d", "CREATE TABLE d (x int);"),
    ]);
    assert_eq!(found.order, ["d"]);
    assert!(reasons(&found, "a").ends_with("a cycle: a waits for b waits for a"), "{}", reasons(&found, "a"));
    assert!(reasons(&found, "b").contains("a cycle: b waits for a waits for b"));
    assert!(reasons(&found, "c").starts_with("line 3 needs public.nowhere, which no file creates"));
    assert_eq!(found.blocked().count(), 3);
    // A skipped file creates nothing.
    let skip = ["d".to_owned()];
    let files = [("d", "CREATE TABLE d (x int)"), ("e", "DROP TABLE d")];
    let found = planned(&files, &PlanOptions { skip: &skip, ..PlanOptions::default() });
    assert_eq!(found.file("e").unwrap().action, Action::Ask);
}

#[test]
fn effects_that_the_schema_cannot_show_require_a_decision() {
    let files =
        [("do", "DO $$ BEGIN PERFORM 1; END $$;\n\nSELECT f();"), ("seed", "INSERT INTO x VALUES (1)")];
    let found = empty(&files);
    let file = found.file("do").unwrap();
    assert_eq!(
        (file.status, file.action, file.unseen_lines.as_slice()),
        (Status::Unknown, Action::Ask, [1, 3].as_slice())
    );
    assert!(found.is_done() && found.order.is_empty());
    let run = ["do".to_owned()];
    assert_eq!(planned(&files, &PlanOptions { run: &run, ..PlanOptions::default() }).order, ["do"]);
    // There can be no rows for a table that is yet to be created.
    let found = empty(&[("1_seed", "INSERT INTO x VALUES (1)"), ("2_make", "CREATE TABLE x (a int)")]);
    assert_eq!(found.order, ["2_make", "1_seed"]);
    let run = ["dp".to_owned()];
    let options = PlanOptions { run: &run, ..PlanOptions::default() };
    let error = plan(&scripts(&files), &Catalog::default(), &[], &options).unwrap_err();
    assert_eq!(error.to_string(), "no migration `dp` is among the files; did you mean `do`?");
}

#[test]
fn objects_dropped_by_later_files_are_not_missing() {
    let make = ("1_make", "CREATE TABLE old (a int, b int); CREATE TABLE keep (c int);");
    let rename = ("2_rename", "ALTER TABLE old RENAME TO new; ALTER TABLE keep DROP COLUMN c;");
    assert_eq!(empty(&[make, rename]).order, ["1_make", "2_rename"]);
    // A file's own scratch table, which it drops and recreates.
    let found = empty(&[(
        "1",
        "CREATE TABLE scratch (a int); DROP TABLE scratch; DROP VIEW IF EXISTS v; CREATE VIEW v AS SELECT 1; \
         CREATE TEMP TABLE tt AS SELECT 1; INSERT INTO tt VALUES (1);",
    )]);
    assert_eq!(
        (found.order.len(), found.files[0].lacking.as_slice()),
        (1, ["public.v".to_owned()].as_slice())
    );
}

#[test]
fn names_are_found_where_the_search_path_says() {
    let found = empty(&[
        (
            "1",
            "CREATE SCHEMA app; SET search_path = app, public; CREATE TABLE t (a int); CREATE INDEX i ON t (a);",
        ),
        ("2", "ALTER TABLE app.t ADD COLUMN b int"),
        ("3", "ALTER TABLE t ADD COLUMN c int"),
    ]);
    assert_eq!(found.order, ["1", "2"]);
    assert!(reasons(&found, "3").starts_with("line 1 needs public.t, which no file creates"));
}

#[test]
fn what_is_used_orders_files_and_what_is_foreign_blocks_nothing() {
    let found = empty(&[
        (
            "1",
            "CREATE VIEW v AS SELECT extract(year FROM made) FROM t LEFT JOIN u ON t.a IS DISTINCT FROM u.a, pg_class;",
        ),
        ("2", "CREATE TABLE t (made date DEFAULT today(), kind mood, v vector(3), a int);"),
        (
            "3",
            "CREATE FUNCTION today() RETURNS date LANGUAGE sql AS 'SELECT now()::date'; CREATE TYPE mood AS ENUM ('x');",
        ),
        ("4", "CREATE EXTENSION vector;"),
        ("5", "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION elsewhere();"),
    ]);
    assert_eq!(found.order, ["3", "4", "2", "1", "5"]);
}

#[test]
fn objects_that_a_do_block_may_create_block_nothing() {
    let block = "DO $$ BEGIN EXECUTE 'CREATE TABLE made (a int)'; END $$;";
    let alter = "ALTER TABLE made ADD COLUMN b int;";
    assert_eq!(empty(&[("1", &format!("{block} {alter}"))]).order, ["1"]);
    // In another file it blocks until the caller states that the object exists.
    let files = [("1", block), ("2", alter)];
    assert!(reasons(&empty(&files), "2").ends_with("which no file creates"));
    let run = ["1".to_owned(), "2".to_owned()];
    assert_eq!(planned(&files, &PlanOptions { run: &run, ..PlanOptions::default() }).order, ["1", "2"]);
}

#[test]
fn how_a_file_runs_is_read_from_it() {
    let mode = |sql: &str| empty(&[("a", sql)]).files[0].mode;
    assert_eq!(mode("CREATE TABLE t (a int)"), Mode::Transaction);
    assert_eq!(mode("BEGIN; CREATE TABLE t (a int); COMMIT;"), Mode::Own);
    assert_eq!(mode("CREATE INDEX CONCURRENTLY i ON t (a)"), Mode::Statements);
    assert_eq!(mode("VACUUM"), Mode::Statements);
    assert_eq!(mode("DO $$ BEGIN COMMIT; END $$; CREATE TABLE \"commit\" (a int);"), Mode::Transaction);
    let found = empty(&[("a", "CREATE TABLE t (a int);\n\\echo done"), ("b", "CREATE TABLE u (a int)")]);
    assert_eq!(found.file("a").unwrap().action, Action::Blocked);
    assert_eq!(found.file("a").unwrap().obstacles[0].line, 2);
}

#[test]
fn a_long_history_is_planned_whole() {
    // Each file creates a table, alters the previous one, and drops a column of the one before that.
    let sql = |n: usize| {
        let mut sql = format!("CREATE TABLE t{n} (id int PRIMARY KEY, a int, b int DEFAULT f());\n");
        if n > 0 {
            sql += &format!("ALTER TABLE t{} ADD COLUMN c{n} int REFERENCES t{n};\n", n - 1);
        }
        if n > 1 {
            sql += &format!("ALTER TABLE t{} DROP COLUMN b;\n", n - 2);
        }
        sql + &format!("INSERT INTO t{n} SELECT g FROM generate_series(1, 9) g;\n").repeat(20)
    };
    let files: Vec<(String, String)> = (0..400).rev().map(|n| (format!("v{n}"), sql(n))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, sql)| (name.as_str(), sql.as_str())).collect();
    let found = empty(&files);
    let wanted: Vec<String> = (0..400).map(|n| format!("v{n}")).collect();
    assert_eq!(found.order, wanted);
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_and_planned(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "CREATE", "TABLE", "ALTER", "DROP", "INDEX", "ON", "t", "\"q\"", "(", ")", ",", ";", ".", "'s'", "$$",
                "ADD", "COLUMN", "CONSTRAINT", "REFERENCES", "RENAME", "TO", "IF", "EXISTS", "NOT", "VIEW", "AS",
                "SELECT", "FROM", "TYPE", "VALUE", "SET", "DEFAULT", "search_path", "=", "OR", "REPLACE", "FUNCTION",
                "BEGIN", "END", "ATOMIC", "EXTENSION", "vector", "TRIGGER", "COMMENT", "--x\n", "/*", "*/", "\\d\n",
            ]),
            0..40,
        ),
        noise in ".{0,20}",
    ) {
        let text = format!("{} {noise}", words.join(" "));
        let found = empty(&[("1", &text), ("2", "ALTER TABLE t ADD COLUMN x int")]);
        proptest::prop_assert_eq!(found.files.len(), 2);
    }
}
