//! Reading what TimescaleDB adds, and taking its means out of the catalog.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;
use tokio_postgres::Client;

use super::{FUNCTIONS, NAME, too_old, untried};
use crate::catalog::address::{Alias, class};
use crate::catalog::query::rows;
use crate::catalog::table::Table;
use crate::catalog::timescale::{Aggregate, Chunk, Hypertable, Job, OrderBy, Timescale};
use crate::catalog::{Catalog, QualifiedName, Unsupported};
use crate::connect::Session;
use crate::error::Error;
use crate::extension::Belongs;
use crate::quote::ident;

/// Chunks belong to their hypertable, those of an aggregate to its view; what is compressed is read through its chunk.
pub(super) async fn relations(session: &Session) -> Result<BTreeMap<QualifiedName, Belongs>, Error> {
    let version = "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'";
    let version = session.value("the extensions", version).await?.unwrap_or_default();
    if too_old(&version).is_some() {
        // It is refused, by name, when the catalog is read.
        return Ok(BTreeMap::new());
    }
    let sql = "SELECT k.schema_name, k.table_name, coalesce(a.user_view_schema, h.schema_name), coalesce(a.user_view_name, h.table_name), \
                 h.compression_state = 2 \
               FROM _timescaledb_catalog.chunk k JOIN _timescaledb_catalog.hypertable h ON h.id = k.hypertable_id \
               LEFT JOIN _timescaledb_catalog.continuous_agg a ON a.mat_hypertable_id = h.id \
               UNION ALL SELECT h.schema_name, h.table_name, a.user_view_schema, a.user_view_name, h.compression_state = 2 \
               FROM _timescaledb_catalog.hypertable h LEFT JOIN _timescaledb_catalog.continuous_agg a ON a.mat_hypertable_id = h.id \
               WHERE h.compression_state = 2 OR a.mat_hypertable_id IS NOT NULL";
    let rows = session.query("the chunks of hypertables", sql).await.map_err(|e| blame(&version, e))?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let mut fields = row.into_iter();
            let name = QualifiedName::new(fields.next()??, fields.next()??);
            let (schema, table) = (fields.next()?, fields.next()?);
            let inside = fields.next()??;
            let belongs = match (inside.as_str(), schema, table) {
                ("f", Some(schema), Some(table)) => Belongs::To(QualifiedName::new(schema, table)),
                _ => Belongs::Nobody,
            };
            Some((name, belongs))
        })
        .collect())
}

/// Reads everything into [`Catalog::timescale`], and removes chunks, inner hypertables and inner views.
///
/// # Errors
/// [`Error::Refused`] for a version that nobody has tried and whose own tables have another form.
pub(super) async fn read(client: &Client, catalog: &mut Catalog) -> Result<(), Error> {
    let version = catalog.extensions.iter().find(|extension| extension.meta.name == NAME);
    let version = version.map(|extension| extension.version.clone()).unwrap_or_default();
    read_all(client, catalog).await.map_err(|error| blame(&version, error))
}

/// What fails in a version that nobody has tried fails because of it.
fn blame(version: &str, error: Error) -> Error {
    match (untried(version), &error) {
        (Some(why), Error::Server { .. }) if !error.is_lost() => Error::Refused {
            what: format!("extension {NAME} cannot be read"),
            conflicts: vec![why, error.to_string()],
        },
        _ => error,
    }
}

async fn read_all(client: &Client, catalog: &mut Catalog) -> Result<(), Error> {
    let Some(extension) = catalog.extensions.iter_mut().find(|extension| extension.meta.name == NAME) else {
        return Ok(());
    };
    // Its configuration tables are the very ones that have another form in each version.
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
    }
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
    for row in aggregates(client, &functions).await? {
        inner.extend([row.direct_oid, row.partial_oid]);
        // Its query needs what the inner view with that query needs.
        catalog.aliases.push(Alias {
            class: class::CLASS,
            oid: row.direct_oid,
            of_class: class::CLASS,
            of_oid: row.oid,
        });
        if !row.finalized {
            catalog.unsupported.push(unsupported(
                "continuous aggregate",
                &row.name.to_string(),
                "it has the form from before TimescaleDB 2.7: convert it first (CALL cagg_migrate)",
            ));
        }
        if row.pending {
            found.warnings.push(format!(
                "continuous aggregate {}: rows below its watermark were changed and not refreshed since; it is copied as it \
                 is, and the target will not know of these changes: refresh it at the source first, or at the target with force",
                row.name
            ));
        }
        let Some(materialized) = by_id.remove(&row.id) else { continue };
        attach(catalog, &row, &materialized);
        found.aggregates.push(row.aggregate(materialized));
    }
    found.hypertables = by_id.into_values().filter(|table| !inner.contains(&table.oid)).collect();
    found.hypertables.sort_by(|a, b| a.name.cmp(&b.name));
    for job in jobs(client).await? {
        if super::statements::known(&job) {
            found.jobs.push(job);
        } else {
            let name = format!("{} ({})", job.id, job.title);
            let why = format!("{} is a policy that is not known here", job.procedure);
            catalog.unsupported.push(unsupported("job", &name, &why));
        }
    }
    remove(catalog, &inner);
    let orphans = catalog.tables.iter().filter(|table| {
        table.meta.schema == "_timescaledb_internal" && table.meta.extension.is_none() && table.has_data()
    });
    let why = "it looks like a chunk and belongs to no hypertable: an earlier restore may have left its rows behind";
    let orphans: Vec<Unsupported> =
        orphans.map(|table| unsupported("table", &table.name().to_string(), why)).collect();
    catalog.unsupported.extend(orphans);
    catalog.timescale = Some(found);
    Ok(())
}

fn unsupported(kind: &str, name: &str, why: &str) -> Unsupported {
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
    /// Holds compressed rows of another one.
    inner: bool,
    /// Holds the rows of an aggregate.
    materialized: bool,
    distributed: bool,
}

impl TableRow {
    fn unsupported(&self) -> Option<Unsupported> {
        let why = "it is distributed over several nodes, which no version since 2.14 knows";
        self.distributed.then(|| unsupported("hypertable", &self.table.name.to_string(), why))
    }
}

async fn hypertables(client: &Client) -> Result<Vec<TableRow>, Error> {
    let sql = "SELECT h.id, c.oid::int8 AS oid, h.schema_name AS schema, h.table_name AS name, h.compression_state = 2 AS inner, \
               EXISTS (SELECT FROM _timescaledb_catalog.continuous_agg a WHERE a.mat_hypertable_id = h.id) AS materialized, \
               to_jsonb(h) ->> 'replication_factor' IS NOT NULL AS distributed, \
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

/// Gives each hypertable its chunks; notes all tables of chunks as inner ones.
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
    let functions = ident(functions);
    let sql = format!(
        "SELECT k.hypertable_id AS table, c.oid::int8 AS oid, k.schema_name AS schema, k.table_name AS name, \
         h.compression_state = 2 AS inner, k.osm_chunk OR c.relkind <> 'r' AS tiered, k.status & 1 = 1 AS compressed, \
         pg_table_size(c.oid) + coalesce((SELECT pg_table_size(x.oid) FROM _timescaledb_catalog.chunk i \
           JOIN pg_namespace y ON y.nspname = i.schema_name JOIN pg_class x ON x.relnamespace = y.oid AND x.relname = i.table_name \
           WHERE i.id = k.compressed_chunk_id), 0) AS bytes, \
         CASE WHEN h.compression_state = 2 OR c.relkind <> 'r' THEN '{{}}'::jsonb ELSE \
           (SELECT s.slices FROM {functions}.show_chunk(c.oid::regclass) s) END AS slices \
         FROM _timescaledb_catalog.chunk k JOIN _timescaledb_catalog.hypertable h ON h.id = k.hypertable_id \
         JOIN pg_namespace n ON n.nspname = k.schema_name JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = k.table_name \
         ORDER BY k.id"
    );
    for row in rows::<Row>(client, "chunks", &sql).await? {
        inner.insert(row.chunk.oid);
        if row.tiered && !row.inner {
            let why = "it is a chunk that lies in another storage";
            unsupported_.push(unsupported("table", &row.chunk.name.to_string(), why));
        } else if let Some(table) = tables.get_mut(&row.table).filter(|_| !row.inner) {
            table.chunks.push(row.chunk);
        }
    }
    Ok(())
}

/// Completes the compression of the hypertables that have it.
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

#[derive(Deserialize)]
struct AggregateRow {
    id: i32,
    oid: u32,
    #[serde(flatten)]
    name: QualifiedName,
    #[serde(deserialize_with = "crate::catalog::deparsed::text")]
    definition: String,
    direct_oid: u32,
    partial_oid: u32,
    materialized_only: bool,
    finalized: bool,
    pending: bool,
    columns: Vec<String>,
    watermark: Option<String>,
}

impl AggregateRow {
    fn aggregate(self, materialized: Hypertable) -> Aggregate {
        Aggregate {
            oid: self.oid,
            name: self.name,
            definition: self.definition,
            materialized_only: self.materialized_only,
            materialized,
            columns: self.columns,
            watermark: self.watermark,
        }
    }
}

/// Continuous aggregates, each after those that it reads: they have higher numbers.
async fn aggregates(client: &Client, functions: &str) -> Result<Vec<AggregateRow>, Error> {
    let f = ident(functions);
    let definition = crate::catalog::deparsed::quoted("pg_get_viewdef(d.oid)");
    // The log of changes begins with one range from the beginning of time that was never refreshed; that one says
    // nothing. The smallest watermark says that there was no refresh at all.
    let sql = format!(
        "SELECT a.mat_hypertable_id AS id, v.oid::int8 AS oid, a.user_view_schema AS schema, a.user_view_name AS name, \
         {definition} AS definition, d.oid::int8 AS direct_oid, p.oid::int8 AS partial_oid, a.materialized_only, \
         coalesce((to_jsonb(a) ->> 'finalized')::bool, true) AS finalized, \
         EXISTS (SELECT FROM _timescaledb_catalog.continuous_aggs_materialization_invalidation_log l \
           WHERE l.materialization_id = a.mat_hypertable_id AND l.lowest_modified_value > -210866803200000000 \
           AND l.greatest_modified_value < w.mark) \
         OR EXISTS (SELECT FROM _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log l \
           WHERE l.hypertable_id = a.raw_hypertable_id AND l.lowest_modified_value < w.mark) AS pending, \
         (SELECT json_agg(t.attname ORDER BY t.attnum) FROM pg_attribute t WHERE t.attrelid = m.oid AND t.attnum > 0 AND NOT t.attisdropped) AS columns, \
         CASE x.column_type \
           WHEN 'timestamptz'::regtype THEN CASE WHEN w.mark > -210866803200000000 THEN quote_literal({f}.to_timestamp(w.mark)) || '::timestamptz' END \
           WHEN 'timestamp'::regtype THEN CASE WHEN w.mark > -210866803200000000 THEN quote_literal({f}.to_timestamp_without_timezone(w.mark)) || '::timestamp' END \
           WHEN 'date'::regtype THEN CASE WHEN w.mark > -210866803200000000 THEN quote_literal({f}.to_date(w.mark)) || '::date' END \
           ELSE CASE WHEN w.mark > CASE x.column_type WHEN 'int2'::regtype THEN -32768 WHEN 'int4'::regtype THEN -2147483648 ELSE -9223372036854775808 END \
             THEN quote_literal(w.mark) || '::' || format_type(x.column_type, NULL) END END AS watermark \
         FROM _timescaledb_catalog.continuous_agg a \
         JOIN _timescaledb_catalog.hypertable h ON h.id = a.mat_hypertable_id \
         JOIN pg_class m ON m.relname = h.table_name AND m.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = h.schema_name) \
         JOIN pg_class v ON v.relname = a.user_view_name AND v.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = a.user_view_schema) \
         JOIN pg_class d ON d.relname = a.direct_view_name AND d.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = a.direct_view_schema) \
         JOIN pg_class p ON p.relname = a.partial_view_name AND p.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = a.partial_view_schema) \
         CROSS JOIN LATERAL (SELECT {f}.cagg_watermark(a.mat_hypertable_id) AS mark) w \
         CROSS JOIN LATERAL (SELECT i.column_type FROM _timescaledb_catalog.dimension i WHERE i.hypertable_id = h.id ORDER BY i.id LIMIT 1) x \
         ORDER BY a.mat_hypertable_id"
    );
    rows(client, "continuous aggregates", &sql).await
}

/// Puts an aggregate where its hypertable stood: its indexes are made on the view.
fn attach(catalog: &mut Catalog, row: &AggregateRow, materialized: &Hypertable) {
    if let Some(view) = catalog.tables.iter_mut().find(|table| table.meta.oid == row.oid) {
        view.definition = Some(row.definition.clone());
    }
    let own_name = format!("{}_", materialized.name.name);
    let time = materialized.dimensions.first().map(|dimension| dimension.column.as_str());
    catalog.indexes.retain(|index| {
        // The extension makes an index on time by itself, whatever it is told.
        let on_time = index.columns.len() == 1 && index.columns.first().map(Option::as_deref) == Some(time);
        !(index.table_oid == materialized.oid && on_time && index.meta.name.starts_with(&own_name))
    });
    for index in catalog.indexes.iter_mut().filter(|index| index.table_oid == materialized.oid) {
        let on = format!(" ON {} ", materialized.name);
        let begin = match index.meta.name.starts_with(&own_name) {
            // A name that the extension made out of its own number for the table; the target makes another.
            true => "CREATE INDEX".to_owned(),
            false => format!("CREATE INDEX {}", ident(&index.meta.name)),
        };
        if let Some((_, rest)) = index.definition.split_once(&on) {
            index.definition = format!("{begin} ON {} {rest}", row.name);
        }
        if index.meta.name.starts_with(&own_name) {
            index.meta.name = format!("{} of {}", index.meta.name.replacen(&own_name, "", 1), row.name.name);
        }
        index.table_oid = row.oid;
        index.table = row.name.clone();
    }
}

/// Policies and jobs that are not the extension's own.
async fn jobs(client: &Client) -> Result<Vec<Job>, Error> {
    #[derive(Deserialize)]
    struct Place {
        schema: String,
    }
    // Their table moved in 2.25.
    let place = "SELECT n.nspname AS schema FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE c.relname = 'bgw_job' AND n.nspname IN ('_timescaledb_catalog', '_timescaledb_config')";
    let Some(place) = rows::<Place>(client, "TimescaleDB's jobs", place).await?.into_iter().next() else {
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
        ident(&place.schema)
    );
    rows(client, "TimescaleDB's jobs", &sql).await
}

/// Takes relations out of the catalog, with everything on them. Edges and comments of what is gone find no object.
fn remove(catalog: &mut Catalog, gone: &HashSet<u32>) {
    // Older versions hang triggers of their own on the user's tables.
    let means = |name: &str| matches!(name, "ts_insert_blocker" | "ts_cagg_invalidation_trigger");
    catalog.tables.retain(|table: &Table| !gone.contains(&table.meta.oid));
    catalog.indexes.retain(|index| !gone.contains(&index.table_oid));
    catalog.foreign_keys.retain(|key| !gone.contains(&key.table_oid) && !gone.contains(&key.references_oid));
    catalog.triggers.retain(|trigger| !gone.contains(&trigger.table_oid) && !means(&trigger.name));
    catalog.rules.retain(|rule| !gone.contains(&rule.table_oid));
    catalog.policies.retain(|policy| !gone.contains(&policy.table_oid));
}
