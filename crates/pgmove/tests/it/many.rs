//! Many small objects and one large table: statements that share a message, tables created on several connections,
//! one stream loaded by several connections.

use bytes::Bytes;
use futures::{FutureExt as _, stream};
use pgmove::{Error, Existing, Load, Source, SourceOptions, TableName, Target, TargetOptions};

use crate::common::{MAJORS, copy, database, run, server, session, value};

/// Tables with sequences, defaults, checks, children, partitions of two trees, functions, comments and privileges.
const MANY: &str = "
CREATE TABLE parent (id serial PRIMARY KEY, at int DEFAULT 7);
CREATE TABLE tree (k int, v text DEFAULT 'x') PARTITION BY RANGE (k);
CREATE TABLE other (k int, v text) PARTITION BY LIST (k);
CREATE FUNCTION twice(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT n * 2';
DO $$ BEGIN FOR n IN 1..150 LOOP
  EXECUTE format('CREATE TABLE t%s (id serial PRIMARY KEY, up int REFERENCES parent, v int DEFAULT twice(%s) CHECK (v > 0))', n, n);
  EXECUTE format('CREATE TABLE child%s (extra text) INHERITS (parent)', n);
  EXECUTE format('CREATE TABLE tree%s PARTITION OF tree (v DEFAULT %L) FOR VALUES FROM (%s) TO (%s)', n, n, n, n + 1);
  EXECUTE format('CREATE TABLE other%s PARTITION OF other FOR VALUES IN (%s)', n, n);
  EXECUTE format('CREATE FUNCTION f%s() RETURNS int LANGUAGE sql AS ''SELECT %s''', n, n);
  EXECUTE format('COMMENT ON TABLE t%s IS %L', n, n);
  EXECUTE format('GRANT SELECT ON t%s TO PUBLIC', n);
  EXECUTE format('INSERT INTO t%s (v) SELECT generate_series(1, 5)', n);
END LOOP; END $$;
INSERT INTO tree SELECT 1 + g % 150, g::text FROM generate_series(1, 1000) g;
INSERT INTO other SELECT 1 + g % 150, g::text FROM generate_series(1, 1000) g;
ALTER TABLE tree ADD PRIMARY KEY (k, v);
ANALYZE;
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tables_are_the_same_after_they_were_created_side_by_side() {
    for major in MAJORS {
        let Some(server) = server(major) else { continue };
        let from = database(&server, "a", MANY).await;
        let to = database(&server, "b", "").await;
        copy(&from, &to, &SourceOptions::default()).await.unwrap();
        let (left, right) = (session(&server, "a").await, session(&server, "b").await);
        for sql in [
            "SELECT string_agg(c.relname || c.relkind::text || pg_get_userbyid(relowner) || coalesce(c.relacl::text, '') || coalesce(pg_get_expr(relpartbound, c.oid), ''), ';' ORDER BY c.relname) FROM pg_class c WHERE relnamespace = 'public'::regnamespace",
            "SELECT string_agg(conname || pg_get_constraintdef(oid), ';' ORDER BY conrelid::regclass::text, conname) FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
            "SELECT string_agg(adrelid::regclass || pg_get_expr(adbin, adrelid), ';' ORDER BY adrelid::regclass::text, adnum) FROM pg_attrdef",
            "SELECT string_agg(inhrelid::regclass || ' ' || inhparent::regclass, ';' ORDER BY inhrelid::regclass::text) FROM pg_inherits",
            "SELECT string_agg(objoid::regclass || description, ';' ORDER BY objoid::regclass::text) FROM pg_description WHERE classoid = 'pg_class'::regclass AND objoid >= 16384",
            "SELECT string_agg(proname || pg_get_userbyid(proowner), ';' ORDER BY proname) FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
        ] {
            assert_eq!(value(&left, sql).await, value(&right, sql).await, "{sql}");
        }
    }
}

/// A server may refuse any statement of a message: it alone is named, with the server's own words.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_statement_among_many_is_named() {
    let Some(server) = server(15) else { return };
    let from = database(&server, "a", MANY).await;
    let guard = "
CREATE SCHEMA guard;
CREATE FUNCTION guard.check() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
  IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE object_identity = 'public.t77') THEN RAISE EXCEPTION 'not this one'; END IF;
END $$;
CREATE EVENT TRIGGER guard ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION guard.check();";
    for jobs in [1, 3] {
        let to = database(&server, &format!("b{jobs}"), guard).await;
        let source = Source::open(&from, &SourceOptions::default()).await.unwrap();
        let settings = TargetOptions { jobs, existing: Existing::Beside, ..TargetOptions::default() };
        let target = Target::open(&to, &settings).await.unwrap();
        let plan = target.plan(source.catalog()).await.unwrap();
        let error = target.pre_data(&plan).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("table public.t77") && text.contains("not this one"), "{text}");
        source.finish().await.unwrap();
    }
}

/// A trigger waits for the rows of all tables, since its function may read any: the graph must not list them for each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graph_grows_with_the_number_of_tables_and_not_its_square() {
    let Some(server) = server(15) else { return };
    let tables = "CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        DO $$ BEGIN FOR n IN 1..60 LOOP
          EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY)', n);
          EXECUTE format('INSERT INTO t%s VALUES (1)', n);
          EXECUTE format('CREATE TRIGGER noted BEFORE INSERT ON t%s FOR EACH ROW EXECUTE FUNCTION noted()', n);
        END LOOP; END $$";
    let (from, to) = (database(&server, "a", tables).await, database(&server, "b", "").await);
    let source = Source::open(&from, &SourceOptions::default()).await.unwrap();
    let target = Target::open(&to, &TargetOptions::default()).await.unwrap();
    let plan = target.plan(source.catalog()).await.unwrap();
    let slices = source.slices();
    let load = |slice: &pgmove::TableSlice| Load { table: slice.table.clone(), bytes: slice.estimated_bytes };
    let loads: Vec<Load> = slices.iter().map(load).collect();
    let graph = target.graph(&plan, source.catalog(), &loads, true);
    let needs = |node: &pgmove::Node| node.needs.len();
    let edges: usize = graph.nodes.iter().map(needs).sum();
    assert!(loads.len() == 60 && edges < 60 * 8, "{edges}");
    // Each trigger still waits for all rows.
    let triggers = graph.nodes.iter().filter(|node| node.work.to_string().starts_with("trigger "));
    let waits = |node: &pgmove::Node| {
        node.needs.iter().any(|at| graph.nodes.get(*at).is_some_and(|n| needs(n) == 60))
    };
    assert_eq!(triggers.filter(|node| waits(node)).count(), 60);
    source.finish().await.unwrap();
    copy(&from, &to, &SourceOptions::default()).await.unwrap();
}

const ROWS: usize = 400_000;

fn rows(bad: Option<usize>) -> Vec<Result<Bytes, std::io::Error>> {
    let row = |n: usize| match bad {
        Some(bad) if bad == n => "no number\tx\n".to_owned(),
        _ => format!("{n}\t{}\n", "x".repeat(60)),
    };
    let all: String = (0..ROWS).map(row).collect();
    all.as_bytes().chunks(100_003).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect()
}

/// Loads a stream into `public.big` with three connections.
async fn load(
    server: &sandbox::Postgres,
    database_name: &str,
    pieces: Vec<Result<Bytes, std::io::Error>>,
) -> Result<u64, Error> {
    let from = database(server, &format!("{database_name}_from"), "CREATE TABLE big (n int, pad text)").await;
    let to = database(server, database_name, "").await;
    let source = Source::open(&from, &SourceOptions::default()).await?;
    let target = Target::open(&to, &TargetOptions { jobs: 3, ..TargetOptions::default() }).await?;
    let plan = target.plan(source.catalog()).await?;
    target.pre_data(&plan).await?;
    let big = TableName::new("public", "big");
    let loads = [Load { table: big.clone(), bytes: 30_000_000 }];
    let graph = target.graph(&plan, source.catalog(), &loads, false);
    let loaded = std::sync::Mutex::new(0);
    let one = async {
        let rows = target.copy_in_shared(&plan, &big, stream::iter(pieces)).await?;
        *loaded.lock().unwrap() = rows;
        Ok::<_, Error>(())
    };
    let one = std::sync::Mutex::new(Some(one.boxed()));
    let load = |_| one.lock().unwrap().take();
    target.run_graph(&plan, &graph, &load, &|_| None, &|_| ()).await?;
    source.finish().await?;
    drop(one);
    Ok(loaded.into_inner().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_connections_load_one_stream() {
    let Some(server) = server(15) else { return };
    assert_eq!(load(&server, "b", rows(None)).await.unwrap(), ROWS as u64);
    let session = session(&server, "b").await;
    let sum = ROWS * (ROWS - 1) / 2;
    assert_eq!(
        value(&session, "SELECT count(*) || ' ' || sum(n) FROM public.big").await,
        format!("{ROWS} {sum}")
    );
    // Each connection has a transaction of its own.
    assert_eq!(value(&session, "SELECT count(DISTINCT xmin::text) > 1 FROM public.big").await, "t");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_stream_that_fails_commits_nothing_and_does_not_hang() {
    let Some(server) = server(15) else { return };
    let error = load(&server, "b", rows(Some(ROWS - 10))).await.unwrap_err().to_string();
    assert!(
        error.contains("22P02") && error.contains("public.big") && error.contains("no number"),
        "{error}"
    );
    let mut broken = rows(None);
    broken.truncate(200);
    broken.push(Err(std::io::Error::other("the store went away")));
    let error = load(&server, "c", broken).await.unwrap_err();
    assert!(format!("{error:?}").contains("the store went away"), "{error:?}");
    let session = session(&server, "c").await;
    run(&session, "SELECT pg_sleep(0.2)").await;
    assert_eq!(value(&session, "SELECT count(*) FROM public.big").await, "0");
}
