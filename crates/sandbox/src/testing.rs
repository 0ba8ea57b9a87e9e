//! For tests: a server of a given version, or a visible skip.
//!
//! If the version is not installed, the test prints SKIPPED and ends. With `DBHAUL_REQUIRE_SERVERS=1`, as in CI, it
//! fails instead.
//!
//! Tests that run by default may request only servers that `scripts/servers` fetches by default: both read the same
//! table, `servers.txt`, and other requests panic. Ignored tests use [`long`], which offers all versions in the table.
#![allow(clippy::print_stderr, reason = "a skipped test must be seen")]

mod kubernetes;
mod pglite;
mod program;
mod sshd;
pub(crate) mod template;

pub use kubernetes::{FakeKubernetes, FakePod, require_kubectl};
pub use pglite::Pglite;
pub use program::write_program;
pub use sshd::{Sshd, children_of, require_sshd};

use crate::{Error, Flavor, Places, PostgresBinaries, RedisBinaries, postgres, redis};

/// What `scripts/servers` can fetch.
const SERVERS: &str = include_str!("../servers.txt");

/// PostgreSQL of this major version; otherwise prints `SKIPPED` and returns `None`.
///
/// # Panics
///
/// If `scripts/servers` does not fetch it by default.
pub fn require_postgres(major: u32) -> Option<PostgresBinaries> {
    assert_tier(&format!("postgres-{major}"), &["default"]);
    find_postgres(major)
}

/// Redis with this version prefix ("7.0"), or Valkey ("valkey-9"); otherwise prints `SKIPPED` and returns `None`.
///
/// # Panics
///
/// If `scripts/servers` does not fetch it by default.
pub fn require_redis(version: &str) -> Option<RedisBinaries> {
    assert_tier(&redis_name(version), &["default"]);
    find_redis(version)
}

/// For ignored tests: all servers in the table.
pub mod long {
    use super::{PostgresBinaries, RedisBinaries, assert_tier, find_postgres, find_redis, redis_name};

    /// As [`super::require_postgres`], for any version in the table.
    ///
    /// # Panics
    ///
    /// If the version is not in the table.
    pub fn require_postgres(major: u32) -> Option<PostgresBinaries> {
        assert_tier(&format!("postgres-{major}"), &["default", "all"]);
        find_postgres(major)
    }

    /// As [`super::require_redis`], for any version in the table.
    ///
    /// # Panics
    ///
    /// If the version is not in the table.
    pub fn require_redis(version: &str) -> Option<RedisBinaries> {
        assert_tier(&redis_name(version), &["default", "all"]);
        find_redis(version)
    }
}

fn redis_name(version: &str) -> String {
    if version.starts_with("valkey-") { version.to_owned() } else { format!("redis-{version}") }
}

fn find_postgres(major: u32) -> Option<PostgresBinaries> {
    or_skip(postgres::find(Some(major), &Places::from_env())).map(with_templates)
}

/// Servers of these programs copy their clusters from templates in the cache.
fn with_templates(mut binaries: PostgresBinaries) -> PostgresBinaries {
    binaries.templates = Places::from_env().caches.first().map(|cache| cache.join("clusters"));
    binaries
}

fn find_redis(version: &str) -> Option<RedisBinaries> {
    let (flavor, number) = match version.strip_prefix("valkey-") {
        Some(number) => (Flavor::Valkey, number),
        None => (Flavor::Redis, version),
    };
    or_skip(redis::find(flavor, number, &Places::from_env()))
}

/// The tier of a server in the table.
fn tier_of(name: &str) -> Option<&'static str> {
    SERVERS.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut columns = line.split('|');
        (columns.next() == Some(name)).then(|| columns.next())?
    })
}

fn assert_tier(name: &str, tiers: &[&str]) {
    let tier = tier_of(name);
    assert!(
        tier.is_some_and(|tier| tiers.contains(&tier)),
        "`{name}` is {}, and this test asks for one of {tiers:?}: see crates/sandbox/servers.txt",
        tier.map_or("not in the table of servers".to_owned(), |tier| format!("of the tier `{tier}`")),
    );
}

/// All installed PostgreSQL versions with pgvector, oldest first; with fewer than two, prints `SKIPPED` and returns
/// none.
pub fn require_pgvector() -> Vec<PostgresBinaries> {
    assert_tier("pgvector-16", &["default"]);
    assert_tier("postgres-18", &["default"]);
    let places = Places::from_env();
    let mut found: Vec<PostgresBinaries> = places
        .programs("pgvector", "postgres")
        .into_iter()
        .filter_map(|program| postgres::in_folder(program.canonicalize().ok()?.parent()?))
        .chain(postgres::find_all(&places))
        .filter(|binaries| binaries.available_extensions().iter().any(|name| name == "vector"))
        .map(with_templates)
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

/// Native builds of PostgreSQL with TimescaleDB, which no package registry offers: `DBHAUL_TIMESCALE` lists their
/// program folders, separated by colons. With fewer than two, prints `SKIPPED` and returns none.
pub fn require_timescale() -> Vec<PostgresBinaries> {
    timescale_builds("DBHAUL_TIMESCALE")
}

/// The same for builds under the Apache license, listed in `DBHAUL_TIMESCALE_APACHE`.
pub fn require_timescale_apache() -> Vec<PostgresBinaries> {
    timescale_builds("DBHAUL_TIMESCALE_APACHE")
}

fn timescale_builds(variable: &str) -> Vec<PostgresBinaries> {
    let folders = std::env::var(variable).unwrap_or_default();
    let found: Vec<PostgresBinaries> = folders
        .split(':')
        .filter_map(|folder| postgres::in_folder(folder.as_ref()))
        .map(with_templates)
        .collect();
    if found.len() < 2 {
        eprintln!("SKIPPED: no two native builds of TimescaleDB; {variable}=BIN:BIN names them");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_test_cannot_ask_for_what_a_default_run_does_not_fetch() {
        assert_eq!(tier_of("postgres-15"), Some("default"));
        assert_eq!(tier_of("postgres-13"), Some("all"));
        assert_eq!(tier_of("postgres-1"), None);
        assert!(std::panic::catch_unwind(|| require_postgres(13)).is_err());
        assert!(std::panic::catch_unwind(|| require_redis("4.0")).is_err());
        assert!(std::panic::catch_unwind(|| long::require_postgres(11)).is_err());
    }
}
