//! Names that are key words of a newer server.

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
