//! Privileges are copied exactly: none is widened, none is lost.

use crate::common;
use common::{copy, database, run, server, session, value};
use pgmove::{CompareOptions, SourceOptions, compare};

/// The privileges of every table and the default privileges, one text.
const PRIVILEGES: &str = "SELECT coalesce(string_agg(said, E'\\n' ORDER BY said), '') FROM ( \
    SELECT relname || ' ' || coalesce(relacl::text, 'default') AS said FROM pg_class \
      WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v') \
    UNION ALL SELECT 'new ' || defaclobjtype::text || ' ' || defaclacl::text FROM pg_default_acl) x";

const ALL_BUT_MAINTAIN: &str = "
create table t(a int); grant select, insert, update, delete, truncate, references, trigger on t to acl_a;
create table u(a int); grant all on u to acl_a; revoke maintain on u from acl_a;
create table v(a int); revoke maintain on v from postgres;
create table w(a int); grant all on w to acl_a with grant option; revoke grant option for maintain on w from acl_a;
create table x(a int); grant select, trigger on x to postgres with grant option;
create table y(a int); grant maintain on y to acl_a, public; create view z as select 1 as a; grant all on z to acl_a;
alter default privileges grant select, insert, update, delete, truncate, references, trigger on tables to acl_a;
alter default privileges revoke maintain on tables from postgres;
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_but_maintain_is_not_all() {
    let Some(server) = server(18) else { return };
    run(&session(&server, "postgres").await, "CREATE ROLE acl_a").await;
    let from = database(&server, "a", ALL_BUT_MAINTAIN).await;
    let to = database(&server, "b", "").await;
    copy(&from, &to, &SourceOptions::default()).await.unwrap();
    let (a, b) = (session(&server, "a").await, session(&server, "b").await);
    let wanted = value(&a, PRIVILEGES).await;
    assert!(wanted.contains("t {postgres=arwdDxtm/postgres,acl_a=arwdDxt/postgres}"), "{wanted}");
    assert_eq!(value(&b, PRIVILEGES).await, wanted);

    // Each of them is seen when it is not so.
    for (change, back) in [
        ("GRANT MAINTAIN ON public.t TO acl_a", "REVOKE MAINTAIN ON public.t FROM acl_a"),
        ("GRANT MAINTAIN ON public.v TO postgres", "REVOKE MAINTAIN ON public.v FROM postgres"),
        (
            "GRANT MAINTAIN ON public.w TO acl_a WITH GRANT OPTION",
            "REVOKE GRANT OPTION FOR MAINTAIN ON public.w FROM acl_a",
        ),
        (
            "ALTER DEFAULT PRIVILEGES GRANT MAINTAIN ON TABLES TO acl_a",
            "ALTER DEFAULT PRIVILEGES REVOKE MAINTAIN ON TABLES FROM acl_a",
        ),
    ] {
        run(&b, change).await;
        let found = compare(&from, &to, &CompareOptions::default(), &|_| ()).await.unwrap();
        assert_eq!(found.schema.len(), 1, "{change}: {found}");
        run(&b, back).await;
    }
    let found = compare(&from, &to, &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(found.equal(), "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_server_grants_no_privilege_that_the_older_one_lacked() {
    let (Some(old), Some(new)) = (server(15), server(18)) else { return };
    for server in [&old, &new] {
        run(&session(server, "postgres").await, "CREATE ROLE acl_a; CREATE ROLE owner_a").await;
    }
    let schema = "create table t(a int); grant all on t to acl_a; create table u(a int); revoke trigger on u from postgres; \
                  create table v(a int); alter table v owner to owner_a; grant select on v to acl_a; \
                  alter default privileges grant all on tables to acl_a;";
    let from = database(&old, "a", schema).await;
    let to = database(&new, "b", "").await;
    copy(&from, &to, &SourceOptions::default()).await.unwrap();
    let b = session(&new, "b").await;
    assert_eq!(
        value(&b, PRIVILEGES).await,
        "new r {postgres=arwdDxtm/postgres,acl_a=arwdDxt/postgres}\n\
         t {postgres=arwdDxtm/postgres,acl_a=arwdDxt/postgres}\n\
         u {postgres=arwdDx/postgres}\n\
         v {owner_a=arwdDxtm/owner_a,acl_a=r/owner_a}"
    );
    let found = compare(&from, &to, &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(found.equal(), "{found}");
    run(&b, "GRANT MAINTAIN ON public.t TO acl_a").await;
    let found = compare(&from, &to, &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(found.to_string().contains("MAINTAIN ON TABLE public.t TO acl_a"), "{found}");
}
