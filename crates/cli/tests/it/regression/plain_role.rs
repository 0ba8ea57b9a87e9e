//! The main jobs with a role that is not a superuser, as on managed servers: what it may do works, and what it may
//! not do is reported before the first write.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "test code")]

use crate::common::{dbhaul, folder, postgres};
use sandbox::testing::require_postgres;
use sandbox::{Postgres, PostgresOptions};

const APPLICATION: &str = "
    CREATE EXTENSION pgcrypto; CREATE SCHEMA s; CREATE TYPE s.mood AS ENUM ('good', 'bad');
    CREATE TABLE s.t (id serial PRIMARY KEY, mood s.mood, t text, at timestamptz DEFAULT now());
    INSERT INTO s.t (mood, t) SELECT 'good', 'x' || i FROM generate_series(1, 1000) i;
    CREATE TABLE r (id int REFERENCES s.t); INSERT INTO r SELECT id FROM s.t;
    CREATE VIEW v AS SELECT * FROM r; CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM r;
    CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; GRANT SELECT ON r TO reader; SELECT lo_from_bytea(0, '\\x0102');
    ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader; COMMENT ON SCHEMA public IS 'mine'; CREATE PUBLICATION p FOR TABLE r;
    COMMENT ON EXTENSION pgcrypto IS 'ours';";

fn as_app(url: &str) -> String {
    url.replace("//postgres@", "//app@")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_of_a_database_needs_no_superuser() {
    let Some(binaries) = require_postgres(15) else { return };
    let server = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    let (here, boss) = (folder(), postgres(&server.url("postgres")).await);
    boss.batch_execute("CREATE ROLE app LOGIN; CREATE ROLE reader").await.unwrap();
    for name in ["source", "moved", "restored"] {
        boss.batch_execute(&format!("CREATE DATABASE {name} OWNER app")).await.unwrap();
    }
    let [from, moved, restored] = ["source", "moved", "restored"].map(|name| as_app(&server.url(name)));
    postgres(&from).await.batch_execute(APPLICATION).await.unwrap();
    // It exists and belongs to another role: its comment cannot be changed.
    postgres(&server.url("restored")).await.batch_execute("CREATE EXTENSION pgcrypto").await.unwrap();

    dbhaul(here.path(), &["migrate", "--from", &from, "--to", &moved])
        .exits(0)
        .shows("3 of 3 tables equal")
        .shows("schema equal");
    dbhaul(here.path(), &["init", "--repository", "r"]).exits(0);
    dbhaul(here.path(), &["backup", "--repository", "r", "--postgres", &from]).exits(0);
    dbhaul(here.path(), &["restore", "latest", "--repository", "r", "--postgres", &restored])
        .exits(0)
        .says("the comment on extension pgcrypto is not restored")
        .shows("3 of 3 tables equal")
        .shows("schema equal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_plain_role_may_not_do_is_named_before_the_first_write() {
    let Some(binaries) = require_postgres(15) else { return };
    let server = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    let (here, boss) = (folder(), postgres(&server.url("postgres")).await);
    boss.batch_execute("CREATE ROLE app LOGIN; CREATE ROLE other LOGIN").await.unwrap();
    for name in ["source", "target"] {
        boss.batch_execute(&format!("CREATE DATABASE {name} OWNER app")).await.unwrap();
    }
    let (from, to) = (server.url("source"), as_app(&server.url("target")));
    postgres(&from)
        .await
        .batch_execute(
            "CREATE EXTENSION pg_stat_statements; CREATE TABLE plain (id int); ALTER TABLE plain OWNER TO app; \
             CREATE TABLE foreign_owned (id int); ALTER TABLE foreign_owned OWNER TO other; \
             CREATE FUNCTION secret() RETURNS int LANGUAGE sql LEAKPROOF AS 'SELECT 1'; \
             CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; \
             CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION on_ddl(); \
             CREATE PUBLICATION everything FOR ALL TABLES",
        )
        .await
        .unwrap();
    let migrate = ["migrate", "--from", &from, "--to", &to];
    dbhaul(here.path(), &migrate)
        .exits(5)
        .says("extension pg_stat_statements: only a superuser may CREATE EXTENSION")
        .says("role app may not make role other the owner of")
        .says("function public.secret(): only a superuser may create it")
        .says("event trigger watch: only a superuser may create it")
        .says("publication everything: only a superuser may create it")
        .says("nothing was written");
    let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    let target = postgres(&to).await;
    assert_eq!(target.query_one(tables, &[]).await.unwrap().get::<_, i64>(0), 0);

    // Only rows, into tables of another role.
    postgres(&server.url("target"))
        .await
        .batch_execute(
            "CREATE TABLE plain (id int); CREATE TABLE foreign_owned (id int); GRANT INSERT ON plain TO app",
        )
        .await
        .unwrap();
    let into = [&migrate[..], &["--into-existing"]].concat();
    dbhaul(here.path(), &into)
        .exits(5)
        .says("table public.foreign_owned: this role lacks INSERT on it")
        .says("table public.plain: this role lacks SELECT on it");
}

/// The comment on `public`, or its absence, may be changed only by the owner, not by every role that may create
/// objects in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_comment_on_public_is_left_to_its_owner() {
    for major in [12, 15] {
        let Some(binaries) = require_postgres(major) else { return };
        let server = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
        let (here, boss) = (folder(), postgres(&server.url("postgres")).await);
        boss.batch_execute("CREATE ROLE app LOGIN").await.unwrap();
        for (name, comment) in [("none", "NULL"), ("other", "'ours'")] {
            for name in [name.to_owned(), format!("{name}_copy")] {
                boss.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
                let own =
                    format!("GRANT CREATE ON DATABASE {name} TO app; GRANT ALL ON SCHEMA public TO app");
                postgres(&server.url(&name)).await.batch_execute(&own).await.unwrap();
            }
            let (from, to) = (server.url(name), as_app(&server.url(&format!("{name}_copy"))));
            let made = format!(
                "CREATE TABLE t (id int); ALTER TABLE t OWNER TO app; COMMENT ON SCHEMA public IS {comment}"
            );
            postgres(&from).await.batch_execute(&made).await.unwrap();
            dbhaul(here.path(), &["migrate", "--from", &from, "--to", &to, "--no-acl"])
                .exits(0)
                .says("the comment on schema public is not restored: only the schema's owner may change it")
                .shows("1 of 1 tables equal");
        }
    }
}
