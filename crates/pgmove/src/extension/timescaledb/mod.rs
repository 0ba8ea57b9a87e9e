//! TimescaleDB: a hypertable's rows lie in chunks that belong to the extension, and a continuous aggregate's in a
//! hypertable of its own. Copied as ordinary tables they would arrive empty, without an error.
//!
//! Nothing of the extension's own tables is copied: their form changes between versions. Instead hypertables, chunk
//! ranges, compression, aggregates and jobs are made anew by its functions, and only rows travel:
//!
//! 1. tables, then hypertables while they are empty, then chunks with the ranges of the source;
//! 2. rows, through the hypertable;
//! 3. indexes and constraints, aggregates without rows;
//! 4. compression; then each aggregate is refreshed up to where the source had it, and only then gets the source's
//!    rows: the other way round the refresh would delete what the raw rows no longer cover;
//! 5. jobs, which start when everything is proven.

mod read;
pub(crate) mod statements;

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{BoxFuture, FutureExt as _};
use tokio_postgres::Client;

use super::{Belongs, Handler, installed};
use crate::catalog::{Catalog, QualifiedName};
use crate::connect::Session;
use crate::ddl::RenderOptions;
use crate::error::Error;
use crate::quote::{ident, literal};

/// The handler of `timescaledb`.
pub(crate) struct TimescaleDb;

/// The extension.
pub(crate) const NAME: &str = "timescaledb";

/// The oldest version, as (major, minor), whose functions are those that are used here.
const OLDEST: (u32, u32) = (2, 10);

/// The newest version that this was tried on.
const NEWEST: (u32, u32) = (2, 28);

/// What is wrong with a version: too old, or not known.
pub(crate) fn refuses(version: &str) -> Option<String> {
    let mut numbers = version.split(['.', '-']).map(|n| n.parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < OLDEST {
        return Some(format!(
            "version {version} is too old: {}.{} is the first whose functions can rebuild everything; update the extension \
             (ALTER EXTENSION timescaledb UPDATE)",
            OLDEST.0, OLDEST.1
        ));
    }
    (found > NEWEST).then(|| {
        format!(
            "version {version} is not known here, the newest is {}.{}: DBHAUL_UNTRIED_EXTENSIONS=1 tries it all the same",
            NEWEST.0, NEWEST.1
        )
    })
}

/// Whether versions that are not known are to be tried.
fn untried() -> bool {
    std::env::var_os("DBHAUL_UNTRIED_EXTENSIONS").is_some_and(|value| value == "1")
}

impl Handler for TimescaleDb {
    fn name(&self) -> &'static str {
        NAME
    }

    fn relations<'a>(
        &'a self,
        session: &'a Session,
    ) -> BoxFuture<'a, Result<BTreeMap<QualifiedName, Belongs>, Error>> {
        read::relations(session).boxed()
    }

    fn read<'a>(&'a self, client: &'a Client, catalog: &'a mut Catalog) -> BoxFuture<'a, Result<(), Error>> {
        read::read(client, catalog).boxed()
    }

    fn conflicts<'a>(
        &'a self,
        target: &'a Session,
        catalog: &'a Catalog,
        options: &'a RenderOptions,
    ) -> BoxFuture<'a, Result<Vec<String>, Error>> {
        async move {
            let mut conflicts = Vec::new();
            let sql = format!(
                "SELECT coalesce(installed_version, default_version) FROM pg_available_extensions WHERE name = {}",
                literal(NAME)
            );
            // That it is not on offer at all is said of every extension.
            let Some(version) = target.value("the extensions on offer", &sql).await? else {
                return Ok(conflicts);
            };
            if let Some(why) = refuses(&version).filter(|_| !untried()) {
                conflicts.push(format!("extension {NAME} of the target: {why}"));
            }
            // Without its library in the server from the start, neither planner nor jobs know hypertables.
            let preloaded = "SELECT 1 WHERE current_setting('shared_preload_libraries') LIKE '%timescaledb%' \
                             OR EXISTS (SELECT FROM pg_settings WHERE name LIKE 'timescaledb.%')";
            if !installed(target, NAME).await? && target.value("the libraries", preloaded).await?.is_none() {
                conflicts.push(format!(
                    "extension {NAME} is not loaded at the target: add it to shared_preload_libraries and restart the server"
                ));
            }
            let owners: BTreeSet<&str> = match &catalog.timescale {
                Some(timescale) if !options.no_owner => {
                    timescale.jobs.iter().map(|job| options.role(&job.owner)).collect()
                }
                _ => BTreeSet::new(),
            };
            let sleepers = "SELECT rolname FROM pg_roles WHERE NOT rolcanlogin";
            for role in target.query("the roles", sleepers).await?.into_iter().flatten().flatten() {
                if owners.contains(role.as_str()) {
                    conflicts.push(format!(
                        "role {0} owns jobs and may not log in, so that none of them could run: ALTER ROLE {0} LOGIN",
                        ident(&role)
                    ));
                }
            }
            Ok(conflicts)
        }
        .boxed()
    }

    fn facts(&self, catalog: &Catalog) -> Vec<(String, String)> {
        catalog.timescale.as_ref().map(statements::facts).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_are_too_old_or_unknown_are_told() {
        assert!(refuses("2.9.3").unwrap().contains("too old"));
        assert!(refuses("1.7.5").unwrap().contains("too old"));
        assert_eq!(refuses("2.10.0"), None);
        assert_eq!(refuses("2.23.0-dev"), None);
        assert_eq!(refuses("2.28.3"), None);
        assert!(refuses("2.31.0").unwrap().contains("not known"));
        assert!(refuses("3.0.0").unwrap().contains("not known"));
    }
}
