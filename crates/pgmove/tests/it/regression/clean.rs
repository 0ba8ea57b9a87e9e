//! A second restore over the first: everything is dropped and recreated, whatever its kind and number.

use crate::common::{MAJORS, copy_with, database, run, server, server_with, session, value};
use pgmove::{Error, Existing, SourceOptions, TargetOptions, compare};
use sandbox::PostgresOptions;

fn clean() -> TargetOptions {
    TargetOptions { existing: Existing::Clean, ..TargetOptions::default() }
}

async fn refusal(from: &pgmove::ConnectOptions, to: &pgmove::ConnectOptions) -> String {
    match copy_with(from, to, &SourceOptions::default(), &clean()).await {
        Err(error @ Error::Refused { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Range types make functions of their own; an aggregate without arguments is written with an asterisk; the row type
/// of a table, an overloaded function, a domain with a constraint, an operator with its class.
const KINDS: &str = "
CREATE TYPE span AS RANGE (subtype = int4);
CREATE AGGREGATE counted(*) (sfunc = int8inc, stype = int8, initcond = '0');
CREATE AGGREGATE middle(float8 ORDER BY anyelement) (sfunc = ordered_set_transition, stype = internal, finalfunc = percentile_disc_final, finalfunc_extra = true, finalfunc_modify = read_write);
CREATE DOMAIN small AS int CHECK (VALUE < 1000);
CREATE FUNCTION twice(x small) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * x';
CREATE FUNCTION twice(x text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT x || x';
CREATE PROCEDURE nothing(INOUT x int) LANGUAGE sql AS 'SELECT x';
CREATE TABLE base (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, s span, n small DEFAULT twice(3::small));
CREATE TABLE parts (id int, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE older (id int NOT NULL, at int NOT NULL);
ALTER TABLE parts ATTACH PARTITION older FOR VALUES FROM (0) TO (10);
CREATE FUNCTION of_rows(base) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE VIEW looks AS SELECT counted(*) AS n FROM base;
CREATE OPERATOR <%> (FUNCTION = int4pl, LEFTARG = int, RIGHTARG = int);
CREATE STATISTICS pairs ON id, n FROM base;
CREATE PUBLICATION told FOR TABLE base;
INSERT INTO base (s) VALUES ('[1,2)');
INSERT INTO parts VALUES (1, 1);
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_is_replaced_by_a_second_restore() {
    for major in MAJORS {
        let Some(server) = server(major) else { continue };
        let from = database(&server, "a", KINDS).await;
        let to = database(&server, "b", "").await;
        copy_with(&from, &to, &SourceOptions::default(), &TargetOptions::default()).await.unwrap();
        for _ in 0..2 {
            copy_with(&from, &to, &SourceOptions::default(), &clean()).await.unwrap();
        }
        let found = compare(&from, &to, &Default::default(), &|_| ()).await.unwrap();
        assert!(found.equal(), "{found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_the_target_has_is_never_lost_with_what_is_replaced() {
    let Some(server) = server(15) else { return };
    let from = database(&server, "a", KINDS).await;
    let to = database(&server, "b", KINDS).await;
    let b = session(&server, "b").await;
    run(&b, "CREATE TABLE public.kept (s public.span); \
             CREATE TABLE public.later PARTITION OF public.parts FOR VALUES FROM (10) TO (20); INSERT INTO public.parts VALUES (1, 15); \
             CREATE TABLE public.points (b int REFERENCES public.base); \
             CREATE FUNCTION public.uses(public.span) RETURNS int LANGUAGE sql AS 'SELECT 1'; \
             CREATE PUBLICATION mine FOR TABLE public.base; \
             CREATE TABLE public.computed (n int DEFAULT public.twice(4::public.small))")
        .await;
    let refused = refusal(&from, &to).await;
    for victim in [
        "column s of table public.kept",
        "table public.later",
        "constraint points_b_fkey on table public.points",
        "function public.uses(public.span)",
        "publication of table public.base in publication mine",
        "default value for column n of table public.computed",
    ] {
        assert!(refused.contains(&format!("{victim} depends on")), "{victim}: {refused}");
    }
    assert!(!refused.contains("told"), "{refused}");
    assert_eq!(value(&b, "SELECT count(*) FROM public.parts").await, "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_kind_under_the_same_name_is_a_conflict() {
    let Some(server) = server(15) else { return };
    let from = database(&server, "a", "CREATE TABLE one (id int); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TYPE kind AS ENUM ('a')").await;
    let to = database(&server, "b", "CREATE VIEW one AS SELECT 1 AS id; CREATE PROCEDURE f() LANGUAGE sql AS 'SELECT 1'; CREATE TABLE kind (id int)").await;
    let refused = refusal(&from, &to).await;
    for conflict in [
        "view public.one has the name of table public.one",
        "procedure public.f() has the name of function public.f()",
        "table public.kind has the name of type public.kind",
    ] {
        assert!(refused.contains(conflict), "{conflict}: {refused}");
    }
}

/// More locks than the server has: dropped in several transactions, and again after an interruption.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_objects_than_the_lock_table_holds_are_dropped_in_batches() {
    let settings = vec![
        ("max_connections".to_owned(), "20".to_owned()),
        ("max_locks_per_transaction".to_owned(), "16".to_owned()),
    ];
    let Some(server) = server_with(15, PostgresOptions { settings, ..PostgresOptions::default() }) else {
        return;
    };
    let from = database(&server, "a", "").await;
    let a = session(&server, "a").await;
    for at in 0..10 {
        let tables: String = (0..20)
            .map(|n| format!("CREATE TABLE public.t_{at}_{n} (id bigserial PRIMARY KEY, name text, a int UNIQUE, b int UNIQUE);"))
            .collect();
        run(&a, &tables).await;
    }
    run(&a, "CREATE TABLE public.parent (id int) PARTITION BY RANGE (id)").await;
    for at in 0..5 {
        let partitions: String = (0..20)
            .map(|n| at * 20 + n)
            .map(|n| {
                format!(
                    "CREATE TABLE public.p_{n} PARTITION OF public.parent FOR VALUES FROM ({n}) TO ({});",
                    n + 1
                )
            })
            .collect();
        run(&a, &partitions).await;
    }
    for at in 0..5 {
        let functions: String = (0..100)
            .map(|n| format!("CREATE FUNCTION public.f_{at}_{n}() RETURNS int LANGUAGE sql AS 'SELECT {n}';"))
            .collect();
        run(&a, &functions).await;
    }
    let schema = pgmove::Sections::SCHEMA;
    let to = database(&server, "b", "").await;
    let first = TargetOptions { sections: schema, ..TargetOptions::default() };
    copy_schema(&from, &to, &first).await;
    let again = TargetOptions { sections: schema, ..clean() };
    let warnings = copy_schema(&from, &to, &again).await;
    assert!(warnings.iter().any(|warning| warning.contains("is dropped in")), "{warnings:?}");
    let b = session(&server, "b").await;
    assert_eq!(value(&b, "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace").await, "301");
    assert_eq!(
        value(&b, "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace").await,
        "500"
    );

    // Some are gone already: an interrupted run.
    let gone: String = (0..20).map(|n| format!("DROP TABLE public.t_3_{n};")).collect();
    run(&b, &gone).await;
    copy_schema(&from, &to, &again).await;
    assert_eq!(value(&b, "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace").await, "301");
}

/// The schema alone; gives the warnings of the plan.
async fn copy_schema(
    from: &pgmove::ConnectOptions,
    to: &pgmove::ConnectOptions,
    settings: &TargetOptions,
) -> Vec<String> {
    let source = pgmove::Source::open(from, &SourceOptions::default()).await.unwrap();
    let target = pgmove::Target::open(to, settings).await.unwrap();
    let plan = target.plan(source.catalog()).await.unwrap();
    target.pre_data(&plan).await.unwrap();
    target.post_data(&plan, &|_| ()).await.unwrap();
    target.finish(&plan, &|_| ()).await.unwrap();
    plan.warnings().iter().map(ToString::to_string).collect()
}

/// "Target must be empty" holds for every kind of object.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_occupied_target_is_recognized_by_any_kind() {
    let Some(server) = server(15) else { return };
    let from = database(&server, "a", "CREATE TABLE t (id int)").await;
    let kinds = [
        ("publication", "CREATE PUBLICATION p FOR ALL TABLES"),
        ("foreign data wrapper", "CREATE FOREIGN DATA WRAPPER w"),
        ("collation", "CREATE COLLATION public.c (provider = libc, locale = 'C')"),
        ("operator", "CREATE OPERATOR public.<%> (FUNCTION = int4pl, LEFTARG = int, RIGHTARG = int)"),
        ("text search dictionary", "CREATE TEXT SEARCH DICTIONARY public.d (TEMPLATE = simple)"),
        ("text search configuration", "CREATE TEXT SEARCH CONFIGURATION public.c (COPY = simple)"),
        ("cast", "CREATE TYPE public.x AS ENUM ('a'); CREATE CAST (public.x AS bytea) WITH INOUT"),
        ("conversion", "CREATE CONVERSION public.v FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8"),
        (
            "event trigger",
            "CREATE FUNCTION public.e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION public.e()",
        ),
    ];
    for (at, (kind, sql)) in kinds.iter().enumerate() {
        let to = database(&server, &format!("k{at}"), sql).await;
        let refused = copy_with(&from, &to, &SourceOptions::default(), &TargetOptions::default()).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(&format!("it is not empty: it holds {kind} ")), "{kind}: {refused}");
    }
}
