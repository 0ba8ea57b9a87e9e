//! Reads `pg_depend`, and which objects are ordered as parts of others.

use tokio_postgres::Client;

use super::address::{Alias, Dependency};
use super::meta::FIRST_NORMAL_OID;
use super::query::rows;
use crate::error::Error;

/// Dependencies between user objects. Objects of the server always exist and do not affect the order.
pub(super) async fn read(client: &Client) -> Result<Vec<Dependency>, Error> {
    rows(
        client,
        "dependencies",
        &format!(
            "SELECT classid::int8 AS class, objid::int8 AS oid, objsubid AS sub, refclassid::int8 AS ref_class, \
             refobjid::int8 AS ref_oid, refobjsubid AS ref_sub, deptype AS kind \
             FROM pg_depend WHERE deptype NOT IN ('p', 'e') AND refobjid >= {FIRST_NORMAL_OID} AND classid <> 0 \
             AND NOT (classid = refclassid AND objid = refobjid) ORDER BY 1, 2, 3, 4, 5, 6"
        ),
    )
    .await
}

/// Row types, array types, multiranges, relations of composite types, rules of views, TOAST tables, members of operator
/// families.
pub(super) async fn read_aliases(client: &Client, version: u32) -> Result<Vec<Alias>, Error> {
    let multirange = if version >= 140_000 {
        "UNION ALL SELECT 'pg_type'::regclass::int8, rngmultitypid::int8, 'pg_type'::regclass::int8, rngtypid::int8 FROM pg_range WHERE rngmultitypid >= 16384"
    } else {
        ""
    };
    rows(
        client,
        "parts of objects",
        &format!(
            "SELECT 'pg_type'::regclass::int8 AS class, t.oid::int8 AS oid, 'pg_class'::regclass::int8 AS of_class, t.typrelid::int8 AS of_oid \
               FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid WHERE c.relkind <> 'c' AND t.oid >= {FIRST_NORMAL_OID} \
             UNION ALL SELECT 'pg_class'::regclass::int8, c.oid::int8, 'pg_type'::regclass::int8, c.reltype::int8 \
               FROM pg_class c WHERE c.relkind = 'c' AND c.oid >= {FIRST_NORMAL_OID} \
             UNION ALL SELECT 'pg_type'::regclass::int8, t.typarray::int8, 'pg_type'::regclass::int8, t.oid::int8 \
               FROM pg_type t WHERE t.typarray >= {FIRST_NORMAL_OID} \
             UNION ALL SELECT 'pg_rewrite'::regclass::int8, r.oid::int8, 'pg_class'::regclass::int8, r.ev_class::int8 \
               FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class \
               WHERE r.ev_type = '1' AND r.is_instead AND c.relkind IN ('v', 'm') AND r.oid >= {FIRST_NORMAL_OID} \
             UNION ALL SELECT 'pg_amop'::regclass::int8, o.oid::int8, 'pg_opfamily'::regclass::int8, o.amopfamily::int8 \
               FROM pg_amop o WHERE o.oid >= {FIRST_NORMAL_OID} AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_amop'::regclass \
                 AND d.objid = o.oid AND d.refclassid = 'pg_opclass'::regclass) \
             UNION ALL SELECT 'pg_amproc'::regclass::int8, o.oid::int8, 'pg_opfamily'::regclass::int8, o.amprocfamily::int8 \
               FROM pg_amproc o WHERE o.oid >= {FIRST_NORMAL_OID} AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_amproc'::regclass \
                 AND d.objid = o.oid AND d.refclassid = 'pg_opclass'::regclass) \
             UNION ALL SELECT d.classid::int8, d.objid::int8, d.refclassid::int8, d.refobjid::int8 FROM pg_depend d \
               WHERE d.classid IN ('pg_amop'::regclass, 'pg_amproc'::regclass) AND d.refclassid = 'pg_opclass'::regclass \
               AND d.deptype = 'i' AND d.objid >= {FIRST_NORMAL_OID} \
             {multirange} ORDER BY 1, 2"
        ),
    )
    .await
}
