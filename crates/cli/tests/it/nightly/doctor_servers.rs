//! Findings of the doctor about a server's settings and a role's privileges.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::process::Command;

use sandbox::testing::{require_postgres, require_redis};
use sandbox::{Listen, Postgres, PostgresOptions, Redis, RedisOptions, Tls};

use crate::common::{Run, ask, dbhaul, folder, postgres};

fn doctor(source: &str) -> Run {
    let here = folder();
    dbhaul(here.path(), &["init", "--no-config", "--repository", "store"]).exits(0);
    let config = format!("[repository]\nurl = \"store\"\n\n[[source]]\nname = \"it\"\n{source}\n");
    std::fs::write(here.path().join("dbhaul.toml"), config).unwrap();
    dbhaul(here.path(), &["doctor"])
}

fn source(url: &str) -> String {
    format!("kind = \"postgres\"\nurl = \"{url}\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_and_rights_of_postgres() {
    let Some(binaries) = require_postgres(15) else { return };
    let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let options = PostgresOptions {
        settings: vec![
            setting("max_locks_per_transaction", "10"),
            setting("max_connections", "20"),
            setting("TimeZone", "Asia/Seoul"),
        ],
        ..PostgresOptions::default()
    };
    let server = Postgres::start(&binaries, options).unwrap();
    let client = postgres(&server.url("postgres")).await;
    client
        .batch_execute(
            "CREATE ROLE reader LOGIN; CREATE TABLE hidden (id int); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
             GRANT pg_read_all_data TO reader; ALTER ROLE reader SET lock_timeout = '2s'; ALTER DATABASE postgres SET statement_timeout = '5s';
             ALTER ROLE reader SET idle_in_transaction_session_timeout = '10min'",
        )
        .await
        .unwrap();
    let url = server.url("postgres").replacen("postgres@", "reader@", 1);
    let found = doctor(&source(&url)).exits(3);
    for line in [
        "the connection is not encrypted, and does not leave the host",
        "row-level security hides rows of public.hidden from role reader",
        "ALTER ROLE \"reader\" BYPASSRLS",
        "statement_timeout is 5s",
        "lock_timeout is 2s",
        "idle_in_transaction_session_timeout is 10min",
        "dbhaul disables it in its sessions",
        "its clock agrees with this host's, and its zone is Asia/Seoul",
    ] {
        assert!(found.stdout.contains(line), "{line}\n{}", found.stdout);
    }
    assert!(!found.stdout.contains("has room for"), "{}", found.stdout);
    // The statement that it prints is sufficient.
    client.batch_execute("ALTER ROLE reader BYPASSRLS").await.unwrap();
    doctor(&source(&url)).exits(0);
    // A role that reads every table reads those of the server too.
    let passwords = source(&url) + "globals = true\nrole-passwords = true\n";
    doctor(&passwords).exits(0);

    let tables: String = (0..170).map(|n| format!("CREATE TABLE t{n} ();")).collect();
    for part in tables.split_inclusive(';').collect::<Vec<_>>().chunks(20) {
        client.batch_execute(&part.concat()).await.unwrap();
    }
    doctor(&source(&url)).shows("has room for 200 locks").shows("raise max_locks_per_transaction");
}

/// Before 14 there is no role that may read everything: the missing grants are printed, and work.
#[tokio::test(flavor = "multi_thread")]
async fn the_grants_that_are_named_are_those_that_are_missing() {
    let Some(binaries) = require_postgres(12) else { return };
    let server = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    let client = postgres(&server.url("postgres")).await;
    let setup = "CREATE ROLE reader LOGIN; CREATE SCHEMA \"My App\"; CREATE TABLE \"My App\".t (id serial)";
    client.batch_execute(setup).await.unwrap();
    let url = server.url("postgres").replacen("postgres@", "reader@", 1);
    let found = doctor(&source(&url)).exits(3);
    let grants = [
        "GRANT USAGE ON SCHEMA \"My App\" TO \"reader\"",
        "GRANT SELECT ON ALL TABLES IN SCHEMA \"My App\" TO \"reader\"",
        "GRANT SELECT ON ALL SEQUENCES IN SCHEMA \"My App\" TO \"reader\"",
    ];
    for grant in grants {
        assert!(found.stdout.contains(grant), "{grant}\n{}", found.stdout);
    }
    client.batch_execute(&grants.join(";")).await.unwrap();
    doctor(&source(&url)).exits(0);
    let passwords = source(&url) + "globals = true\nrole-passwords = true\n";
    let grant = "GRANT SELECT ON pg_catalog.pg_authid TO \"reader\"";
    doctor(&passwords).exits(3).shows(grant);
    client.batch_execute(grant).await.unwrap();
    doctor(&passwords).exits(0);
}

/// Of the server's configuration too, which sessions of dbhaul override.
#[tokio::test(flavor = "multi_thread")]
async fn timeouts_of_the_whole_server_are_reported() {
    let Some(binaries) = require_postgres(15) else { return };
    let timeouts = [
        ("statement_timeout", "7s"),
        ("lock_timeout", "3s"),
        ("idle_in_transaction_session_timeout", "90s"),
        ("idle_session_timeout", "2h"),
    ];
    let settings = timeouts.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let options = PostgresOptions { settings, ..PostgresOptions::default() };
    let server = Postgres::start(&binaries, options).unwrap();
    let client = postgres(&server.url("postgres")).await;
    // What the role sets counts for it in place of the server's; nothing is another's.
    let roles = "CREATE ROLE other; ALTER ROLE other SET statement_timeout = '1s'; \
                 ALTER ROLE postgres SET lock_timeout = '4s'";
    client.batch_execute(roles).await.unwrap();
    let found = doctor(&source(&server.url("postgres"))).exits(0);
    let line = found.stdout.lines().find(|line| line.contains("dbhaul disables it in its sessions")).unwrap();
    for said in [
        "statement_timeout is 7000 ms",
        "lock_timeout is 4s",
        "idle_in_transaction_session_timeout is 90000 ms",
        "idle_session_timeout is 7200000 ms",
    ] {
        assert!(line.contains(said), "{said}\n{line}");
    }
    assert!(!line.contains("1s") && !line.contains("3000"), "{line}");
    // A role can switch one off for itself.
    client.batch_execute("ALTER ROLE postgres SET statement_timeout = 0").await.unwrap();
    let found = doctor(&source(&server.url("postgres"))).exits(0);
    assert!(!found.stdout.contains("statement_timeout is"), "{}", found.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_of_postgres_is_reported() {
    let Some(binaries) = require_postgres(15) else { return };
    let options = PostgresOptions { listen: Listen::Port, ..PostgresOptions::default() };
    let server = Postgres::start(&binaries, options).unwrap();
    doctor(&source(&server.url("postgres")))
        .exits(0)
        .shows("the connection is not encrypted, and does not leave the host");
    drop(server);

    let here = folder();
    let made = Command::new("openssl")
        .args("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
                 -addext basicConstraints=critical,CA:FALSE"
.split_whitespace())
        .args(["-keyout", "server.key", "-out", "server.pem"])
        .current_dir(here.path())
        .output()
        .expect("openssl makes the test's certificate; ca-certificates brings it on Debian and Ubuntu");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (certificate, key) = (here.path().join("server.pem"), here.path().join("server.key"));
    let tls = Some(Tls { certificate: certificate.clone(), key });
    let options = PostgresOptions { listen: Listen::Port, tls, ..PostgresOptions::default() };
    let server = Postgres::start(&binaries, options).unwrap();
    let url = server.url("postgres").replace("127.0.0.1", "localhost");
    let verified = format!("{url}?sslmode=verify-full&sslrootcert={}", certificate.display());
    for url in [url.clone(), verified] {
        doctor(&source(&url)).exits(0).shows("the connection is encrypted (TLSv1.3)");
    }
    doctor(&source(&format!("{url}?sslmode=disable")))
        .exits(0)
        .shows("the connection is not encrypted, and does not leave the host");
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_and_limits_of_redis() {
    let Some(binaries) = require_redis("7.0") else { return };
    let settings = vec![("repl-diskless-sync-delay".to_owned(), "0".to_owned())];
    let server = Redis::start(&binaries, RedisOptions { settings, ..RedisOptions::default() }).unwrap();
    let url = server.url();
    ask(&url, &["SET", "k", &"x".repeat(1 << 20)]).await.unwrap();
    let redis = |url: &str, more: &str| format!("kind = \"redis\"\nurl = \"{url}\"\n{more}");
    let sound = doctor(&redis(&url, "")).exits(0);
    for line in [
        "its user may replicate (PSYNC)",
        "the output buffer of replicas is large enough",
        "its clock agrees",
    ] {
        assert!(sound.stdout.contains(line), "{line}\n{}", sound.stdout);
    }
    ask(&url, &["CONFIG", "SET", "client-output-buffer-limit", "replica 100000 50000 10"]).await.unwrap();
    doctor(&redis(&url, ""))
        .exits(0)
        .shows("client-output-buffer-limit lets a replica wait")
        .shows("replica 0 0 0");

    // A user that may read and not replicate: the ACL line that is printed is sufficient.
    let rules = [
        "ACL",
        "SETUSER",
        "backup",
        "on",
        ">secret",
        "~*",
        "+@read",
        "+@connection",
        "+info",
        "+time",
        "+config|get",
    ];
    ask(&url, &rules).await.unwrap();
    let path = url.strip_prefix("redis+unix://").unwrap();
    let path = path.rsplit_once('@').map_or(path, |(_, path)| path);
    let login = format!("redis+unix://backup:secret@{path}");
    let found = doctor(&redis(&login, "capture = \"psync\"\n")).exits(3);
    let line = found.stdout.lines().find_map(|line| line.split_once("ACL SETUSER backup ")).unwrap().1.trim();
    let words = ["ACL", "SETUSER", "backup"].into_iter().chain(line.split_whitespace());
    ask(&url, &words.collect::<Vec<_>>()).await.unwrap();
    doctor(&redis(&login, "capture = \"psync\"\n")).exits(0).shows("its user may replicate");
    // With the named rights alone, too.
    ask(&url, &["ACL", "SETUSER", "backup", "reset", "on", ">secret"]).await.unwrap();
    let words = ["ACL", "SETUSER", "backup"].into_iter().chain(line.split_whitespace());
    ask(&url, &words.collect::<Vec<_>>()).await.unwrap();
    doctor(&redis(&login, "capture = \"psync\"\n")).exits(0);
    doctor(&redis(&login, "capture = \"scan\"\n")).exits(0);
}
