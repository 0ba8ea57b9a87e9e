//! Finds objects of the database that this version does not support.

use tokio_postgres::Client;

use super::meta::FIRST_NORMAL_OID;
use super::query::rows;
use super::unsupported::Unsupported;
use crate::error::Error;

/// Runs the queries that find unsupported objects.
pub(super) async fn read(client: &Client, version: u32) -> Result<Vec<Unsupported>, Error> {
    let queries = [
        "SELECT 'subscription' AS kind, subname::text AS name, 'the role may not read its connection string' AS why \
         FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()) \
         AND NOT has_column_privilege('pg_catalog.pg_subscription', 'subconninfo', 'SELECT')"
            .to_owned(),
        // Only a superuser with special settings can create objects in these schemas; they look built-in.
        format!(
            "SELECT 'relation in pg_catalog', oid::regclass::text, 'it is in a schema that belongs to the server' FROM pg_class c \
             WHERE oid >= {FIRST_NORMAL_OID} AND relnamespace = 'pg_catalog'::regnamespace AND relkind NOT IN ('t', 'i') \
             AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')"
        ),
        format!(
            "SELECT 'function in pg_catalog', oid::regprocedure::text, 'it is in a schema that belongs to the server' FROM pg_proc p \
             WHERE oid >= {FIRST_NORMAL_OID} AND pronamespace = 'pg_catalog'::regnamespace \
             AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')"
        ),
        // Options of a mapping are visible only to roles that may read it; without them the mapping would change.
        "SELECT 'user mapping', format('for %s on %s', u.usename, u.srvname), 'the role may not read its options' \
         FROM pg_user_mappings u WHERE u.umoptions IS NULL AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"
            .to_owned(),
    ];
    let _ = version;
    rows(client, "the unsupported objects", &queries.join(" UNION ALL ")).await
}
