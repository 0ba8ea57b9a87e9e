//! For tests: a server version, or a loud skip.
//!
//! A version that is not on this host makes a test skip, and say so where everybody sees it. With
//! `DBHAUL_REQUIRE_SERVERS=1`, as in CI, it fails instead.
#![allow(clippy::print_stderr, reason = "a skipped test must be seen")]

mod pglite;

pub use pglite::Pglite;

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

/// Every PostgreSQL here that offers pgvector, oldest first: two versions, or nothing and a loud word.
pub fn require_pgvector() -> Vec<PostgresBinaries> {
    let places = Places::from_env();
    let mut found: Vec<PostgresBinaries> = places
        .programs("pgvector", "postgres")
        .into_iter()
        .filter_map(|program| postgres::in_folder(program.canonicalize().ok()?.parent()?))
        .chain(postgres::find_all(&places))
        .filter(|binaries| binaries.available_extensions().iter().any(|name| name == "vector"))
        .collect();
    found.sort_by_key(PostgresBinaries::version);
    found.dedup_by_key(|binaries| binaries.version().major());
    match found.len() {
        0 | 1 => {
            let wanted = "two versions of PostgreSQL with pgvector".to_owned();
            or_skip::<()>(Err(Error::NotFound { wanted, looked: places.shown() }));
            Vec::new()
        }
        _ => found,
    }
}

/// Native builds of PostgreSQL with TimescaleDB, which no package registry holds: the folders of their programs stand in
/// `DBHAUL_TIMESCALE`, divided by colons. None, and a loud word, where there are fewer than two.
pub fn require_timescale() -> Vec<PostgresBinaries> {
    let folders = std::env::var("DBHAUL_TIMESCALE").unwrap_or_default();
    let found: Vec<PostgresBinaries> =
        folders.split(':').filter_map(|folder| postgres::in_folder(folder.as_ref())).collect();
    if found.len() < 2 {
        eprintln!("SKIPPED: no two native builds of TimescaleDB; DBHAUL_TIMESCALE=BIN:BIN names them");
        return Vec::new();
    }
    found
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
