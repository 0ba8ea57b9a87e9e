//! `compare --show` between databases of different encodings, as text and as JSON (issue 16, section 9).
#![allow(clippy::unwrap_used, reason = "test code")]

use sandbox::testing::require_postgres;
use sandbox::{Postgres, PostgresOptions};

use crate::common::{dbhaul, folder, postgres};

const WORDS: &str = "
    CREATE TABLE words (w text PRIMARY KEY, n int, body varchar(40));
    INSERT INTO words SELECT (ARRAY['ä','é','Ö','z','Z','-','ñ','~'])[1 + n % 8] || n, n, 'Größe ' || n FROM generate_series(1, 9000) n;
    CREATE TABLE marks (m char(4), a int, PRIMARY KEY (m, a));
    INSERT INTO marks SELECT 'é' || n % 7, n FROM generate_series(1, 500) n;
";

/// Differences that every encoding can hold.
const CHANGES: &str = "
    UPDATE words SET body = 'übrig' WHERE w IN ('ä8', 'Z4', 'ñ6'); DELETE FROM words WHERE w = 'Ö2';
    INSERT INTO words VALUES ('ÿ', 1, 'neu'), ('!', 2, NULL); INSERT INTO marks VALUES ('ü', 0);
";

/// Each row as its key with the side that has it.
fn keys(table: &serde_json::Value) -> Vec<String> {
    let one = |row: &serde_json::Value| {
        let key: Vec<&str> = row["key"]
            .as_array()
            .unwrap()
            .iter()
            .map(|part| part["text"].as_str().unwrap().trim_end())
            .collect();
        let side = match (row["left"].is_null(), row["right"].is_null()) {
            (false, false) => "",
            (false, true) => "<",
            _ => ">",
        };
        format!("{side}{}", key.join("/"))
    };
    table["rows"].as_array().unwrap().iter().map(one).collect()
}

fn of<'a>(found: &'a serde_json::Value, table: &str) -> &'a serde_json::Value {
    found["rows"]
        .as_array()
        .unwrap()
        .iter()
        .find(|rows| rows["table"] == table)
        .unwrap_or_else(|| panic!("{found}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn differing_rows_of_databases_with_different_encodings_are_found() {
    let Some(binaries) = require_postgres(15) else { return };
    let server = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    let admin = postgres(&server.url("postgres")).await;
    for (name, encoding) in [("unicode", "UTF8"), ("latin", "LATIN1"), ("bare", "SQL_ASCII")] {
        let make = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'");
        admin.batch_execute(&make).await.unwrap();
        // The client sends UTF-8; a database without an encoding keeps these bytes.
        postgres(&server.url(name)).await.batch_execute(WORDS).await.unwrap();
    }
    let here = folder();
    let [unicode, latin, bare] = ["unicode", "latin", "bare"].map(|name| server.url(name));
    dbhaul(here.path(), &["compare", &unicode, &latin, "--show", "5"]).exits(0);
    postgres(&latin).await.batch_execute(CHANGES).await.unwrap();
    for (left, right, words, marks) in [
        (&unicode, &latin, ["ä8", ">!", "Z4", "<Ö2", "ñ6", ">ÿ"], ">ü/0"),
        (&latin, &unicode, ["ä8", "<!", "Z4", ">Ö2", "ñ6", "<ÿ"], "<ü/0"),
    ] {
        let found = dbhaul(here.path(), &["compare", left, right, "--show", "20", "--json"]).exits(3).json();
        let mut wanted = words.map(str::to_owned).to_vec();
        // In the order of the bytes of UTF-8.
        wanted.sort_by(|one, other| {
            one.trim_start_matches(['<', '>']).cmp(other.trim_start_matches(['<', '>']))
        });
        assert_eq!(keys(of(&found, "public.words")), wanted, "{found}");
        assert_eq!(keys(of(&found, "public.marks")), [marks], "{found}");
        assert_eq!(of(&found, "public.words")["key"], serde_json::json!(["w"]));
        assert_eq!(of(&found, "public.words")["more"], false);
        let few = dbhaul(here.path(), &["compare", left, right, "--show", "2", "--json"]).exits(3).json();
        assert_eq!(keys(of(&few, "public.words")), wanted[..2], "{few}");
        assert_eq!(of(&few, "public.words")["more"], true);
    }
    let found = dbhaul(here.path(), &["compare", &unicode, &latin, "--show", "20", "--json"]).exits(3).json();
    let row = &of(&found, "public.words")["rows"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["key"][0]["text"] == "ñ6");
    let row = row.unwrap();
    let value = |text: &str| serde_json::json!([{ "column": "body", "text": text }]);
    assert_eq!((&row["left"], &row["right"]), (&value("Größe 6"), &value("übrig")));
    let only = of(&found, "public.words")["rows"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["key"][0]["text"] == "!");
    let only = only.unwrap();
    assert!(only["left"].is_null(), "{only}");
    assert_eq!(only["right"][1], serde_json::json!({ "column": "body", "text": null }));
    dbhaul(here.path(), &["compare", &unicode, &latin, "--show", "20"])
        .exits(3)
        .shows("body='Größe 6'")
        .shows("body='übrig'")
        .shows("w='ÿ': only on the right");

    // Text that the other encoding lacks is on one side alone, and is shown.
    postgres(&unicode)
        .await
        .batch_execute("INSERT INTO words VALUES ('한글', 3, '값'), ('ä99999', 4, '하나')")
        .await
        .unwrap();
    let found = dbhaul(here.path(), &["compare", &unicode, &latin, "--show", "20", "--json"]).exits(3).json();
    let found = keys(of(&found, "public.words"));
    assert!(found.contains(&"<한글".to_owned()), "{found:?}");

    // Bytes of no encoding are compared as they are.
    postgres(&bare).await.batch_execute("UPDATE words SET n = 0 WHERE w = 'é1'").await.unwrap();
    let plain = "DELETE FROM words WHERE w = '한글' OR body = '하나'";
    postgres(&unicode).await.batch_execute(plain).await.unwrap();
    let found = dbhaul(here.path(), &["compare", &unicode, &bare, "--show", "20", "--json"]).exits(3).json();
    assert_eq!(keys(of(&found, "public.words")), ["é1"], "{found}");
}
