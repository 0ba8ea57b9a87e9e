//! Bad input: each is one clear error, found before any row moves, with the right predicate.

use std::time::Duration;

use crate::common::{
    MAJORS, copy, copy_with, database, options, options_as, run, server, server_with, session, value,
};
use pgmove::{ConnectOptions, Environment, Error, Filter, Source, SourceOptions, Target, TargetOptions};
use sandbox::{Listen, PostgresOptions};

async fn open(options: &ConnectOptions) -> Result<Source, Error> {
    Source::open(options, &SourceOptions::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_connection_reports_why() {
    let protected = PostgresOptions {
        listen: Listen::Port,
        password: Some("right".into()),
        ..PostgresOptions::default()
    };
    let Some(server) = server_with(MAJORS[1], protected) else { return };
    session(&server, "postgres").await;

    let without = server.url_as("postgres", "postgres");
    let parse = |url: &str| ConnectOptions::parse(url, &Environment::default()).unwrap();
    let error = open(&parse(&without).with_password("hunter2")).await.unwrap_err();
    assert!(error.is_auth() && !error.is_unreachable() && error.sqlstate() == Some("28P01"), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    assert!(error.to_string().contains("check the password"), "{error}");

    let error = open(&parse(&without)).await.unwrap_err();
    assert!(error.is_auth() && !error.is_unreachable(), "{error:?}");
    assert!(error.to_string().contains("PGPASSWORD"), "{error}");

    let error = open(&options(&server, "nowhere")).await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("3D000"));
    assert!(error.to_string().contains("\"nowhere\" does not exist"), "{error}");
    assert!(error.to_string().contains("create the database first"), "{error}");

    // A port that was free a moment ago, and a name that no resolver knows.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for url in [format!("postgres://u@127.0.0.1:{port}/d"), "postgres://u@name.invalid/d".to_owned()] {
        let error = open(&parse(&url)).await.unwrap_err();
        assert!(error.is_unreachable() && !error.is_auth(), "{error:?}");
        assert!(error.to_string().starts_with("cannot connect to postgres://u@"), "{error}");
    }

    // Something that accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://u@127.0.0.1:{}/d?connect_timeout=1", silent.local_addr().unwrap().port());
    let error = open(&parse(&url)).await.unwrap_err();
    assert!(error.is_unreachable() && error.to_string().contains("no answer within 1 s"), "{error}");

    // Of several hosts the first that answers, and that one is named.
    let url =
        format!("postgres://postgres:right@127.0.0.1:{port},localhost:{}/postgres", server.port().unwrap());
    let source = open(&parse(&url)).await.unwrap();
    assert_eq!((source.server().host.as_str(), source.server().port), ("localhost", server.port().unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_without_privileges_gets_the_list_of_unreadable_objects() {
    for major in MAJORS {
        let Some(server) = server(major) else { continue };
        let sql = "CREATE ROLE reader LOGIN; CREATE TABLE open (id int); CREATE TABLE secret (id serial); CREATE TABLE hidden (id int); \
                   CREATE SCHEMA closed; CREATE TABLE closed.inside (id int); GRANT SELECT ON open, closed.inside TO reader; \
                   GRANT USAGE ON SCHEMA public TO reader;";
        database(&server, "a", sql).await;
        let reader = options_as(&server, "reader", "a");
        let error = open(&reader).await.unwrap_err();
        assert!(error.is_denied() && !error.is_refused(), "{error:?}");
        let text = error.to_string();
        for words in [
            "role reader",
            "table public.secret",
            "sequence public.secret_id_seq",
            "table public.hidden",
            "table closed.inside",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
        assert!(!text.contains("public.open"), "{text}");

        // Excluded tables need not be readable.
        let filter = Filter { tables: vec!["open".into()], ..Filter::default() };
        let source = Source::open(&reader, &SourceOptions { filter, ..SourceOptions::default() }).await;
        if major >= 18 {
            assert_eq!(source.unwrap().slices().len(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_security_is_never_a_silent_subset() {
    let Some(server) = server(MAJORS[0]) else { return };
    let sql = "CREATE ROLE tenant LOGIN; CREATE ROLE boss LOGIN BYPASSRLS; CREATE ROLE keeper LOGIN; \
               CREATE TABLE mine (who text); INSERT INTO mine VALUES ('tenant'), ('other'); ALTER TABLE mine ENABLE ROW LEVEL SECURITY; \
               CREATE POLICY own ON mine USING (who = current_user); GRANT SELECT ON mine TO tenant, boss; \
               CREATE TABLE forced (id int); ALTER TABLE forced OWNER TO keeper; ALTER TABLE forced ENABLE ROW LEVEL SECURITY; \
               ALTER TABLE forced FORCE ROW LEVEL SECURITY; GRANT SELECT ON mine TO keeper; GRANT SELECT ON forced TO tenant, boss;";
    let superuser = database(&server, "a", sql).await;
    let error = open(&options_as(&server, "tenant", "a")).await.unwrap_err();
    assert!(error.is_refused() && error.to_string().contains("table public.mine"), "{error}");
    let error = open(&options_as(&server, "keeper", "a")).await.unwrap_err();
    assert!(
        error.to_string().contains("table public.forced: row security applies to this role, by FORCE"),
        "{error}"
    );
    for whole in [options_as(&server, "boss", "a"), superuser] {
        assert_eq!(open(&whole).await.unwrap().slices().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_with_data_is_not_changed() {
    let Some(server) = server(MAJORS[0]) else { return };
    let from = database(&server, "a", "CREATE TABLE t (id int); INSERT INTO t VALUES (1)").await;
    for (name, sql, words) in [
        (
            "b",
            "CREATE TABLE precious (id int); INSERT INTO precious VALUES (7)",
            "it holds table public.precious",
        ),
        ("c", "CREATE SCHEMA \"only a schema\"", "it holds schema \"only a schema\""),
        ("d", "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "it holds function public.f"),
        ("e", "CREATE TYPE mood AS ENUM ('fine')", "it holds type public.mood"),
    ] {
        let to = database(&server, name, sql).await;
        let error = copy(&from, &to, &SourceOptions::default()).await.unwrap_err();
        assert!(error.is_refused() && error.to_string().contains(words), "{error}");
        assert!(error.to_string().contains("nothing was written"), "{error}");
    }
    let b = session(&server, "b").await;
    assert_eq!(value(&b, "SELECT id FROM public.precious").await, "7");
    assert_eq!(value(&b, "SELECT to_regclass('public.t') IS NULL").await, "t");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_conflict_is_reported_at_once_with_its_remedies() {
    let (Some(first), Some(second)) = (server(MAJORS[0]), server(MAJORS[0])) else { return };
    let sql = "CREATE ROLE owner; CREATE ROLE guest; CREATE EXTENSION pg_trgm; CREATE TABLE t (id int); ALTER TABLE t OWNER TO owner; \
               CREATE TABLE u (id int); GRANT SELECT ON u TO guest; INSERT INTO u VALUES (1);";
    let from = database(&first, "a", sql).await;
    let to = database(&second, "b", "").await;
    let error = copy(&from, &to, &SourceOptions::default()).await.unwrap_err();
    let text = error.to_string();
    for words in [
        "role owner does not exist at the target",
        "table public.t",
        "role guest does not exist at the target",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    assert_eq!(error.remedies(), [pgmove::Remedy::ProvideRoles]);
    let nothing = value(
        &session(&second, "b").await,
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace",
    )
    .await;
    assert_eq!(nothing, "0");

    // Each of the ways out works.
    let left_out = TargetOptions { no_owner: true, no_acl: true, ..TargetOptions::default() };
    copy_with(&from, &to, &SourceOptions::default(), &left_out).await.unwrap();
    let role_map =
        [("owner", "somebody"), ("guest", "somebody")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    run(&session(&second, "postgres").await, "CREATE ROLE somebody").await;
    let mapped = TargetOptions { role_map, ..TargetOptions::default() };
    let to = database(&second, "c", "").await;
    copy_with(&from, &to, &SourceOptions::default(), &mapped).await.unwrap();
    let c = session(&second, "c").await;
    assert_eq!(value(&c, "SELECT tableowner FROM pg_tables WHERE tablename = 't'").await, "somebody");
    assert_eq!(value(&c, "SELECT has_table_privilege('somebody', 'public.u', 'SELECT')").await, "t");
    let to = database(&second, "d", "").await;
    let source = open(&from).await.unwrap();
    let target = Target::open(&to, &TargetOptions::default()).await.unwrap();
    target.create_missing_roles(source.catalog()).await.unwrap();
    target.plan(source.catalog()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unsupported_features_of_an_older_target_are_listed() {
    let (Some(new), Some(old)) = (server(18), server(15)) else { return };
    let sql =
        "CREATE TABLE t (id int, twice int GENERATED ALWAYS AS (id * 2) VIRTUAL); INSERT INTO t VALUES (1);";
    let from = database(&new, "a", sql).await;
    let error = copy(&from, &database(&old, "b", "").await, &SourceOptions::default()).await.unwrap_err();
    assert!(error.is_refused() && error.to_string().contains("twice"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unavailable_lock_is_named() {
    let Some(server) = server(MAJORS[0]) else { return };
    let from = database(&server, "a", "CREATE TABLE free (id int); CREATE TABLE held (id int)").await;
    let other = session(&server, "a").await;
    run(&other, "BEGIN; LOCK TABLE public.held IN ACCESS EXCLUSIVE MODE").await;
    let settings =
        SourceOptions { lock_timeout: Some(Duration::from_millis(200)), ..SourceOptions::default() };
    let error = Source::open(&from, &settings).await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("55P03"));
    assert!(error.to_string().contains("lock on table public.held"), "{error}");
    // Dropped while we wait for it, it is simply not there any more.
    let settings = SourceOptions { lock_timeout: Some(Duration::from_secs(30)), ..SourceOptions::default() };
    let waiting = tokio::spawn(async move { Source::open(&from, &settings).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    run(&other, "DROP TABLE public.held; CREATE TABLE public.fresh (id int); COMMIT").await;
    let source = waiting.await.unwrap().unwrap();
    let tables: Vec<String> = source.slices().iter().map(ToString::to_string).collect();
    assert_eq!(tables, ["public.free", "public.fresh"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_locks_are_found_before_the_first() {
    let settings = [
        ("max_locks_per_transaction", "10"),
        ("max_connections", "10"),
        ("max_wal_senders", "0"),
        ("autovacuum", "off"),
    ]
    .map(|(a, b)| (a.to_owned(), b.to_owned()))
    .to_vec();
    let Some(server) = server_with(MAJORS[0], PostgresOptions { settings, ..PostgresOptions::default() })
    else {
        return;
    };
    let from = database(&server, "a", "").await;
    let a = session(&server, "a").await;
    for at in 0..101 {
        run(&a, &format!("CREATE TABLE public.t{at} ()")).await;
    }
    let error = open(&from).await.unwrap_err();
    assert!(error.is_refused(), "{error:?}");
    assert!(error.to_string().contains("101 tables, but room for only 100 locks"), "{error}");
    assert!(error.to_string().contains("raise max_locks_per_transaction"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_in_an_unknown_encoding_are_copied_unchanged_and_rejected_in_names() {
    let ascii = PostgresOptions { encoding: "SQL_ASCII".into(), ..PostgresOptions::default() };
    for major in MAJORS {
        let (Some(loose), Some(strict)) = (server_with(major, ascii.clone()), server(major)) else {
            continue;
        };
        let from = database(&loose, "a", "CREATE TABLE t (id int, s text)").await;
        let a = session(&loose, "a").await;
        assert_eq!(a.server().encoding, "SQL_ASCII");
        run(
            &a,
            "INSERT INTO public.t VALUES (1, 'plain'), (2, convert_from('\\xc8abb1b9'::bytea, 'SQL_ASCII'))",
        )
        .await;
        copy(&from, &database(&loose, "b", "").await, &SourceOptions::default()).await.unwrap();
        let kept = value(
            &session(&loose, "b").await,
            "SELECT encode(convert_to(s, 'SQL_ASCII'), 'hex') FROM public.t WHERE id = 2",
        )
        .await;
        assert_eq!(kept, "c8abb1b9");
        let error =
            copy(&from, &database(&strict, "c", "").await, &SourceOptions::default()).await.unwrap_err();
        assert_eq!(error.sqlstate(), Some("22021"), "{error}");
        assert!(error.to_string().contains("where: COPY t, line 2"), "{error}");

        // Names and comments of such bytes are refused with a word.
        let odd = "convert_from('\\x22e9ff22'::bytea, 'SQL_ASCII')";
        run(
            &a,
            &format!("DO $$ BEGIN EXECUTE 'COMMENT ON TABLE public.t IS ' || quote_literal({odd}); END $$"),
        )
        .await;
        let error = open(&from).await.unwrap_err();
        assert!(matches!(error, Error::NotText { .. }), "{error:?}");
        assert!(error.to_string().contains("the catalog of comments"), "{error}");
        run(&a, &format!("DO $$ BEGIN EXECUTE 'CREATE TABLE public.' || {odd} || ' (a int)'; END $$")).await;
        let error = open(&from).await.unwrap_err();
        assert!(matches!(error, Error::NotText { .. }), "{error:?}");
    }
}

/// A plain role cannot grant in another role's place, and to a schema of another's the server only warns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn privileges_that_a_plain_role_cannot_give_are_named_before_anything_is_written() {
    let Some(server) = server(MAJORS[0]) else { return };
    let sql = "CREATE ROLE plain LOGIN; CREATE ROLE giver; CREATE ROLE taker; CREATE TABLE t (id int); \
               GRANT SELECT ON t TO giver WITH GRANT OPTION; \
               SET ROLE giver; GRANT SELECT ON t TO taker; RESET ROLE; GRANT CREATE ON SCHEMA public TO giver;";
    let from = database(&server, "a", sql).await;
    database(&server, "b", "GRANT CREATE ON SCHEMA public TO plain;").await;
    let source = open(&from).await.unwrap();
    let plain = options_as(&server, "plain", "b");
    let settings = TargetOptions { no_owner: true, ..TargetOptions::default() };
    let target = Target::open(&plain, &settings).await.unwrap();
    let error = target.plan(source.catalog()).await.unwrap_err().to_string();
    for words in [
        "privileges of table public.t: role giver granted them",
        "privileges of schema public: it belongs to another role",
    ] {
        assert!(error.contains(words), "{words}\n{error}");
    }
    let b = session(&server, "b").await;
    assert_eq!(value(&b, "SELECT to_regclass('public.t') IS NULL").await, "t");

    // If public already has these privileges, none are granted. The rest is omitted on request.
    let left_out = TargetOptions { no_acl: true, ..settings.clone() };
    let target = Target::open(&plain, &left_out).await.unwrap();
    target.plan(source.catalog()).await.unwrap();
    run(&b, "GRANT CREATE ON SCHEMA public TO giver").await;
    let target = Target::open(&plain, &settings).await.unwrap();
    let error = target.plan(source.catalog()).await.unwrap_err().to_string();
    assert!(!error.contains("privileges of schema public"), "{error}");
}
