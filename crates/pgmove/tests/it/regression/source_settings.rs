//! The source's own expressions have the same results on the target as on the source.

use crate::common;
use common::{MAJORS, copy, database, run, server, session, value};
use futures::StreamExt as _;
use pgmove::{Filter, Source, SourceOptions, TableName, Target, TargetOptions};

/// A database with its own settings, which take effect in later sessions.
const SETTINGS: &str = "
CREATE TEXT SEARCH CONFIGURATION public.mine (COPY = pg_catalog.english);
DO $$ DECLARE s text; BEGIN
  FOREACH s IN ARRAY ARRAY['TimeZone = ''Asia/Seoul''', 'DateStyle = ''German, DMY''', 'IntervalStyle = sql_standard',
    'default_text_search_config = ''public.mine''', 'extra_float_digits = -3', 'bytea_output = escape', 'xmlbinary = hex',
    'app.tenant = ''it''''s''']
  LOOP EXECUTE format('ALTER DATABASE %I SET %s', current_database(), s); END LOOP;
END $$;
";

const FILLS: &str = "
CREATE TABLE fills (id int PRIMARY KEY, at timestamptz NOT NULL, note text, amount money, ratio float8, raw bytea, took interval);
INSERT INTO fills SELECT g, '2024-01-01 00:00+09'::timestamptz + g * interval '1 hour', 'running foxes', g, 1.0 / 3 + g, '\\x00ff', '-1 day 02:00' FROM generate_series(0,71) g;
CREATE MATERIALIZED VIEW daily AS SELECT at::date AS day, count(*) AS n FROM fills GROUP BY 1;
CREATE MATERIALIZED VIEW words AS SELECT to_tsvector(note) AS v FROM fills WHERE id = 1;
CREATE MATERIALIZED VIEW texts AS SELECT at::text, ratio::text AS ratio, raw::text AS raw, took::text AS took, amount::text AS amount,
  current_setting('app.tenant') AS tenant FROM fills;
CREATE TABLE day_rows (id int PRIMARY KEY, at timestamptz NOT NULL, day date NOT NULL, CONSTRAINT same_day CHECK (day = at::date),
  CONSTRAINT said CHECK (said = at::text), said text);
INSERT INTO day_rows SELECT g, t, t::date, t::text FROM (SELECT g, '2024-01-01 00:00+09'::timestamptz + g * interval '1 hour' t FROM generate_series(0,71) g) x;
CREATE TABLE late (id int, at timestamptz, day date); INSERT INTO late SELECT id, at, day FROM day_rows;
ALTER TABLE late ADD CONSTRAINT late_day CHECK (day = at::date) NOT VALID;
CREATE FUNCTION day_of(t timestamptz) RETURNS date LANGUAGE sql IMMUTABLE AS 'SELECT t::date';
CREATE TABLE derived (at timestamptz, day date GENERATED ALWAYS AS (public.day_of(at)) STORED);
INSERT INTO derived SELECT at FROM fills;
CREATE UNIQUE INDEX one_a_day ON derived (public.day_of(at)) WHERE extract(hour FROM at AT TIME ZONE 'Asia/Seoul') = 0;
CREATE TABLE routed (at timestamptz) PARTITION BY LIST ((public.day_of(at)));
CREATE TABLE routed1 PARTITION OF routed FOR VALUES IN ('2024-01-01'); CREATE TABLE routed2 PARTITION OF routed DEFAULT;
INSERT INTO routed SELECT at FROM fills;
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expressions_are_evaluated_as_at_the_source() {
    for major in MAJORS {
        let Some(server) = server(major) else { continue };
        let from = database(&server, "a", SETTINGS).await;
        // Not by a session of this crate, which would pin the settings.
        let (plain, connection) =
            tokio_postgres::connect(&server.url("a"), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        plain.batch_execute(&format!("SET search_path = public; {FILLS}")).await.unwrap();
        let to = database(&server, "b", "").await;

        let source = Source::open(&from, &SourceOptions::default()).await.unwrap();
        let target = Target::open(&to, &TargetOptions::default()).await.unwrap();
        let plan = target.plan(source.catalog()).await.unwrap();
        target.pre_data(&plan).await.unwrap();
        for slice in source.slices() {
            let mut rows = source.copy_out(&slice).await.unwrap();
            target.copy_in(&plan, &slice.table, &mut rows).await.unwrap();
            let proof = rows.proof().unwrap();
            assert_eq!(target.prove(&plan, &slice.table).await.unwrap(), proof, "{slice}");
        }
        let told = std::sync::Mutex::new(Vec::new());
        let event = |event: pgmove::RestoreEvent| {
            if let pgmove::RestoreEvent::Warned { warning } = event {
                told.lock().unwrap().push(warning);
            }
        };
        target.post_data(&plan, &event).await.unwrap();
        target.finish(&plan, &event).await.unwrap();
        assert_eq!(*told.lock().unwrap(), Vec::<pgmove::Warning>::new());

        let views = source.materialized_views();
        assert_eq!(views.len(), 3);
        for view in views {
            let held = source.digest(&view).await.unwrap().unwrap();
            assert!(plan.fills(&view.table));
            let holds = target.prove_view(source.catalog(), &view.table).await.unwrap();
            assert_eq!(holds, held, "{major}: {}", view.table);
        }
        let proof = target.prove_schema(&plan, source.catalog()).await.unwrap();
        assert!(proof.holds(), "{proof:?}");
        let b = session(&server, "b").await;
        // 2024-01-01 of Seoul has 24 hours; of UTC, 9 of these would be the day before.
        assert_eq!(value(&b, "SELECT n FROM public.daily WHERE day = '2024-01-01'").await, "24");
        assert_eq!(value(&b, "SELECT count(*) FROM public.derived WHERE day = '2024-01-01'").await, "24");
        assert_eq!(value(&b, "SELECT v FROM public.words").await, "'fox':2 'run':1");
        assert_eq!(value(&b, "SELECT DISTINCT tenant FROM public.texts").await, "it's");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_selects_the_same_rows_as_at_the_source() {
    for major in MAJORS {
        let Some(server) = server(major) else { continue };
        let from = database(&server, "a", SETTINGS).await;
        let (plain, connection) =
            tokio_postgres::connect(&server.url("a"), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        plain
            .batch_execute(&format!("SET search_path = public; {FILLS}; CREATE VIEW ids AS SELECT 30 AS id"))
            .await
            .unwrap();
        let all = {
            let source = Source::open(&from, &SourceOptions::default()).await.unwrap();
            rows(&source, "fills").await
        };
        for (condition, expected) in [
            ("at::date = '1.1.2024'", (0..24).collect::<Vec<_>>()),
            ("at >= '02.01.2024' AND at < '02.01.2024 03:00'", vec![24, 25, 26]),
            ("to_tsvector(note) @@ to_tsquery('run') AND id < 2", vec![0, 1]),
            ("at::text LIKE '03.01.2024 00:00%'", vec![48]),
            ("id IN (SELECT id FROM public.ids)", vec![30]),
        ] {
            let filter = Filter {
                conditions: [("fills".to_owned(), condition.to_owned())].into(),
                ..Filter::default()
            };
            let settings = SourceOptions { filter, ..SourceOptions::default() };
            let source = Source::open(&from, &settings).await.unwrap();
            // Twice, for a session that was used must not be met by the next table.
            for _ in 0..2 {
                let mut wanted: Vec<&String> = expected.iter().map(|at: &usize| &all[*at]).collect();
                wanted.sort();
                let taken = rows(&source, "fills").await;
                let mut found: Vec<&String> = taken.iter().collect();
                found.sort();
                assert_eq!(found, wanted, "{major}: {condition}");
                assert_eq!(rows(&source, "day_rows").await.len(), 72);
            }
        }
    }
}

/// The rows of a table as they leave the source, in order.
async fn rows(source: &Source, table: &str) -> Vec<String> {
    let mut text = Vec::new();
    for slice in source.slices().into_iter().filter(|slice| slice.table == TableName::new("public", table)) {
        let mut rows = source.copy_out(&slice).await.unwrap();
        while let Some(piece) = rows.next().await {
            text.extend_from_slice(&piece.unwrap());
        }
    }
    let text = String::from_utf8(text).unwrap();
    let mut rows: Vec<String> = text.lines().map(str::to_owned).collect();
    rows.sort_by_key(|row| row.split('\t').next().and_then(|id| id.parse::<u32>().ok()));
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_setting_that_the_target_lacks_is_reported() {
    let Some(server) = server(15) else { return };
    let from = database(&server, "a", "CREATE TABLE t (a int)").await;
    let to = database(&server, "b", "").await;
    let mut catalog = Source::open(&from, &SourceOptions::default()).await.unwrap().catalog().clone();
    catalog.database.value_settings.insert("TimeZone".to_owned(), "Mars/Olympus".to_owned());
    let target = Target::open(&to, &TargetOptions::default()).await.unwrap();
    let plan = target.plan(&catalog).await.unwrap();
    target.pre_data(&plan).await.unwrap();
    let told = std::sync::Mutex::new(String::new());
    target.post_data(&plan, &|event| told.lock().unwrap().push_str(&event.to_string())).await.unwrap();
    assert!(
        told.lock()
            .unwrap()
            .contains("the source's setting TimeZone = Mars/Olympus is not accepted at the target")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn default_privileges_of_the_target_add_nothing() {
    for major in MAJORS {
        let Some(server) = server(major) else { continue };
        run(&session(&server, "postgres").await, "CREATE ROLE reader; CREATE ROLE stranger").await;
        let schema = "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader; ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM public; \
                      CREATE TABLE salary (a int); INSERT INTO salary VALUES (1); REVOKE ALL ON salary FROM reader; \
                      CREATE TABLE open (a int); CREATE TABLE mine (a int); ALTER TABLE mine OWNER TO reader; \
                      CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; GRANT EXECUTE ON FUNCTION f() TO public;";
        let from = database(&server, "a", schema).await;
        let to = database(&server, "b", "").await;
        run(
            &session(&server, "b").await,
            "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO stranger; ALTER DEFAULT PRIVILEGES GRANT USAGE ON TYPES TO stranger",
        )
        .await;
        copy(&from, &to, &SourceOptions::default()).await.unwrap();
        let privileges = "SELECT string_agg(relname || coalesce(relacl, acldefault('r', relowner))::text, ' ' ORDER BY relname) \
                          FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'";
        let (a, b) = (session(&server, "a").await, session(&server, "b").await);
        assert_eq!(value(&b, privileges).await, value(&a, privileges).await);
        let function = "SELECT string_agg(item::text, ' ' ORDER BY item::text) FROM pg_proc, unnest(coalesce(proacl, acldefault('f', proowner))) item WHERE proname = 'f'";
        assert_eq!(value(&b, function).await, value(&a, function).await);
    }
}
