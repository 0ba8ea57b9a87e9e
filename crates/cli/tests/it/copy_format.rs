//! `migrate --copy-format`: rows copied in binary equal those of the source; tables with a type without a tested binary
//! format are copied as text.
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::{dbhaul, folder, postgres, quick_redis};
use sandbox::testing::{require_postgres, require_redis};
use sandbox::{Postgres, PostgresOptions, Redis};

/// Every type with a tested binary format, with boundary values; rows longer than a message, more rows than one COPY
/// statement takes, an empty table, partitions, and a type that is copied as text.
const VALUES: &str = r#"
CREATE TABLE every_type (id int PRIMARY KEY, bool bool, bytea bytea, chr char(1), single "char", name name, int8 int8, int2 int2,
  text text, oid oid, json json, float4 float4, float8 float8, mac macaddr, inet inet, cidr cidr, bp char(12), vc varchar(30),
  date date, time time, ts timestamp, tz timestamptz, iv interval, tt timetz, bit bit(7), vb varbit, num numeric, fixed numeric(20, 8),
  uuid uuid, jb jsonb, ints int[], texts text[], nums numeric[], stamps timestamptz[], grid float8[], twice int GENERATED ALWAYS AS (id * 2) STORED);
INSERT INTO every_type (id) VALUES (0);
INSERT INTO every_type VALUES
  (1, true, '\x00ff5c0a', 'x', 'y', 'some name', 9223372036854775807, -32768, E'tab\t newline\n back\\ \\.', 4294967295, '{"a": 1.50,  "b":null}', 'NaN', '-Infinity',
   '08:00:2b:01:02:03', '::1/64', '10.1.0.0/16', 'padded', '', 'infinity', '24:00', '-infinity', '2026-11-28 14:00:00.123456+09', '-1 year 2 days -00:00:00.000001',
   '12:00:00.5-08', B'1010101', B'', 'NaN', -123456789012.12345678, '00000000-0000-0000-0000-00000000002a', '{"z": [1, {"a": "é"}], "n": 1e-30}',
   '{1,NULL,-3}', ARRAY['', NULL, 'NULL', 'a,"b"\'], '{1.10,NaN}', '{infinity}', '[0:1][2:3]={{0.1,-0},{1e-320,3}}'),
  (2, false, '', 'é', '', '', -1, 0, 'ünïcödé €', 0, '[]', '-0', '4.9406564584124654e-324', 'ff:ff:ff:ff:ff:ff', '1.2.3.4', '::/0', '', 'é', '4713-01-01 BC', '00:00',
   '294276-12-31 23:59:59.999999', '4713-01-01 00:00+00 BC', '178000000 years', '23:59:59.999999+15:59', B'0000000', B'1', 1e-200, 0, 'ffffffff-ffff-ffff-ffff-ffffffffffff', 'null',
   '{}', '{}', '{}', NULL, '{}');
INSERT INTO every_type (id, num, float8, tz, text) SELECT g, g * 1.000000000000001, sqrt(g), timestamptz '2020-01-01' + g * interval '1.1 s', md5(g::text) FROM generate_series(3, 60000) g;
CREATE TABLE long_rows (id int PRIMARY KEY, body bytea, note text);
INSERT INTO long_rows SELECT g, decode(repeat(md5(g::text), 200000 * g), 'hex'), repeat('n', g) FROM generate_series(1, 3) g;
INSERT INTO long_rows SELECT g, decode(repeat(md5(g::text), 400), 'hex'), NULL FROM generate_series(4, 6000) g;
CREATE TABLE empty (id int);
CREATE TABLE parts (k int, v text) PARTITION BY HASH (k);
CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO parts SELECT g, g::text FROM generate_series(1, 1000) g;
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE moods (id int, mood mood);
INSERT INTO moods VALUES (1, 'good'), (2, NULL);
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_travel_in_binary_are_those_of_a_snapshot_in_text() {
    for (old, new) in [(15, 15), (12, 18)] {
        let (Some(old), Some(new)) = (require_postgres(old), require_postgres(new)) else { return };
        let settings = vec![("log_statement".to_owned(), "mod".to_owned())];
        let source = Postgres::start(&old, PostgresOptions::default()).unwrap();
        let target =
            Postgres::start(&new, PostgresOptions { settings, ..PostgresOptions::default() }).unwrap();
        let admin = postgres(&source.url("postgres")).await;
        admin.batch_execute("CREATE DATABASE app").await.unwrap();
        let from = source.url("app");
        postgres(&from).await.batch_execute(VALUES).await.unwrap();
        let here = folder();
        let run = |args: &[&str]| dbhaul(here.path(), args);
        run(&["init", "--repository", "store"]).exits(0);
        run(&["backup", "--postgres", &from, "--no-forget"]).exits(0);

        // Without proof, binary is the default: on several connections, frozen or not.
        let fast = target.url("fast");
        let migrate = ["migrate", "--from", &from, "--to", &fast, "--create", "--no-proof"];
        let plan = run(&[&migrate[..], &["--dry-run", "--json"]].concat()).exits(0).json();
        let tables = plan["targets"][0]["tables"].as_array().unwrap().clone();
        let format = |name: &str| {
            let table = tables.iter().find(|table| table["table"]["name"] == name);
            table.unwrap()["format"].as_str().unwrap().to_owned()
        };
        for table in ["every_type", "long_rows", "empty", "parts_0", "parts_1"] {
            assert_eq!(format(table), "binary", "{table}");
        }
        assert_eq!(format("moods"), "text");
        run(&[&migrate[..], &["--jobs", "3"]].concat()).exits(0).shows("not verified");
        assert!(target.log().contains("FORMAT binary"), "{}", target.log());
        run(&["compare", "latest", &fast]).exits(0).shows("6 of 6 tables equal");

        // With proof, only on request: digests are those of the text.
        let proven = target.url("proven");
        let migrate = ["migrate", "--from", &from, "--to", &proven, "--create", "--jobs", "2"];
        run(&[&migrate[..], &["--copy-format", "binary"]].concat()).exits(0).shows("6 of 6 tables equal");
        run(&["compare", &from, &proven]).exits(0);
        let text = target.url("text");
        let auto = ["migrate", "--from", &from, "--to", &text, "--create", "--dry-run", "--json"];
        let auto = run(&auto);
        assert!(!auto.exits(0).json().to_string().contains("\"binary\""));
    }
}

#[test]
fn redis_has_no_copy_format() {
    let Some(binaries) = require_redis("6.2") else { return };
    let server = Redis::start(&binaries, quick_redis()).unwrap();
    let here = folder();
    let args = ["migrate", "--from", &server.url(), "--to", &server.url(), "--copy-format", "binary"];
    dbhaul(here.path(), &args).exits(2).says("--copy-format is for PostgreSQL");
}
