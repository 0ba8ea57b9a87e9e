//! A filter that matches a table includes its partitions and children; one that matches nothing is an error.

use crate::common;
use common::{MAJORS, copy, database, server, session, value};
use pgmove::{Filter, Source, SourceOptions, TableName};

/// Partitions in two schemas and two levels, children by inheritance, foreign keys and triggers from above.
const TREE: &str = "
CREATE SCHEMA other; CREATE SCHEMA empty;
CREATE TABLE parent (id serial PRIMARY KEY); INSERT INTO parent DEFAULT VALUES;
CREATE TABLE pt (a int, b text, up int REFERENCES parent DEFAULT 1, PRIMARY KEY (a, b)) PARTITION BY LIST (a);
CREATE TABLE pt1 PARTITION OF pt FOR VALUES IN (1);
CREATE TABLE other.pt2 PARTITION OF pt FOR VALUES IN (2) PARTITION BY LIST (b);
CREATE TABLE other.pt2x PARTITION OF other.pt2 FOR VALUES IN ('x', 'y');
CREATE INDEX ON pt (b);
INSERT INTO pt VALUES (1, 'x'), (1, 'y'), (2, 'x'), (2, 'y');
CREATE TABLE base (a int NOT NULL CHECK (a > 0), note text); CREATE TABLE child (extra int) INHERITS (base);
INSERT INTO base VALUES (1, 'b'); INSERT INTO child VALUES (2, 'c', 3), (3, 'd', 4);
CREATE TABLE plain (a int); INSERT INTO plain VALUES (1), (2);
CREATE VIEW v AS SELECT * FROM plain;
";

fn one(pattern: &str) -> Vec<String> {
    vec![pattern.to_owned()]
}

fn settings(filter: Filter) -> SourceOptions {
    SourceOptions { filter, ..SourceOptions::default() }
}

async fn rows_of(major: u32, filter: Filter) -> Option<Vec<(String, u64)>> {
    let server = server(major)?;
    let from = database(&server, "a", TREE).await;
    let to = database(&server, "b", "").await;
    let proofs = copy(&from, &to, &settings(filter)).await.unwrap();
    let b = session(&server, "b").await;
    // A parent shows what its partitions hold: they are attached.
    let whole = "SELECT coalesce((SELECT count(*) FROM pg_inherits), 0)";
    let mut rows: Vec<(String, u64)> = proofs
        .into_iter()
        .map(|(name, proof)| (name.name, proof.rows))
        .filter(|(_, rows)| *rows > 0)
        .collect();
    rows.push(("attached".to_owned(), value(&b, whole).await.parse().unwrap()));
    Some(rows)
}

macro_rules! expect {
    ($filter:expr, $($name:literal: $rows:literal),*) => {
        for major in MAJORS {
            if let Some(found) = rows_of(major, $filter).await {
                let expected = [$(($name.to_owned(), $rows)),*];
                assert_eq!(found, expected, "{major}");
            }
        }
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partitioned_table_is_taken_with_its_partitions() {
    // Two partitions, one below another, and three indexes of two kinds.
    expect!(Filter { tables: one("pt"), ..Filter::default() }, "pt2x": 2, "pt1": 2, "attached": 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_are_taken_with_what_they_inherit_from() {
    expect!(Filter { tables: one("base"), ..Filter::default() }, "base": 1, "child": 2, "attached": 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_on_a_partitioned_table_chooses_rows_of_its_partitions() {
    let conditions = [("pt".to_owned(), "b = 'x'".to_owned()), ("base".to_owned(), "a <> 2".to_owned())];
    let filter = Filter { conditions: conditions.into(), exclude_tables: one("plain"), ..Filter::default() };
    let filter = Filter {
        exclude_table_data: one("parent"),
        exclude_tables: [one("v"), filter.exclude_tables].concat(),
        ..filter
    };
    // The remaining foreign keys refer to rows that are left out: only the tables are examined.
    for major in MAJORS {
        let Some(server) = server(major) else { continue };
        let from = database(&server, "a", TREE).await;
        let source = Source::open(&from, &settings(filter.clone())).await.unwrap();
        let mut taken = Vec::new();
        for slice in source.slices() {
            let mut rows = source.copy_out(&slice).await.unwrap();
            while let Some(piece) = futures::StreamExt::next(&mut rows).await {
                piece.unwrap();
            }
            taken.push((slice.table.name.clone(), rows.proof().unwrap().rows));
        }
        taken.sort();
        let expected = [("base", 1), ("child", 1), ("pt1", 1), ("pt2x", 1)];
        assert_eq!(taken, expected.map(|(name, rows)| (name.to_owned(), rows)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_left_out_of_a_partitioned_table_is_left_out_of_its_partitions() {
    expect!(
        Filter { exclude_table_data: vec!["pt".into(), "base".into()], ..Filter::default() },
        "parent": 1, "plain": 2, "attached": 10
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partitioned_table_is_left_out_with_its_partitions() {
    expect!(
        Filter { exclude_tables: vec!["public.pt".into(), "base".into()], ..Filter::default() },
        "parent": 1, "plain": 2, "attached": 0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_in_another_schema_go_with_their_table() {
    expect!(
        Filter { schemas: one("public"), ..Filter::default() },
        "pt2x": 2, "base": 1, "child": 2, "parent": 1, "plain": 2, "pt1": 2, "attached": 10
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_without_its_parent_becomes_a_table_with_a_warning() {
    for major in MAJORS {
        let Some(server) = server(major) else { continue };
        let from = database(&server, "a", TREE).await;
        let to = database(&server, "b", "").await;
        let filter = Filter { tables: vec!["pt1".into(), "child".into()], ..Filter::default() };
        let source = Source::open(&from, &settings(filter.clone())).await.unwrap();
        let left_out = &source.catalog().left_out;
        let told = left_out.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(
            told.contains("table public.pt1 is a partition of public.pt, which the filter excludes"),
            "{told}"
        );
        assert!(told.contains("table public.child is a child of public.base"), "{told}");
        drop(source);
        let proofs = copy(&from, &to, &settings(filter)).await.unwrap();
        assert_eq!(proofs[&TableName::new("public", "pt1")].rows, 2);
        let b = session(&server, "b").await;
        assert_eq!(value(&b, "SELECT count(*) FROM public.child WHERE a > 0 AND extra > 0").await, "2");
        let key =
            "SELECT count(*) FROM pg_constraint WHERE conrelid = 'public.pt1'::regclass AND contype = 'p'";
        assert_eq!(value(&b, key).await, "1");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_that_matches_nothing_is_an_error_whatever_it_asks_for() {
    let Some(server) = server(15) else { return };
    let from = database(&server, "a", TREE).await;
    let condition = |table: &str| [(table.to_owned(), "true".to_owned())].into();
    for (filter, told) in [
        (Filter { tables: one("ptt"), ..Filter::default() }, "no table matches `ptt`"),
        (Filter { exclude_tables: one("ptt"), ..Filter::default() }, "no table matches `ptt`"),
        (Filter { exclude_table_data: one("ptt"), ..Filter::default() }, "no table matches `ptt`"),
        (Filter { schemas: one("othr"), ..Filter::default() }, "no schema matches `othr`"),
        (Filter { exclude_schemas: one("othr"), ..Filter::default() }, "no schema matches `othr`"),
        (Filter { conditions: condition("ptt"), ..Filter::default() }, "no table matches `ptt`"),
        (
            Filter { conditions: condition("v"), ..Filter::default() },
            "no table with selected rows matches it",
        ),
        (
            Filter { conditions: condition("plain"), tables: one("pt"), ..Filter::default() },
            "`plain` has a condition on rows, but no table with selected rows matches it",
        ),
    ] {
        let refused = Source::open(&from, &settings(filter)).await.unwrap_err();
        assert!(refused.is_usage() && refused.to_string().contains(told), "{told}: {refused}");
    }
    let filter = Filter { exclude_schemas: one("empty"), ..Filter::default() };
    assert!(Source::open(&from, &settings(filter)).await.is_ok());
}
