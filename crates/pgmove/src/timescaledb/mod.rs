//! TimescaleDB: the rows of a hypertable are stored in chunks that belong to the extension, and those of a continuous
//! aggregate in a hypertable of its own. Copied as ordinary tables they would arrive empty, without an error.
//!
//! The extension's own tables are not copied, because their structure changes between versions. Instead hypertables,
//! chunk ranges, compression, aggregates and jobs are recreated with its functions, and only rows are copied:
//!
//! 1. tables, then hypertables while they are empty, then chunks with the ranges of the source;
//! 2. rows, through the hypertable;
//! 3. indexes and constraints, aggregates without rows;
//! 4. compression; then each aggregate is refreshed as far as at the source, and only then gets the source's rows: in
//!    the reverse order the refresh would delete rows that the raw data no longer covers;
//! 5. jobs, which start after verification.

mod aggregates;
mod chunk_properties;
pub(crate) mod conflict;
pub(crate) mod lookup;
pub(crate) mod model;
pub(crate) mod preflight;
pub(crate) mod ranges;
mod read;
pub(crate) mod rebuild;
pub(crate) mod statements;

use crate::catalog::{Catalog, QualifiedName};
use crate::connect::Session;
use crate::error::Error;

pub(crate) use read::{read, relations};

/// Owner of the rows in an internal relation of the extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RowOwner {
    /// A hypertable or aggregate of the user.
    Relation(QualifiedName),
    /// None: its rows are rebuilt from other data.
    Internal,
}

/// Name of the extension.
pub(crate) const NAME: &str = "timescaledb";

/// The oldest supported version, as (major, minor): it has all functions that are used here.
const OLDEST: (u32, u32) = (2, 10);

/// The newest tested version.
const NEWEST: (u32, u32) = (2, 28);

/// The schema of the extension's internal functions, which changed in 2.12.
pub(crate) const FUNCTIONS: &str = "SELECT n.nspname AS schema FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
     WHERE p.proname = 'show_chunk' AND n.nspname LIKE '\\_timescaledb\\_%' \
     ORDER BY n.nspname = '_timescaledb_functions' DESC LIMIT 1";

fn numbers(version: &str) -> (u32, u32) {
    let mut numbers = version.split(['.', '-']).map(|n| n.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// The reason if a version is too old.
fn too_old(version: &str) -> Option<String> {
    (numbers(version) < OLDEST).then(|| {
        format!(
            "version {version} is too old: {}.{} is the first whose functions can rebuild everything; update the extension \
             (ALTER EXTENSION timescaledb UPDATE)",
            OLDEST.0, OLDEST.1
        )
    })
}

/// Why a version is not used unless requested: it is untested.
fn untried(version: &str) -> Option<String> {
    (numbers(version) > NEWEST).then(|| {
        format!(
            "version {version} was not tested with this release, the newest tested is {}.{}",
            NEWEST.0, NEWEST.1
        )
    })
}

/// Whether the extension is installed in the session's database.
pub(crate) async fn installed(session: &Session) -> Result<bool, Error> {
    let sql = format!("SELECT 1 FROM pg_extension WHERE extname = {}", crate::quote::literal(NAME));
    Ok(session.value("the extensions", &sql).await?.is_some())
}

/// Whether restoring a catalog requires the extension: the catalog contains it, or tables of a database that has it
/// (a catalog of selected tables does not contain the extension itself).
pub(crate) fn is_needed(catalog: &Catalog) -> bool {
    catalog.extensions.iter().any(|extension| extension.meta.name == NAME)
        || catalog.timescale.as_ref().is_some_and(|timescale| !timescale.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_are_too_old_or_unknown_are_reported() {
        for version in ["1.7.5", "2.9.3"] {
            assert!(too_old(version).unwrap().contains("too old"), "{version}");
        }
        for version in ["2.10.0", "2.23.0-dev", "2.28.3"] {
            assert_eq!((too_old(version), untried(version)), (None, None), "{version}");
        }
        for version in ["2.31.0", "3.0.0"] {
            assert!(untried(version).unwrap().contains("not tested"), "{version}");
        }
    }
}
