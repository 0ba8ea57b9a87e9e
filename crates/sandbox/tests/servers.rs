//! Each server that is on this host starts, restarts, and leaves nothing behind.

use sandbox::testing::{require_postgres, require_redis};
use sandbox::{Places, Postgres, PostgresOptions, Redis, RedisOptions};

fn postgres_lives(major: u32) {
    let Some(binaries) = require_postgres(major) else { return };
    let mut server = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    assert_eq!(server.version().major(), major);
    let folder = server.socket_dir().to_owned();
    server.kill();
    server.restart().unwrap();
    drop(server);
    assert!(!folder.exists(), "{} was left behind", folder.display());
}

#[test]
fn postgres_15() {
    postgres_lives(15);
}

#[test]
fn postgres_18() {
    postgres_lives(18);
}

#[test]
fn redis_and_valkey() {
    for version in ["7.0", "8.2", "valkey-9"] {
        let Some(binaries) = require_redis(version) else { continue };
        let mut server = Redis::start(&binaries, RedisOptions::default()).unwrap();
        let folder = server.dir().to_owned();
        server.restart().unwrap();
        drop(server);
        assert!(!folder.exists(), "{} was left behind", folder.display());
    }
}

#[test]
fn a_wrong_setting_shows_the_servers_own_words() {
    let Some(binaries) = require_postgres(15) else { return };
    let options = PostgresOptions {
        settings: vec![("shared_preload_libraries".into(), "no_such_library".into())],
        ..PostgresOptions::default()
    };
    let error = Postgres::start(&binaries, options).unwrap_err().to_string();
    assert!(error.contains("no_such_library"), "{error}");
}

#[test]
fn what_is_not_there_is_said_with_the_places() {
    let nowhere = Places::default();
    let error = sandbox::postgres::find(Some(15), &nowhere).unwrap_err().to_string();
    assert!(error.contains("PostgreSQL 15") && error.contains("PATH"), "{error}");
}
