//! What the database holds and this version does not carry, found by counting the rows of the server's catalogs.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::meta::FIRST_NORMAL_OID;
use super::query::rows;
use crate::error::Error;

/// An object, or a number of them, that would be lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsupported {
    /// The kind, in words.
    pub kind: String,
    /// Which one, or which ones.
    pub name: String,
    /// Why it is not carried.
    pub why: String,
}

impl std::fmt::Display for Unsupported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.kind, self.name, self.why)
    }
}

/// Counts. Each query names what would be lost.
pub(super) async fn read(client: &Client, version: u32) -> Result<Vec<Unsupported>, Error> {
    let queries = [
        "SELECT 'subscription' AS kind, subname::text AS name, 'this role may not read its connection' AS why \
         FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()) \
         AND NOT has_column_privilege('pg_catalog.pg_subscription', 'subconninfo', 'SELECT')"
            .to_owned(),
        // The server lets nobody but a superuser with special settings put things here; they look built-in.
        format!(
            "SELECT 'relation in pg_catalog', oid::regclass::text, 'it lies in a schema that belongs to the server' FROM pg_class c \
             WHERE oid >= {FIRST_NORMAL_OID} AND relnamespace = 'pg_catalog'::regnamespace AND relkind NOT IN ('t', 'i') \
             AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')"
        ),
        format!(
            "SELECT 'function in pg_catalog', oid::regprocedure::text, 'it lies in a schema that belongs to the server' FROM pg_proc p \
             WHERE oid >= {FIRST_NORMAL_OID} AND pronamespace = 'pg_catalog'::regnamespace \
             AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')"
        ),
        // Nobody but a role that may read a mapping sees its options; without them the mapping would be another one.
        "SELECT 'user mapping', format('for %s on %s', u.usename, u.srvname), 'this role may not read its options' \
         FROM pg_user_mappings u WHERE u.umoptions IS NULL AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"
            .to_owned(),
    ];
    let _ = version;
    rows(client, "objects that are not carried", &queries.join(" UNION ALL ")).await
}
