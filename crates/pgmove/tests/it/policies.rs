//! Targets that are not empty, and partial databases: filters, cleaning, rows into an existing schema.

use crate::common;
use crate::common::{MAJORS, copy, copy_with, database, options_as, run, server, session, value};
use pgmove::{
    Error, Existing, Filter, OnError, OnRows, Sections, Source, SourceOptions, TableName, Target,
    TargetOptions, compare,
};

/// A small shop: references both ways round, a trigger, a view, a sequence, an enum.
const SHOP: &str = "
CREATE TYPE state AS ENUM ('new', 'paid');
CREATE TABLE customer (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name varchar(20) NOT NULL, best_order int);
CREATE TABLE orders (id serial PRIMARY KEY, customer int NOT NULL REFERENCES customer, state state DEFAULT 'new', total numeric(10,2), note text);
ALTER TABLE customer ADD FOREIGN KEY (best_order) REFERENCES orders;
CREATE TABLE log (at timestamptz DEFAULT now(), line text);
CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.log(line) VALUES (NEW.id::text); RETURN NEW; END $$;
INSERT INTO customer (name) SELECT 'c' || g FROM generate_series(1, 50) g;
INSERT INTO orders (customer, total) SELECT 1 + g % 50, g * 1.5 FROM generate_series(1, 500) g;
UPDATE customer SET best_order = id;
CREATE TRIGGER noted AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION noted();
CREATE VIEW dear AS SELECT * FROM orders WHERE total > 100;
CREATE MATERIALIZED VIEW sums AS SELECT customer, sum(total) AS total FROM orders GROUP BY 1;
";

fn table(name: &str) -> TableName {
    TableName::new("public", name)
}

fn existing(existing: Existing) -> TargetOptions {
    TargetOptions { existing, ..TargetOptions::default() }
}

fn rows_only(on_rows: OnRows) -> TargetOptions {
    TargetOptions { sections: Sections::DATA, ..existing(Existing::Into(on_rows)) }
}

async fn refusal(
    from: &pgmove::ConnectOptions,
    to: &pgmove::ConnectOptions,
    settings: &TargetOptions,
) -> String {
    match copy_with(from, to, &SourceOptions::default(), settings).await {
        Err(error @ Error::Refused { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_restores_what_it_selects_and_names_what_it_excludes() {
    for major in MAJORS {
        let Some(server) = server(major) else { continue };
        let from = database(&server, "a", SHOP).await;
        let to = database(&server, "b", "").await;
        let filter = Filter {
            tables: vec!["customer".into(), "public.lo?".into()],
            conditions: [("customer".to_owned(), "id <= 10".to_owned())].into(),
            exclude_table_data: vec!["log".into()],
            ..Filter::default()
        };
        let settings = SourceOptions { filter, ..SourceOptions::default() };
        let source = Source::open(&from, &settings).await.unwrap();
        assert_eq!(
            source.catalog().left_out.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "foreign key customer_best_order_fkey on public.customer refers to public.orders, which the filter excludes, and is excluded too"
            ]
        );
        drop(source);
        let proofs = copy(&from, &to, &settings).await.unwrap();
        assert_eq!(proofs.keys().cloned().collect::<Vec<_>>(), [table("customer")]);
        assert_eq!(proofs[&table("customer")].rows, 10);
        let b = session(&server, "b").await;
        assert_eq!(value(&b, "SELECT count(*) FROM public.log").await, "0");
        assert_eq!(value(&b, "SELECT to_regclass('public.orders')").await, "<null>");

        // A pattern that means nothing is a misspelling.
        let filter =
            Filter { conditions: [("custmer".to_owned(), "true".to_owned())].into(), ..Filter::default() };
        let refused =
            Source::open(&from, &SourceOptions { filter, ..SourceOptions::default() }).await.unwrap_err();
        assert!(
            refused.is_usage() && refused.to_string().contains("no table matches `custmer`"),
            "{refused}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clean_replaces_existing_objects_and_nothing_else() {
    for major in MAJORS {
        let Some(server) = server(major) else { continue };
        let from = database(&server, "a", SHOP).await;
        let to = database(&server, "b", SHOP).await;
        let b = session(&server, "b").await;
        run(&b, "DELETE FROM public.log; UPDATE public.orders SET total = 0; ALTER TABLE public.orders ALTER note SET DEFAULT 'x'; CREATE TABLE public.mine (id int); INSERT INTO public.mine VALUES (7)").await;
        let refused = refusal(&from, &to, &TargetOptions::default()).await;
        assert!(refused.contains("it is not empty: it holds table public.customer"), "{refused}");

        // Somebody else's column and key depend on what would go.
        run(&b, "CREATE TABLE public.theirs (s public.state, o int REFERENCES public.orders); CREATE VIEW public.looks AS SELECT * FROM public.orders").await;
        let refused = refusal(&from, &to, &existing(Existing::Clean)).await;
        for victim in [
            "column s of table public.theirs",
            "constraint theirs_o_fkey on table public.theirs",
            "view public.looks",
        ] {
            assert!(refused.contains(victim), "{victim}: {refused}");
        }
        assert_eq!(value(&b, "SELECT count(*) FROM public.orders").await, "500");

        run(&b, "DROP TABLE public.theirs; DROP VIEW public.looks").await;
        copy_with(&from, &to, &SourceOptions::default(), &existing(Existing::Clean)).await.unwrap();
        assert_eq!(value(&b, "SELECT id FROM public.mine").await, "7");
        run(&b, "DROP TABLE public.mine").await;
        let found = compare(&from, &to, &Default::default(), &|_| ()).await.unwrap();
        assert!(found.equal(), "{found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_restored_into_an_existing_schema() {
    for major in MAJORS {
        let Some(server) = server(major) else { continue };
        let from = database(&server, "a", SHOP).await;
        let to = database(&server, "b", SHOP).await;
        let b = session(&server, "b").await;
        // Wider types, other order, further columns: all that may be.
        run(&b, "ALTER TABLE public.customer ALTER name TYPE text, ADD extra int DEFAULT 5; DROP MATERIALIZED VIEW public.sums; DROP VIEW public.dear; \
                 ALTER TABLE public.orders ALTER total TYPE numeric(20,8), ALTER note TYPE varchar, ADD made timestamptz NOT NULL DEFAULT now()").await;
        let refused = refusal(&from, &to, &rows_only(OnRows::Refuse)).await;
        assert!(refused.contains("table public.customer holds rows"), "{refused}");

        let proofs =
            copy_with(&from, &to, &SourceOptions::default(), &rows_only(OnRows::Truncate)).await.unwrap();
        assert_eq!((proofs[&table("orders")].rows, proofs[&table("log")].rows), (500, 0));
        assert_eq!(
            value(&b, "SELECT count(*) || ' ' || sum(total) || ' ' || count(made) FROM public.orders").await,
            "500 187875.00000000 500"
        );
        // The trigger stayed quiet, and the sequences go on.
        assert_eq!(value(&b, "SELECT count(*) FROM public.log").await, "0");
        assert_eq!(value(&b, "SELECT nextval('public.orders_id_seq')").await, "501");
        assert_eq!(value(&b, "INSERT INTO public.customer (name) VALUES ('x') RETURNING id").await, "51");

        // When rows are appended, the proof covers only the added ones.
        run(&b, "SET session_replication_role = replica; UPDATE public.orders SET id = id + 10000; DELETE FROM public.customer; RESET session_replication_role").await;
        let proofs =
            copy_with(&from, &to, &SourceOptions::default(), &rows_only(OnRows::Append)).await.unwrap();
        assert_eq!(proofs[&table("orders")].rows, 500);
        assert_eq!(value(&b, "SELECT count(*) FROM public.orders").await, "1000");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_conflict_of_an_existing_schema_is_reported_before_anything_is_written() {
    for major in MAJORS {
        let Some(server) = server(major) else { continue };
        let from = database(&server, "a", SHOP).await;
        let to = database(
            &server,
            "b",
            "CREATE TABLE customer (id int, name varchar(10), must int NOT NULL, best_order int); \
             CREATE TABLE orders (id int PRIMARY KEY, customer int, state text, total numeric(10,2) GENERATED ALWAYS AS (1) STORED)",
        )
        .await;
        let refused = refusal(&from, &to, &rows_only(OnRows::Refuse)).await;
        for conflict in [
            "column public.customer.name is character varying(10) at the target and character varying(20) at the source",
            "column public.customer.must is NOT NULL at the target, has no default",
            "column public.orders.state is text at the target and public.state at the source",
            "column public.orders.total is generated at the target",
            "column public.orders.note does not exist at the target",
            "table public.log does not exist at the target",
        ] {
            assert!(refused.contains(conflict), "{conflict}: {refused}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_without_special_rights_heeds_order_and_triggers() {
    for major in MAJORS {
        let Some(server) = server(major) else { continue };
        let simple = "CREATE TABLE b_parent (id int PRIMARY KEY); CREATE TABLE a_child (id int PRIMARY KEY, up int REFERENCES b_parent); \
                      INSERT INTO b_parent SELECT generate_series(1, 100); INSERT INTO a_child SELECT g, g FROM generate_series(1, 100) g;";
        let from = database(&server, "a", simple).await;
        database(&server, "b", simple).await;
        let b = session(&server, "b").await;
        run(
            &b,
            "DELETE FROM public.a_child; DELETE FROM public.b_parent; CREATE ROLE plain LOGIN; \
                 ALTER TABLE public.a_child OWNER TO plain; ALTER TABLE public.b_parent OWNER TO plain",
        )
        .await;
        let to = options_as(&server, "plain", "b");
        let source = Source::open(&from, &SourceOptions::default()).await.unwrap();
        let target = Target::open(&to, &rows_only(OnRows::Refuse)).await.unwrap();
        let plan = target.plan(source.catalog()).await.unwrap();
        assert!(plan.rank(&table("b_parent")) < plan.rank(&table("a_child")));

        run(
            &b,
            "CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
                 CREATE TRIGGER t BEFORE INSERT ON public.a_child FOR EACH ROW EXECUTE FUNCTION public.f(); \
                 ALTER TABLE public.b_parent ADD one int REFERENCES public.a_child",
        )
        .await;
        let refused = target.plan(source.catalog()).await.unwrap_err().to_string();
        assert!(refused.contains("trigger t on public.a_child would fire for every row"), "{refused}");
        assert!(refused.contains("public.a_child, public.b_parent form a cycle"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn references_to_rows_that_were_not_restored_are_found() {
    for major in MAJORS {
        let Some(server) = server(major) else { continue };
        let from = database(&server, "a", SHOP).await;
        let to = database(&server, "b", SHOP).await;
        let filter =
            Filter { conditions: [("customer".to_owned(), "id > 5".to_owned())].into(), ..Filter::default() };
        let settings = SourceOptions { filter, ..SourceOptions::default() };
        let error = copy_with(&from, &to, &settings, &rows_only(OnRows::Truncate)).await.unwrap_err();
        let Error::Dangling { references, .. } = &error else { panic!("{error}") };
        assert_eq!(references.len(), 1, "{error}");
        assert!(references[0].contains("orders_customer_fkey on public.orders"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejected_statements_are_listed_when_the_rest_continues() {
    // From 17 on the server itself lets no such index come to be.
    for major in MAJORS.into_iter().filter(|major| *major < 17) {
        let Some(server) = server(major) else { continue };
        let from = database(
            &server,
            "a",
            "CREATE TABLE good (id int PRIMARY KEY); INSERT INTO good VALUES (1); CREATE TABLE names (n text); INSERT INTO names VALUES ('x'); \
             CREATE FUNCTION short(t text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT t IN (SELECT n FROM names)'; \
             CREATE TABLE checked (t text); INSERT INTO checked VALUES ('x'); CREATE INDEX by_short ON checked (short(t));",
        )
        .await;
        // The function names a table without its schema: with an empty search path it cannot find it.
        let to = database(&server, "b", "").await;
        let error = copy(&from, &to, &SourceOptions::default()).await.unwrap_err().to_string();
        assert!(
            error.contains("index public.by_short") && error.contains("\"names\" does not exist"),
            "{error}"
        );

        database(&server, "c", "").await;
        let to = common::options(&server, "c");
        let settings = TargetOptions { on_error: OnError::Continue, ..TargetOptions::default() };
        let source = Source::open(&from, &SourceOptions::default()).await.unwrap();
        let target = Target::open(&to, &settings).await.unwrap();
        let plan = target.plan(source.catalog()).await.unwrap();
        target.pre_data(&plan).await.unwrap();
        for slice in source.slices() {
            target.copy_in(&plan, &slice.table, source.copy_out(&slice).await.unwrap()).await.unwrap();
        }
        target.post_data(&plan, &|_| ()).await.unwrap();
        target.finish(&plan, &|_| ()).await.unwrap();
        let failures = target.failures();
        assert_eq!(failures.len(), 1, "{failures:?}");
        assert_eq!(failures[0].object, "index public.by_short");
        assert!(failures[0].error.contains("CREATE INDEX by_short"), "{failures:?}");
        assert_eq!(value(&session(&server, "c").await, "SELECT count(*) FROM public.good").await, "1");

        let to = database(&server, "d", "").await;
        let settings = TargetOptions { search_path: Some("public".to_owned()), ..TargetOptions::default() };
        copy_with(&from, &to, &SourceOptions::default(), &settings).await.unwrap();
    }
}
