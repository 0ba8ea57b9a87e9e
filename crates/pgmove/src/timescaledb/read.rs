//! Reads TimescaleDB's objects, and removes its internal relations from the catalog.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;
use tokio_postgres::Client;

use super::RowOwner;
use super::conflict::TimescaleConflict;
use super::{FUNCTIONS, NAME, too_old, untried};
use crate::catalog::query::rows;
use crate::catalog::table::Table;
use crate::catalog::{Catalog, QualifiedName, Unsupported};
use crate::conflict::Conflict;
use crate::connect::Session;
use crate::error::Error;
use crate::quote::ident;
use crate::timescaledb::model::{Chunk, Hypertable, Job, OrderBy, Timescale};

/// Chunks belong to their hypertable, those of an aggregate to its view; compressed rows are read through their
/// chunk.
pub(crate) async fn relations(session: &Session) -> Result<BTreeMap<QualifiedName, RowOwner>, Error> {
    let version = "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'";
    let version = session.value("the extensions", version).await?.unwrap_or_default();
    if too_old(&version).is_some() {
        // Refused, by name, when the catalog is read.
        return Ok(BTreeMap::new());
    }
    let sql = "SELECT k.schema_name, k.table_name, coalesce(a.user_view_schema, h.schema_name), coalesce(a.user_view_name, h.table_name), \
                 h.compression_state = 2 \
               FROM _timescaledb_catalog.chunk k JOIN _timescaledb_catalog.hypertable h ON h.id = k.hypertable_id \
               LEFT JOIN _timescaledb_catalog.continuous_agg a ON a.mat_hypertable_id = h.id \
               UNION ALL SELECT h.schema_name, h.table_name, a.user_view_schema, a.user_view_name, h.compression_state = 2 \
               FROM _timescaledb_catalog.hypertable h LEFT JOIN _timescaledb_catalog.continuous_agg a ON a.mat_hypertable_id = h.id \
               WHERE h.compression_state = 2 OR a.mat_hypertable_id IS NOT NULL";
    let rows = session
        .query("the chunks of hypertables", sql)
        .await
        .map_err(|e| attribute_to_version(&version, e))?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let mut fields = row.into_iter();
            let name = QualifiedName::new(fields.next()??, fields.next()??);
            let (schema, table) = (fields.next()?, fields.next()?);
            let inside = fields.next()??;
            let belongs = match (inside.as_str(), schema, table) {
                ("f", Some(schema), Some(table)) => RowOwner::Relation(QualifiedName::new(schema, table)),
                _ => RowOwner::Internal,
            };
            Some((name, belongs))
        })
        .collect())
}

/// Reads everything into [`Catalog::timescale`], and removes chunks, internal hypertables and internal views.
///
/// # Errors
/// [`Error::Refused`] for an untested version whose own tables have another structure.
pub(crate) async fn read(client: &Client, catalog: &mut Catalog) -> Result<(), Error> {
    let version = catalog.extensions.iter().find(|extension| extension.meta.name == NAME);
    let version = version.map(|extension| extension.version.clone()).unwrap_or_default();
    refuse_restoring(client).await?;
    read_all(client, catalog).await.map_err(|error| attribute_to_version(&version, error))
}

/// In the restoring mode hypertables look like ordinary tables, and those with compressed chunks look empty.
async fn refuse_restoring(client: &Client) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Row {
        database: String,
    }
    let sql = "SELECT current_database() AS database WHERE lower(current_setting('timescaledb.restoring', true)) = 'on'";
    match rows::<Row>(client, "TimescaleDB's restoring mode", sql).await?.into_iter().next() {
        None => Ok(()),
        Some(Row { database }) => {
            let what = format!("database {} cannot be read", ident(&database));
            Err(Error::refused(what, Conflict::Timescaledb(TimescaleConflict::Restoring { database })))
        }
    }
}

/// Attributes an error in an untested version to that version.
fn attribute_to_version(version: &str, error: Error) -> Error {
    match (untried(version), &error) {
        (Some(why), Error::Server { .. }) if !error.is_lost() => Error::Refused {
            what: format!("extension {NAME} cannot be read"),
            conflicts: vec![
                Conflict::Timescaledb(TimescaleConflict::Version { detail: why, untested: false }),
                Conflict::Rejected { detail: error.to_string() },
            ],
        },
        _ => error,
    }
}

async fn read_all(client: &Client, catalog: &mut Catalog) -> Result<(), Error> {
    let Some(extension) = catalog.extensions.iter_mut().find(|extension| extension.meta.name == NAME) else {
        return Ok(());
    };
    // Its configuration tables are those whose structure differs between versions.
    extension.config_tables.clear();
    let mut found = Timescale {
        version: extension.version.clone(),
        schema: extension.target_schema.clone(),
        ..Timescale::default()
    };
    if let Some(why) = too_old(&found.version) {
        catalog.unsupported.push(unsupported("extension", NAME, &why));
        return Ok(());
    }
    found.untried = untried(&found.version);
    let functions = functions(client).await?;
    let tables = hypertables(client).await?;
    for table in &tables {
        catalog.unsupported.extend(table.unsupported());
        if table.adaptive && !table.inner && !table.materialized {
            found.warnings.push(format!(
                "hypertable {}: adaptive chunking is not copied; its chunks keep their present interval",
                table.table.name
            ));
        }
    }
    found.warnings.extend(super::chunk_properties::warnings(client).await?);
    let mut by_id: HashMap<i32, Hypertable> = HashMap::new();
    let mut inner = HashSet::new();
    for table in tables {
        if table.inner || table.materialized {
            inner.insert(table.table.oid);
        }
        by_id.insert(table.id, table.table);
    }
    chunks(client, &functions, &mut by_id, &mut inner, &mut catalog.unsupported).await?;
    compression(client, &mut by_id).await?;
    inner.extend(super::aggregates::read(client, &functions, catalog, &mut found, &mut by_id).await?);
    found.hypertables = by_id.into_values().filter(|table| !inner.contains(&table.oid)).collect();
    found.hypertables.sort_by(|a, b| a.name.cmp(&b.name));
    for job in jobs(client).await? {
        if super::statements::known(&job) {
            found.jobs.push(job);
        } else {
            let name = format!("{} ({})", job.id, job.title);
            let why = format!("{} is an unsupported policy", job.procedure);
            catalog.unsupported.push(unsupported("job", &name, &why));
        }
    }
    remove(catalog, &inner);
    let orphans = catalog.tables.iter().filter(|table| {
        table.meta.schema == "_timescaledb_internal" && table.meta.extension.is_none() && table.has_data()
    });
    let why = "it looks like a chunk, but belongs to no hypertable: an earlier restore may have left its rows behind";
    let orphans: Vec<Unsupported> =
        orphans.map(|table| unsupported("table", &table.name().to_string(), why)).collect();
    catalog.unsupported.extend(orphans);
    catalog.timescale = Some(found);
    Ok(())
}

pub(super) fn unsupported(kind: &str, name: &str, why: &str) -> Unsupported {
    Unsupported { kind: kind.to_owned(), name: name.to_owned(), why: why.to_owned() }
}

async fn functions(client: &Client) -> Result<String, Error> {
    #[derive(Deserialize)]
    struct Row {
        schema: String,
    }
    let found: Vec<Row> = rows(client, "TimescaleDB's functions", FUNCTIONS).await?;
    Ok(found.into_iter().next().map_or_else(|| "_timescaledb_functions".to_owned(), |row| row.schema))
}

#[derive(Deserialize)]
struct TableRow {
    id: i32,
    #[serde(flatten)]
    table: Hypertable,
    /// Stores compressed rows of another hypertable.
    inner: bool,
    /// Stores the rows of an aggregate.
    materialized: bool,
    distributed: bool,
    /// The chunk length adapts to the number of rows.
    adaptive: bool,
}

impl TableRow {
    fn unsupported(&self) -> Option<Unsupported> {
        let why = "it is distributed over several nodes, which no version since 2.14 supports";
        self.distributed.then(|| unsupported("hypertable", &self.table.name.to_string(), why))
    }
}

async fn hypertables(client: &Client) -> Result<Vec<TableRow>, Error> {
    let sql = "SELECT h.id, c.oid::int8 AS oid, h.schema_name AS schema, h.table_name AS name, h.compression_state = 2 AS inner, \
               EXISTS (SELECT FROM _timescaledb_catalog.continuous_agg a WHERE a.mat_hypertable_id = h.id) AS materialized, \
               to_jsonb(h) ->> 'replication_factor' IS NOT NULL AS distributed, \
               coalesce((to_jsonb(h) ->> 'chunk_target_size')::int8, 0) > 0 AS adaptive, \
               nullif(h.associated_schema_name, '_timescaledb_internal') AS chunk_schema, \
               nullif(h.associated_table_prefix, '_hyper_' || h.id) AS chunk_prefix, \
               CASE WHEN h.compression_state = 1 THEN json_build_object('chunk_interval', (SELECT \
                 CASE WHEN d.column_type IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype) \
                   THEN (make_interval(secs => 0.000001) * d.compress_interval_length)::text ELSE d.compress_interval_length::text END \
                 FROM _timescaledb_catalog.dimension d WHERE d.hypertable_id = h.id ORDER BY d.id LIMIT 1)) END AS compression, \
               coalesce((SELECT json_agg(json_build_object('column', d.column_name, 'column_type', format_type(d.column_type, NULL), \
                 'interval', d.interval_length, 'partitions', d.num_slices, \
                 'function', CASE WHEN d.partitioning_func <> 'get_partition_hash' \
                   THEN json_build_object('schema', d.partitioning_func_schema, 'name', d.partitioning_func) END, \
                 'integer_now', CASE WHEN d.integer_now_func IS NOT NULL \
                   THEN json_build_object('schema', d.integer_now_func_schema, 'name', d.integer_now_func) END) ORDER BY d.id) \
                 FROM _timescaledb_catalog.dimension d WHERE d.hypertable_id = h.id), '[]') AS dimensions, \
               coalesce((SELECT json_agg(t.tablespace_name ORDER BY t.id) FROM _timescaledb_catalog.tablespace t \
                 WHERE t.hypertable_id = h.id), '[]') AS tablespaces \
               FROM _timescaledb_catalog.hypertable h JOIN pg_namespace n ON n.nspname = h.schema_name \
               JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = h.table_name ORDER BY h.id";
    rows(client, "hypertables", sql).await
}

/// The expression for the ranges of a chunk. Its function is missing under the Apache license; there the extension's
/// own tables are read.
async fn slices(client: &Client, functions: &str) -> Result<String, Error> {
    #[derive(Deserialize)]
    struct Row {
        apache: bool,
    }
    let sql = "SELECT coalesce(current_setting('timescaledb.license', true) = 'apache', false) AS apache";
    let found: Vec<Row> = rows(client, "TimescaleDB's license", sql).await?;
    Ok(match found.iter().any(|row| row.apache) {
        false => format!("(SELECT s.slices FROM {}.show_chunk(c.oid::regclass) s)", ident(functions)),
        true => "(SELECT jsonb_object_agg(d.column_name, jsonb_build_array(s.range_start, s.range_end)) \
                 FROM _timescaledb_catalog.chunk_constraint r JOIN _timescaledb_catalog.dimension_slice s ON s.id = r.dimension_slice_id \
                 JOIN _timescaledb_catalog.dimension d ON d.id = s.dimension_id WHERE r.chunk_id = k.id)"
            .to_owned(),
    })
}

/// Adds chunks to their hypertables; marks all chunk tables as internal.
async fn chunks(
    client: &Client,
    functions: &str,
    tables: &mut HashMap<i32, Hypertable>,
    inner: &mut HashSet<u32>,
    unsupported_: &mut Vec<Unsupported>,
) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Row {
        table: i32,
        #[serde(flatten)]
        chunk: Chunk,
        inner: bool,
        tiered: bool,
    }
    let slices = slices(client, functions).await?;
    let sql = format!(
        "SELECT k.hypertable_id AS table, c.oid::int8 AS oid, k.schema_name AS schema, k.table_name AS name, \
         h.compression_state = 2 AS inner, k.osm_chunk OR c.relkind <> 'r' AS tiered, k.status & 1 = 1 AS compressed, \
         pg_table_size(c.oid) + coalesce((SELECT pg_table_size(x.oid) FROM _timescaledb_catalog.chunk i \
           JOIN pg_namespace y ON y.nspname = i.schema_name JOIN pg_class x ON x.relnamespace = y.oid AND x.relname = i.table_name \
           WHERE i.id = k.compressed_chunk_id), 0) AS bytes, \
         CASE WHEN h.compression_state = 2 OR c.relkind <> 'r' THEN '{{}}'::jsonb ELSE {slices} END AS slices \
         FROM _timescaledb_catalog.chunk k JOIN _timescaledb_catalog.hypertable h ON h.id = k.hypertable_id \
         JOIN pg_namespace n ON n.nspname = k.schema_name JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = k.table_name \
         ORDER BY k.id"
    );
    for row in rows::<Row>(client, "chunks", &sql).await? {
        inner.insert(row.chunk.oid);
        if row.tiered && !row.inner {
            let why = "it is a chunk in another storage";
            unsupported_.push(unsupported("table", &row.chunk.name.to_string(), why));
        } else if let Some(table) = tables.get_mut(&row.table).filter(|_| !row.inner) {
            table.chunks.push(row.chunk);
        }
    }
    Ok(())
}

/// Completes the compression settings of hypertables.
async fn compression(client: &Client, tables: &mut HashMap<i32, Hypertable>) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Row {
        #[serde(flatten)]
        table: QualifiedName,
        column: String,
        segment: Option<i32>,
        ascending: Option<bool>,
        nulls_first: Option<bool>,
    }
    let sql = "SELECT hypertable_schema AS schema, hypertable_name AS name, attname AS column, segmentby_column_index AS segment, \
               orderby_asc AS ascending, orderby_nullsfirst AS nulls_first \
               FROM timescaledb_information.compression_settings ORDER BY 1, 2, segmentby_column_index, orderby_column_index";
    for row in rows::<Row>(client, "settings of compression", sql).await? {
        let table = tables.values_mut().find(|table| table.name == row.table);
        let Some(compression) = table.and_then(|table| table.compression.as_mut()) else { continue };
        match (row.segment, row.ascending, row.nulls_first) {
            (Some(_), ..) => compression.segment_by.push(row.column),
            (None, Some(ascending), nulls_first) => {
                let nulls_first = nulls_first.unwrap_or(!ascending);
                compression.order_by.push(OrderBy { column: row.column, ascending, nulls_first });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Policies and jobs, without the extension's own.
async fn jobs(client: &Client) -> Result<Vec<Job>, Error> {
    #[derive(Deserialize)]
    struct JobTable {
        schema: String,
    }
    // The table moved in 2.25.
    let table = "SELECT n.nspname AS schema FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE c.relname = 'bgw_job' AND n.nspname IN ('_timescaledb_catalog', '_timescaledb_config')";
    let Some(table) = rows::<JobTable>(client, "TimescaleDB's jobs", table).await?.into_iter().next() else {
        return Ok(Vec::new());
    };
    let sql = format!(
        "SELECT j.id, json_build_object('schema', j.proc_schema, 'name', j.proc_name) AS procedure, j.application_name AS title, \
         j.schedule_interval::text, j.max_runtime::text, j.max_retries, j.retry_period::text, \
         coalesce((SELECT r.rolname FROM pg_roles r WHERE quote_ident(r.rolname) = j.owner::text OR r.rolname = j.owner::text LIMIT 1), j.owner::text) AS owner, \
         j.scheduled, j.fixed_schedule, j.initial_start::text, j.timezone, j.config::text AS config, \
         CASE WHEN j.check_name IS NOT NULL AND j.check_schema NOT LIKE '\\_timescaledb\\_%' \
           THEN json_build_object('schema', j.check_schema, 'name', j.check_name) END AS check, \
         CASE WHEN h.id IS NOT NULL THEN json_build_object('schema', coalesce(a.user_view_schema, h.schema_name), \
           'name', coalesce(a.user_view_name, h.table_name)) END AS relation \
         FROM {}.bgw_job j LEFT JOIN _timescaledb_catalog.hypertable h ON h.id = j.hypertable_id \
         LEFT JOIN _timescaledb_catalog.continuous_agg a ON a.mat_hypertable_id = j.hypertable_id \
         WHERE j.id >= 1000 ORDER BY j.id",
        ident(&table.schema)
    );
    rows(client, "TimescaleDB's jobs", &sql).await
}

/// Removes relations from the catalog, with everything attached to them. Dependencies and comments of removed objects
/// are ignored later.
fn remove(catalog: &mut Catalog, removed: &HashSet<u32>) {
    // Older versions attach triggers of their own to users' tables.
    let means = |name: &str| matches!(name, "ts_insert_blocker" | "ts_cagg_invalidation_trigger");
    catalog.tables.retain(|table: &Table| !removed.contains(&table.meta.oid));
    catalog.indexes.retain(|index| !removed.contains(&index.table_oid));
    catalog
        .foreign_keys
        .retain(|key| !removed.contains(&key.table_oid) && !removed.contains(&key.references_oid));
    catalog.triggers.retain(|trigger| !removed.contains(&trigger.table_oid) && !means(&trigger.name));
    catalog.rules.retain(|rule| !removed.contains(&rule.table_oid));
    catalog.policies.retain(|policy| !removed.contains(&policy.table_oid));
}
