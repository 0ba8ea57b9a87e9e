//! Names that are keywords of a newer server.

use crate::common;
use common::{copy, database, server, session, value};
use pgmove::{CompareOptions, SourceOptions, compare};

/// On 15 `system_user` and `json` are plain names.
const NAMES: &str = "
create table t(id int, system_user text, json json default '{}'::json, check (system_user <> 'root'));
insert into t values (1, 'a');
create policy p on t using (system_user = current_user);
alter table t enable row level security;
create index on t (lower(system_user)) where system_user > 'b';
create view v as select system_user, json, json ->> 'a' as json_value from t where system_user is not null;
create function f(json json) returns json language sql as 'select $1';
create function json_scalar(a int) returns int language sql immutable begin atomic select a + 1; end;
create table uses(a int default json_scalar(1), b int generated always as (public.json_scalar(a)) stored);
create rule r as on insert to t where new.system_user = 'rule' do instead nothing;
create function tf() returns trigger language plpgsql as 'begin return new; end';
create trigger tr before update of system_user on t for each row when (old.system_user <> new.system_user) execute function tf();
create statistics st on id, (system_user || 'x') from t;
create table pt(system_user text) partition by list (system_user);
create table pt1 partition of pt for values in ('a');
create publication pub for table t (id, system_user);
create domain d as text check (value <> 'system_user');
create sequence json_object; create table dflt(a int default nextval('json_object'));
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_became_a_key_word_stays_a_name() {
    let (Some(old), Some(new)) = (server(15), server(18)) else { return };
    let from = database(&old, "a", NAMES).await;
    let to = database(&new, "b", "").await;
    copy(&from, &to, &SourceOptions::default()).await.unwrap();
    let b = session(&new, "b").await;
    let policy = "SELECT pg_get_expr(polqual, polrelid) FROM pg_policy";
    assert_eq!(value(&b, policy).await, "(\"system_user\" = CURRENT_USER)");
    let check = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'c' AND conrelid = 'public.t'::regclass";
    assert_eq!(value(&b, check).await, "CHECK ((\"system_user\" <> 'root'::text))");
    assert_eq!(value(&b, "SELECT public.f('[1]'::json)").await, "[1]");
    assert_eq!(value(&b, "INSERT INTO public.uses DEFAULT VALUES RETURNING b").await, "3");
    let found = compare(&from, &to, &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(found.schema.is_empty(), "{found}");

    // The function of the same name is something else, and is seen.
    let changed = "ALTER POLICY p ON public.t USING (SYSTEM_USER = CURRENT_USER)";
    common::run(&b, changed).await;
    let found = compare(&from, &to, &CompareOptions::default(), &|_| ()).await.unwrap();
    assert_eq!(found.schema.len(), 1, "{found}");
}

/// Objects whose names or schemas are keywords of the newer server.
const SCHEMA: &str = "
create schema system_user; create schema json_array;
create type system_user.mood as enum ('sad', 'ok'); create type json_array.pair as (a system_user.mood, b int);
create domain system_user.known as system_user.mood default 'ok';
create type json_array.system_user as range (subtype = int4);
create table system_user.t(m system_user.mood, p json_array.pair, ms system_user.mood[], r json_array.system_user, k system_user.known);
insert into system_user.t values ('ok', ('sad', 1), '{sad,ok}', '[1,2)');
create function system_user.f(m system_user.mood, p json_array.pair[]) returns system_user.mood language sql as 'select $1';
create function system_user.step(s int8, m system_user.mood) returns int8 language sql as 'select s + 1';
create aggregate system_user.agg(system_user.mood) (sfunc = system_user.step, stype = int8, initcond = '0');
grant execute on function system_user.f(system_user.mood, json_array.pair[]) to public;
create table system_user.typed of json_array.pair;
create cast (system_user.mood as int) with function system_user.as_int(system_user.mood);
create function system_user.same(a system_user.mood, b system_user.mood) returns boolean language sql as 'select $1 = $2';
create operator system_user.=== (leftarg = system_user.mood, rightarg = system_user.mood, function = system_user.same);
create view v as select m::system_user.mood as m from system_user.t;
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_may_have_such_a_name_too() {
    let (Some(old), Some(new)) = (server(15), server(18)) else { return };
    let cast =
        "create function system_user.as_int(m system_user.mood) returns int language sql as 'select 1';
                create cast (system_user.mood as int)";
    let from = database(&old, "a", &SCHEMA.replace("create cast (system_user.mood as int)", cast)).await;
    let to = database(&new, "b", "").await;
    copy(&from, &to, &SourceOptions::default()).await.unwrap();
    let found = compare(&from, &to, &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(found.equal(), "{found}");
    let b = session(&new, "b").await;
    assert_eq!(value(&b, "SELECT \"system_user\".agg(m) FROM \"system_user\".t").await, "1");

    // Rows alone, into the same tables.
    common::run(&b, "TRUNCATE \"system_user\".t").await;
    let rows = pgmove::TargetOptions {
        existing: pgmove::Existing::Into(pgmove::OnRows::Refuse),
        sections: pgmove::Sections::DATA,
        ..pgmove::TargetOptions::default()
    };
    common::copy_with(&from, &to, &SourceOptions::default(), &rows).await.unwrap();
}
