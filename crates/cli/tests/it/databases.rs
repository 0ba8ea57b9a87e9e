//! All databases of a server as one source of the configuration.
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::{ask, dbhaul, folder, postgres, quick_redis};
use sandbox::testing::{require_postgres, require_redis};
use sandbox::{Postgres, PostgresOptions, Redis};

/// The names of the sources of a report or of the newest snapshot.
fn names(list: &serde_json::Value) -> Vec<String> {
    let sources = list.as_array().unwrap().iter();
    sources.map(|source| source["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_database_of_a_server_is_a_source_of_its_own() {
    let (Some(pg), Some(rd)) = (require_postgres(15), require_redis("7.0")) else { return };
    let mut server = Postgres::start(&pg, PostgresOptions::default()).unwrap();
    let keys = Redis::start(&rd, quick_redis()).unwrap();
    let client = postgres(&server.url("postgres")).await;
    for statement in [
        "CREATE DATABASE app",
        "CREATE DATABASE \"odd name/한\"",
        "CREATE DATABASE pattern IS_TEMPLATE true",
        "CREATE DATABASE closed ALLOW_CONNECTIONS false",
        "CREATE DATABASE target",
    ] {
        client.batch_execute(statement).await.unwrap();
    }
    for (database, value) in [("app", 1), ("odd name/한", 2)] {
        let client = postgres(&server.url(database)).await;
        client
            .batch_execute(&format!("CREATE TABLE t (a int); INSERT INTO t VALUES ({value})"))
            .await
            .unwrap();
    }
    ask(&keys.url(), &["SET", "k", "v"]).await.unwrap();

    let here = folder();
    let configure = |database: &str| {
        let url = server.url("postgres");
        let text = format!(
            "[repository]\nurl = \"store\"\n[[source]]\nname = \"pg\"\nkind = \"postgres\"\nurl = \"{url}\"\n\
             database = \"{database}\"\n[[source]]\nname = \"redis\"\nkind = \"redis\"\nurl = \"{}\"\n",
            keys.url()
        );
        std::fs::write(here.path().join("dbhaul.toml"), text).unwrap();
    };
    configure("*");
    let run = |args: &[&str]| dbhaul(here.path(), args);
    run(&["init"]).exits(0);
    let report = run(&["backup", "--json"]).exits(0).json();
    let all = ["pg/app", "pg/odd name/한", "pg/postgres", "pg/target", "redis"];
    assert_eq!(names(&report["sources"]), all);
    assert_eq!(report["complete"], true);

    // Each can be restored, inspected, compared and backed up by its name.
    run(&["restore", "latest", "--source", "pg/odd name/한", "--to", &server.url("target")]).exits(0);
    let restored = postgres(&server.url("target")).await;
    let value: i32 = restored.query_one("SELECT a FROM t", &[]).await.unwrap().get(0);
    assert_eq!(value, 2);
    run(&["compare", "latest:pg/app", &server.url("app")]).exits(0);
    run(&["compare", "latest:pg/app", &server.url("target")]).exits(3);
    let one = run(&["backup", "pg/app", "redis", "--json"]).exits(0).json();
    assert_eq!(names(&one["sources"]), ["pg/app", "redis"]);
    run(&["backup", "pg/"]).exits(2).says("no source `pg/`");

    // One database that the role may not enter does not hide the others, and neither does a server that is down.
    let weak = "REVOKE CONNECT ON DATABASE app FROM PUBLIC; CREATE ROLE weak LOGIN SUPERUSER; \
                ALTER DATABASE app CONNECTION LIMIT 0; ALTER ROLE weak NOSUPERUSER; \
                GRANT pg_read_all_data TO weak";
    client.batch_execute(weak).await.unwrap();
    let text = std::fs::read_to_string(here.path().join("dbhaul.toml")).unwrap();
    let (scheme, rest) = text.split_once("postgres://").unwrap();
    let (_, rest) = rest.split_once('@').unwrap();
    std::fs::write(here.path().join("dbhaul.toml"), format!("{scheme}postgres://weak@{rest}")).unwrap();
    let partial = run(&["backup", "--json"]).exits(4);
    assert!(partial.stderr.contains("`pg/app` was not backed up"), "{}", partial.stderr);
    assert_eq!(names(&partial.json()["sources"]).len(), 5);

    configure("app");
    client.batch_execute("ALTER DATABASE app CONNECTION LIMIT -1").await.unwrap();
    let named = run(&["backup", "--new-lineage", "--json"]).exits(0).json();
    assert_eq!(names(&named["sources"]), ["pg", "redis"]);
    run(&["compare", "latest:pg", &server.url("app")]).exits(0);

    configure("*");
    let url = server.url("postgres");
    server.stop();
    let down = run(&["backup", "--new-lineage", "--json"]).exits(4);
    assert_eq!(down.json()["complete"], false);
    assert!(down.stderr.contains("`pg` was not backed up") && !url.is_empty(), "{}", down.stderr);
}

#[test]
fn database_is_only_for_postgres() {
    let here = folder();
    let text = "[[source]]\nname = \"r\"\nkind = \"redis\"\nurl = \"redis://h\"\ndatabase = \"*\"\n";
    std::fs::write(here.path().join("dbhaul.toml"), text).unwrap();
    dbhaul(here.path(), &["backup"]).exits(2).says("not of kind postgres");
}
