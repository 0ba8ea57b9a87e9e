//! Properties of single chunks. Chunks are recreated with the properties of their hypertable; lost ones are reported
//! by name.

use serde::Deserialize;
use tokio_postgres::Client;

use crate::catalog::query::rows;
use crate::error::Error;

/// Maximum number of chunks to name.
const NAMED: usize = 10;

/// Indexes, privileges and storage parameters of chunks that their hypertable does not have, each as a warning.
pub(super) async fn warnings(client: &Client) -> Result<Vec<String>, Error> {
    #[derive(Deserialize)]
    struct Row {
        what: String,
        chunk: String,
        hypertable: String,
    }
    // Chunks repeat each index of their hypertable under another name; the definition after the access method is
    // equal.
    let sql = "WITH chunk AS ( \
          SELECT c.oid, c.relacl, c.reloptions, p.oid AS parent, p.relacl AS parent_acl, p.reloptions AS parent_options, \
            coalesce(a.user_view_schema, h.schema_name) AS schema, coalesce(a.user_view_name, h.table_name) AS name \
          FROM _timescaledb_catalog.chunk k JOIN _timescaledb_catalog.hypertable h ON h.id = k.hypertable_id AND h.compression_state <> 2 \
          LEFT JOIN _timescaledb_catalog.continuous_agg a ON a.mat_hypertable_id = h.id \
          JOIN pg_namespace n ON n.nspname = k.schema_name \
          JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = k.table_name AND c.relkind = 'r' \
          JOIN pg_namespace m ON m.nspname = h.schema_name \
          JOIN pg_class p ON p.relnamespace = m.oid AND p.relname = h.table_name), \
        index AS ( \
          SELECT x.indrelid, x.indexrelid, regexp_replace(pg_get_indexdef(x.indexrelid), '^.*? USING ', '') AS def FROM pg_index x \
          WHERE x.indrelid IN (SELECT oid FROM chunk UNION SELECT parent FROM chunk)), \
        own AS ( \
          SELECT k.*, 'index ' || quote_ident(i.relname) AS what FROM chunk k JOIN index x ON x.indrelid = k.oid \
          JOIN pg_class i ON i.oid = x.indexrelid \
          WHERE NOT EXISTS (SELECT FROM index y WHERE y.indrelid = k.parent AND y.def = x.def) \
          UNION ALL SELECT k.*, 'privileges' FROM chunk k \
          WHERE ARRAY(SELECT item::text FROM unnest(k.relacl) item ORDER BY 1) <> ARRAY(SELECT item::text FROM unnest(k.parent_acl) item ORDER BY 1) \
          UNION ALL SELECT k.*, 'storage parameters' FROM chunk k WHERE k.reloptions IS NOT NULL AND k.reloptions IS DISTINCT FROM k.parent_options) \
        SELECT what, oid::regclass::text AS chunk, quote_ident(schema) || '.' || quote_ident(name) AS hypertable FROM own ORDER BY oid, what";
    let found: Vec<Row> = rows(client, "the properties of chunks", sql).await?;
    let mut lines: Vec<String> = found
        .iter()
        .take(NAMED)
        .map(|row| {
            format!(
                "{} of chunk {} alone, not of {}: not copied, because a target creates chunks with the properties of the whole table",
                row.what, row.chunk, row.hypertable
            )
        })
        .collect();
    if found.len() > NAMED {
        lines.push(format!("and {} more that only single chunks have", found.len() - NAMED));
    }
    Ok(lines)
}
