//! The graph of a restore: what may start before the last row is loaded, and what may not; and that the result is the
//! same.

use crate::common::{MAJORS, copy, database, run, server, session, value};
use pgmove::{Graph, Load, Source, SourceOptions, StepNumber, Target, TargetOptions, Work};

/// Tables that are large enough for unique indexes and foreign keys to be made in two steps, and a small one whose index
/// calls a function that reads another table.
const SHOP: &str = "
CREATE TABLE customer (id int PRIMARY KEY, name text NOT NULL, UNIQUE (name) DEFERRABLE INITIALLY DEFERRED) WITH (fillfactor = 90);
CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL REFERENCES customer, twin int REFERENCES orders, total int, note text);
CREATE INDEX ON orders (customer);
CREATE INDEX ON orders (total) WHERE total > 5;
CREATE TABLE rates (id int PRIMARY KEY, factor int);
INSERT INTO rates VALUES (1, 3);
CREATE FUNCTION rated(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN n * (SELECT factor FROM public.rates WHERE id = 1); END $$;
CREATE TABLE small (n int);
INSERT INTO small SELECT generate_series(1, 10);
CREATE INDEX small_rated ON small (rated(n));
CREATE TABLE days (d int, v text) PARTITION BY RANGE (d);
CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM (0) TO (100);
CREATE TABLE days_2 PARTITION OF days FOR VALUES FROM (100) TO (200);
ALTER TABLE days ADD PRIMARY KEY (d);
INSERT INTO days SELECT g, 'v' || g FROM generate_series(0, 199) g;
CREATE STATISTICS apart ON customer, total FROM orders;
INSERT INTO customer SELECT g, 'customer ' || g || repeat('x', 80) FROM generate_series(1, 100000) g;
INSERT INTO orders SELECT g, 1 + g % 100000, g, g % 10, repeat('y', 80) FROM generate_series(1, 120000) g;
ANALYZE;
";

fn position(graph: &Graph, wanted: impl Fn(&Work) -> bool) -> usize {
    graph.nodes.iter().position(|node| wanted(&node.work)).unwrap()
}

/// All nodes that one needs, directly or not.
fn needs(graph: &Graph, at: usize) -> Vec<usize> {
    let mut found: Vec<usize> = graph.nodes[at].needs.clone();
    let mut next = 0;
    while let Some(at) = found.get(next).copied() {
        next += 1;
        found.extend(
            graph.nodes[at].needs.iter().filter(|need| !found.contains(need)).copied().collect::<Vec<_>>(),
        );
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_on_one_table_wait_for_no_other() {
    for major in MAJORS {
        let Some(server) = server(major) else { continue };
        let from = database(&server, "a", SHOP).await;
        let to = database(&server, "b", "").await;
        let settings = SourceOptions { jobs: 3, ..SourceOptions::default() };
        let source = Source::open(&from, &settings).await.unwrap();
        let target = Target::open(&to, &TargetOptions { jobs: 3, ..TargetOptions::default() }).await.unwrap();
        let plan = target.plan(source.catalog()).await.unwrap();
        let loads: Vec<Load> = source
            .slices()
            .iter()
            .map(|slice| Load { table: slice.table.clone(), bytes: slice.estimated_bytes })
            .collect();
        let graph = target.graph(&plan, source.catalog(), &loads, true);
        source.finish().await.unwrap();
        let of = |name: &str| {
            position(&graph, |work| matches!(work, Work::Load { table, .. } if table.name == name))
        };
        let step = |name: &str, which: Option<StepNumber>| {
            position(
                &graph,
                |work| matches!(work, Work::Statement { object, step, .. } if object.contains(name) && *step == which),
            )
        };
        let (first, then) = (Some(StepNumber::First), Some(StepNumber::Then));
        // A unique index is built when its table is loaded, whatever else is on its way.
        assert_eq!(needs(&graph, step("orders_pkey", first)), [of("orders")]);
        assert!(needs(&graph, step("orders_pkey", then)).contains(&step("orders_pkey", first)));
        assert_eq!(needs(&graph, step("orders_customer_idx", None)), [of("orders")]);
        // A foreign key needs both tables and the key that it refers to.
        let key = needs(&graph, step("orders_customer_fkey", then));
        for need in
            [of("orders"), of("customer"), step("customer_pkey", then), step("orders_customer_fkey", first)]
        {
            assert!(key.contains(&need), "{key:?} lacks {need}");
        }
        assert!(!key.contains(&of("rates")));
        // A function may read any table.
        let rated = needs(&graph, step("small_rated", None));
        assert!(
            ["orders", "customer", "rates", "small", "days_1"].iter().all(|name| rated.contains(&of(name)))
        );
        // The key of a partitioned table waits for its partitions.
        let days = needs(&graph, step("days_pkey", None));
        assert!(
            days.contains(&of("days_1")) && days.contains(&of("days_2")) && !days.contains(&of("orders"))
        );
        // Statistics are collected when everything of the table is there.
        let analyze =
            position(&graph, |work| matches!(work, Work::Analyze { table } if table.name == "orders"));
        let before = needs(&graph, analyze);
        for name in ["orders_pkey", "orders_customer_fkey"] {
            assert!(before.contains(&step(name, then)), "{name}");
        }
        assert!(before.contains(&step("apart", None)));
        assert!(graph.analyzed_last.iter().any(|table| table.name == "days"));
        // The longest way to the end goes through the largest table.
        let longest = graph.nodes.iter().map(|node| node.path).max().unwrap();
        assert_eq!(longest, graph.nodes[of("orders")].path);
        assert!(
            graph.nodes.iter().all(|node| node.needs.iter().all(|need| graph.nodes[*need].path >= node.path))
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_graph_creates_what_the_script_states() {
    for major in MAJORS {
        let Some(server) = server(major) else { continue };
        let from = database(&server, "a", SHOP).await;
        let to = database(&server, "b", "").await;
        let settings = SourceOptions { jobs: 3, ..SourceOptions::default() };
        copy(&from, &to, &settings).await.unwrap();
        let (left, right) = (session(&server, "a").await, session(&server, "b").await);
        for sql in [
            "SELECT string_agg(conname || contype::text || convalidated || condeferrable || condeferred || pg_get_constraintdef(oid), ';' ORDER BY conrelid::regclass::text, conname) FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
            "SELECT string_agg(indexdef, ';' ORDER BY indexdef) FROM pg_indexes WHERE schemaname = 'public'",
            "SELECT string_agg(c.relname || coalesce(c.reloptions::text, ''), ';' ORDER BY c.relname) FROM pg_class c WHERE relnamespace = 'public'::regnamespace",
            // Every table has statistics, the partitioned one too.
            "SELECT string_agg(DISTINCT tablename, ';' ORDER BY tablename) FROM pg_stats WHERE schemaname = 'public'",
        ] {
            assert_eq!(value(&left, sql).await, value(&right, sql).await, "{sql}");
        }
        // Loaded by one stream, the rows are frozen and all visible: nothing is left for vacuum to write again.
        let frozen = "SELECT CASE WHEN relallvisible * 10 >= relpages * 9 AND relpages > 1024 THEN 'true' ELSE relallvisible || '/' || relpages || version() END FROM pg_class WHERE relname = 'orders'";
        assert_eq!(value(&right, frozen).await, "true");
        run(&right, "INSERT INTO public.orders VALUES (0, 1, 1, 1, '')").await;
        let refused = right.client().batch_execute("INSERT INTO public.orders VALUES (0, 1, 1, 1, '')").await;
        assert_eq!(refused.unwrap_err().code().unwrap().code(), "23505");
        let refused =
            right.client().batch_execute("INSERT INTO public.orders VALUES (-1, -1, 1, 1, '')").await;
        assert_eq!(refused.unwrap_err().code().unwrap().code(), "23503");
    }
}

/// Rows that break a unique key are named, and nothing is taken for done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_cannot_be_built_ends_the_restore_with_its_values() {
    let Some(server) = server(15) else { return };
    let broken = "
SET search_path = public;
CREATE TABLE t (id int, pad text);
INSERT INTO t SELECT g, repeat('x', 80) FROM generate_series(1, 120000) g;
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS t_id ON t (id);
ALTER TABLE t ADD CONSTRAINT t_key UNIQUE USING INDEX t_id;
SET allow_system_table_mods = on";
    let parts: Vec<&str> = broken.split_inclusive(';').collect();
    let from = database(&server, "a", "").await;
    let source = session(&server, "a").await;
    for part in parts {
        run(&source, part).await;
    }
    // As after a collation's change: the index no longer tells of two equal rows.
    run(&source, "SET session_replication_role = replica; UPDATE pg_index SET indisready = false WHERE indexrelid = 'public.t_key'::regclass").await;
    run(&source, "INSERT INTO public.t VALUES (7, 'again')").await;
    run(&source, "UPDATE pg_index SET indisready = true WHERE indexrelid = 'public.t_key'::regclass").await;
    let to = database(&server, "b", "").await;
    let error = copy(&from, &to, &SourceOptions::default()).await.unwrap_err().to_string();
    assert!(error.contains("t_key") && error.contains("23505") && error.contains("(id)=(7)"), "{error}");
}
