//! Differing rows are found by the key and shown, whatever the types and collations of the key.

use crate::common;
use common::{database, run, server, session};
use pgmove::{CompareOptions, Comparison, ConnectOptions, DifferingRows, compare};

async fn shown(from: &ConnectOptions, to: &ConnectOptions, show: usize) -> Comparison {
    let options = CompareOptions { show_rows: show, ..CompareOptions::default() };
    compare(from, to, &options, &|_| ()).await.unwrap()
}

fn of<'a>(found: &'a Comparison, table: &str) -> &'a DifferingRows {
    found.rows.iter().find(|rows| rows.table == table).unwrap_or_else(|| panic!("{table}: {found}"))
}

/// The keys of the rows, with `<` where only the left has it, `>` where only the right has it.
fn keys(rows: &DifferingRows) -> Vec<String> {
    let one = |row: &pgmove::DifferingRow| {
        let key: Vec<&str> = row.key.iter().map(|value| value.text.as_deref().unwrap_or("NULL")).collect();
        let side = match (&row.left, &row.right) {
            (Some(_), Some(_)) => "",
            (Some(_), None) => "<",
            _ => ">",
        };
        format!("{side}{}", key.join("/"))
    };
    rows.rows.iter().map(one).collect()
}

const TABLES: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
    CREATE TABLE numbers (id bigint PRIMARY KEY, v text, g int GENERATED ALWAYS AS (1) STORED);
    INSERT INTO numbers SELECT n, 'value ' || n FROM generate_series(-15000, 15000) n;
    CREATE TABLE words (w text PRIMARY KEY, n int);
    INSERT INTO words SELECT (ARRAY['ä','a','B','Z','-','é','z','_'])[1 + n % 8] || n, n FROM generate_series(1, 9000) n;
    CREATE TABLE pairs (a text COLLATE \"C\", b int, c uuid, v timestamptz, PRIMARY KEY (b, a));
    INSERT INTO pairs SELECT 'k' || n % 97, n / 97, md5(n::text)::uuid, '2024-01-01Z'::timestamptz + n * interval '1 s' FROM generate_series(1, 9000) n;
    CREATE TABLE ids (id uuid PRIMARY KEY, at timestamptz UNIQUE, m mood);
    INSERT INTO ids SELECT md5(n::text)::uuid, '2024-01-01Z'::timestamptz + n * interval '1 s', 'ok' FROM generate_series(1, 6000) n;
    CREATE TABLE moods (m mood, n numeric(10,2), b bytea, t timestamp, x text, PRIMARY KEY (m, n, b, t));
    INSERT INTO moods SELECT (ARRAY['sad','ok','happy']::mood[])[1 + n % 3], n / 4.0, decode(md5(n::text), 'hex'), '2000-01-01'::timestamp + n * interval '1 h', 'x'
        FROM generate_series(1, 5000) n;
    CREATE TABLE codes (a int, b int NOT NULL UNIQUE);
    INSERT INTO codes SELECT n, n FROM generate_series(1, 10) n;
    CREATE TABLE bare (a int);
    INSERT INTO bare VALUES (1);
    CREATE TABLE parted (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (5000);
    CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (5000) TO (10000);
    INSERT INTO parted SELECT n, n FROM generate_series(0, 9999) n;
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_differing_rows_are_found_by_the_key() {
    let (Some(old), Some(new)) = (server(15), server(18)) else { return };
    let from = database(&old, "a", TABLES).await;
    // The other side sorts text in another way, and its enum has another order of labels.
    run(
        &session(&new, "postgres").await,
        "CREATE DATABASE b TEMPLATE template0 LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8' ENCODING 'UTF8'",
    )
    .await;
    let to = common::options(&new, "b");
    let other = TABLES.replacen("'sad', 'ok', 'happy'", "'happy', 'sad', 'ok'", 1);
    run(&session(&new, "b").await, &format!("SET search_path = public; {other}")).await;
    let same = shown(&from, &to, 5).await;
    assert!(same.tables.iter().all(|table| table.equal) && same.rows.is_empty(), "{same}");

    run(
        &session(&new, "b").await,
        "SET search_path = public;
         UPDATE numbers SET v = 'other' WHERE id IN (-14000, 3, 4, 14999); DELETE FROM numbers WHERE id IN (-5, 9);
         INSERT INTO numbers VALUES (20000, repeat('long ', 1000)), (-20000, E'\\x1b[31m\\n\\t\\\\');
         UPDATE words SET n = -n WHERE w IN ('ä8', 'Z3', 'z6'); DELETE FROM words WHERE w = '_15';
         UPDATE pairs SET v = v + interval '1 us' WHERE (a, b) IN (('k3', 7), ('k12', 7), ('k5', 80));
         UPDATE ids SET m = 'sad' WHERE id = md5('77')::uuid; UPDATE ids SET at = at + interval '1 day' WHERE id = md5('5999')::uuid;
         UPDATE moods SET x = NULL WHERE n = 1000.25; DELETE FROM moods WHERE n = 4.50;
         UPDATE codes SET a = 0 WHERE b = 7; INSERT INTO bare VALUES (2);
         UPDATE parted SET v = 0 WHERE id IN (4999, 5000);",
    )
    .await;
    let found = shown(&from, &to, 100).await;
    assert!(!found.equal());
    assert_eq!(
        keys(of(&found, "public.numbers")),
        [">-20000", "-14000", "<-5", "3", "4", "<9", "14999", ">20000"],
        "{found}"
    );
    assert_eq!(keys(of(&found, "public.words")), ["Z3", "<_15", "z6", "ä8"], "{found}");
    assert_eq!(keys(of(&found, "public.pairs")), ["7/k12", "7/k3", "80/k5"], "{found}");
    assert_eq!(of(&found, "public.ids").rows.len(), 2, "{found}");
    assert_eq!(of(&found, "public.moods").rows.len(), 2, "{found}");
    assert_eq!(keys(of(&found, "public.codes")), ["7"], "{found}");
    assert_eq!(keys(of(&found, "public.parted_1")), ["4999"], "{found}");
    assert!(of(&found, "public.bare").not_shown.as_deref().unwrap().contains("no primary key"), "{found}");
    assert!(found.rows.iter().all(|rows| rows.not_shown.is_some() || !rows.more), "{found}");

    let said = found.to_string();
    assert!(said.contains("left:  v='value 3'") && said.contains("right: v='other'"), "{said}");
    assert!(said.contains("(5000 bytes)") && said.contains("\\u{1b}[31m\\n\\t\\"), "{said}");
    assert!(!said.contains('\u{1b}') && said.lines().all(|line| line.len() < 2000), "{said}");
    assert!(said.contains("x='x'") && said.contains("x=NULL"), "{said}");

    let few = shown(&from, &to, 3).await;
    let numbers = of(&few, "public.numbers");
    assert_eq!(keys(numbers), [">-20000", "-14000", "<-5"], "{few}");
    assert!(numbers.more, "{few}");
}

/// Every row differs: the first ones are found without holding all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_whose_rows_all_differ_is_cut_short() {
    let Some(server) = server(15) else { return };
    let sql = |v: &str| {
        format!(
            "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT n, '{v}' FROM generate_series(1, 50000) n;"
        )
    };
    let from = database(&server, "a", &sql("one")).await;
    let to = database(&server, "b", &sql("two")).await;
    let empty = database(&server, "c", "CREATE TABLE t (id int PRIMARY KEY, v text)").await;
    for to in [&to, &empty] {
        let found = shown(&from, to, 4).await;
        let rows = of(&found, "public.t");
        let numbers: Vec<String> =
            keys(rows).iter().map(|key| key.trim_start_matches('<').to_owned()).collect();
        assert_eq!((numbers, rows.more), (["1", "2", "3", "4"].map(str::to_owned).to_vec(), true), "{found}");
    }
    let found = shown(&empty, &from, 2).await;
    assert_eq!(keys(of(&found, "public.t")), [">1", ">2"], "{found}");
}
