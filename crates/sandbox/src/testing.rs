//! For tests: a server version, or a loud skip.
//!
//! A version that is not on this host makes a test skip, and say so where everybody sees it. With
//! `DBHAUL_REQUIRE_SERVERS=1`, as in CI, it fails instead.
#![allow(clippy::print_stderr, reason = "a skipped test must be seen")]

use crate::{Error, Flavor, Places, PostgresBinaries, RedisBinaries, postgres, redis};

/// PostgreSQL of this major version, or nothing and a loud word.
pub fn require_postgres(major: u32) -> Option<PostgresBinaries> {
    or_skip(postgres::find(Some(major), &Places::from_env()))
}

/// Redis whose version begins so ("7.0"), or Valkey ("valkey-9"), or nothing and a loud word.
pub fn require_redis(version: &str) -> Option<RedisBinaries> {
    let (flavor, number) = match version.strip_prefix("valkey-") {
        Some(number) => (Flavor::Valkey, number),
        None => (Flavor::Redis, version),
    };
    or_skip(redis::find(flavor, number, &Places::from_env()))
}

fn or_skip<T>(found: Result<T, Error>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(error) => {
            let required = std::env::var_os("DBHAUL_REQUIRE_SERVERS").is_some_and(|value| value == "1");
            assert!(
                !required,
                "{error}, and DBHAUL_REQUIRE_SERVERS=1 asks for it; scripts/servers fetches it"
            );
            eprintln!("SKIPPED: {error}; scripts/servers fetches it");
            None
        }
    }
}
