//! Continuous aggregates: their queries, refreshed ranges, and the hypertables that store their rows.

use std::collections::HashMap;

use serde::Deserialize;
use tokio_postgres::Client;

use super::ranges::{self, Range};
use super::read::unsupported;
use super::statements::{first_of, is_time};
use crate::catalog::address::{Alias, class};
use crate::catalog::query::rows;
use crate::catalog::{Catalog, QualifiedName};
use crate::error::Error;
use crate::quote::{ident, literal};
use crate::timescaledb::model::{Aggregate, Hypertable, Timescale};

/// Reads all continuous aggregates into `found`, and removes their materialization hypertables from `tables`.
///
/// Returns the OIDs of the internal views that the extension created for them.
pub(super) async fn read(
    client: &Client,
    functions: &str,
    catalog: &mut Catalog,
    found: &mut Timescale,
    tables: &mut HashMap<i32, Hypertable>,
) -> Result<Vec<u32>, Error> {
    let mut inner = Vec::new();
    // Time ranges of each hypertable that still have raw rows.
    let raw: HashMap<i32, Vec<Range>> = tables.iter().map(|(id, table)| (*id, times(table))).collect();
    for row in aggregates(client, functions).await? {
        inner.extend([row.direct_oid, row.partial_oid]);
        // The aggregate depends on everything that the internal view with its query depends on.
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
        let Some(materialized) = tables.remove(&row.id) else { continue };
        attach(catalog, &row, &materialized);
        let changed = in_buckets(client, functions, &found.schema, &row, &materialized).await?;
        // A range from the beginning of time is not recorded consistently: some refreshes leave it, and some do not.
        let kind = materialized.dimensions.first().map_or("", |d| d.column_type.as_str());
        let all = row.invalid.iter().chain(&changed).copied();
        let stale = row.stale(kind, &changed);
        let invalid = ranges::merged(all.filter(|(_, to)| *to >= first_of(kind)).collect());
        let aggregate = row.aggregate(materialized, invalid);
        let chunks = raw.get(&row.raw).map_or(&[][..], Vec::as_slice);
        found.warnings.extend(ranges::pending_warning(&aggregate, &ranges::overlap(&stale, chunks)));
        found.aggregates.push(aggregate);
    }
    Ok(inner)
}

/// The ranges of a hypertable's chunks in its first dimension.
fn times(table: &Hypertable) -> Vec<Range> {
    let Some(first) = table.dimensions.first() else { return Vec::new() };
    let range = |(from, to): &(i64, i64)| (*from, to.saturating_sub(1));
    let chunks = table.chunks.iter().filter_map(|chunk| chunk.slices.get(&first.column).map(range));
    ranges::merged(chunks.collect())
}

/// Expands changed ranges to whole buckets, as a refresh does when it moves invalidations from the hypertable to an
/// aggregate, so that the target records the same. If the buckets cannot be computed, the ranges are unchanged: a
/// refresh only processes whole buckets anyway.
async fn in_buckets(
    client: &Client,
    functions: &str,
    schema: &str,
    row: &AggregateRow,
    materialized: &Hypertable,
) -> Result<Vec<Range>, Error> {
    #[derive(Deserialize)]
    struct Row {
        range: Range,
    }
    let text = |name: &str| Some(row.bucket.as_ref()?.get(name)?.as_str()?.to_owned());
    let kind = materialized.dimensions.first().map_or("", |d| d.column_type.as_str());
    let Some(width) = text("bucket_width").filter(|_| !row.changed.is_empty()) else {
        return Ok(row.changed.clone());
    };
    if !is_time(kind) {
        let offset = text("bucket_offset").and_then(|offset| offset.parse().ok()).unwrap_or(0);
        let width = width.parse().unwrap_or(1);
        return Ok(row.changed.iter().map(|range| whole_numbers(*range, width, offset)).collect());
    }
    if !text("bucket_func").is_some_and(|function| function.contains("time_bucket(")) {
        return Ok(row.changed.clone());
    }
    let (f, width) = (ident(functions), format!("{}::interval", literal(&width)));
    let mut arguments = String::new();
    let zone = text("bucket_timezone").filter(|zone| !zone.is_empty());
    for (name, value, kind) in [
        ("timezone", &zone, "text"),
        ("origin", &text("bucket_origin"), kind),
        ("\"offset\"", &text("bucket_offset"), "interval"),
    ] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            arguments += &format!(", {name} => {}::{kind}", literal(value));
        }
    }
    // The session's time zone is UTC, as is the extension's when it converts times to integers.
    let bucket = |value: &str| {
        format!("{}.time_bucket({width}, {f}.to_timestamp({value})::{kind}{arguments})", ident(schema))
    };
    let next = match &zone {
        Some(zone) => format!(
            "(({} AT TIME ZONE {zone}) + {width}) AT TIME ZONE {zone}",
            bucket("c.t"),
            zone = literal(zone)
        ),
        None => format!("({} + {width})", bucket("c.t")),
    };
    let values: Vec<String> =
        row.changed.iter().map(|(from, to)| format!("({from}::bigint, {to}::bigint)")).collect();
    let sql = format!(
        "SELECT json_build_array({f}.to_unix_microseconds({}::timestamptz), {f}.to_unix_microseconds(({next})::timestamptz) - 1) AS range \
         FROM (VALUES {}) c(f, t)",
        bucket("c.f"),
        values.join(", ")
    );
    // A time without a bucket is an error, which must not abort the snapshot's transaction.
    let what = |e| Error::from_server("the buckets of a continuous aggregate", "SAVEPOINT", e);
    client.batch_execute("SAVEPOINT buckets").await.map_err(what)?;
    match rows::<Row>(client, "buckets", &sql).await {
        Ok(found) => {
            client.batch_execute("RELEASE SAVEPOINT buckets").await.map_err(what)?;
            Ok(found.into_iter().map(|row| row.range).collect())
        }
        Err(error @ Error::Server { .. }) if !error.is_lost() => {
            client
                .batch_execute("ROLLBACK TO SAVEPOINT buckets; RELEASE SAVEPOINT buckets")
                .await
                .map_err(what)?;
            Ok(row.changed.clone())
        }
        Err(error) => Err(error),
    }
}

/// The whole buckets that an integer range overlaps.
fn whole_numbers((from, to): Range, width: i64, offset: i64) -> Range {
    let (width, offset) = (i128::from(width.max(1)), i128::from(offset));
    let floor = |value: i64| (i128::from(value) - offset).div_euclid(width) * width + offset;
    let fit = |value: i128| i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX });
    (fit(floor(from)), fit(floor(to) + width - 1))
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
    columns: Vec<String>,
    watermark: Option<String>,
    /// The same as an integer.
    mark: i64,
    /// Id of the hypertable that it reads.
    raw: i32,
    /// Its own invalidation log.
    invalid: Vec<Range>,
    /// Invalidations of the hypertable that have not been moved to its log yet.
    changed: Vec<Range>,
    /// Its bucket function, as stored by the extension.
    bucket: Option<serde_json::Value>,
}

impl AggregateRow {
    /// Ranges below the watermark that are not up to date. A range from the beginning of time, which most aggregates
    /// start with, does not count.
    fn stale(&self, kind: &str, changed: &[Range]) -> Vec<Range> {
        let known = self.invalid.iter().filter(|(from, _)| *from > first_of(kind)).chain(changed);
        let below = known.map(|(from, to)| (*from, (*to).min(self.mark.saturating_sub(1))));
        ranges::merged(below.collect())
    }

    fn aggregate(&self, materialized: Hypertable, invalid: Vec<Range>) -> Aggregate {
        Aggregate {
            oid: self.oid,
            name: self.name.clone(),
            definition: self.definition.clone(),
            materialized_only: self.materialized_only,
            materialized,
            columns: self.columns.clone(),
            watermark: self.watermark.clone(),
            invalid: Some(invalid),
        }
    }
}

/// Continuous aggregates, each after those that it reads: they have higher ids.
async fn aggregates(client: &Client, functions: &str) -> Result<Vec<AggregateRow>, Error> {
    let f = ident(functions);
    // From 2.19 on, ranges of a refresh in progress are stored separately.
    let begun = "SELECT 1 AS one FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = '_timescaledb_catalog' AND c.relname = 'continuous_aggs_materialization_ranges'";
    let begun = match rows::<serde_json::Value>(client, "TimescaleDB's tables", begun).await?.is_empty() {
        true => "",
        false => {
            "UNION ALL SELECT lowest_modified_value, greatest_modified_value \
             FROM _timescaledb_catalog.continuous_aggs_materialization_ranges WHERE materialization_id = a.mat_hypertable_id"
        }
    };
    let definition = crate::catalog::deparsed::quoted("pg_get_viewdef(d.oid)");
    // The smallest watermark means that it was never refreshed.
    let sql = format!(
        "SELECT a.mat_hypertable_id AS id, v.oid::int8 AS oid, a.user_view_schema AS schema, a.user_view_name AS name, \
         {definition} AS definition, d.oid::int8 AS direct_oid, p.oid::int8 AS partial_oid, a.materialized_only, \
         coalesce((to_jsonb(a) ->> 'finalized')::bool, true) AS finalized, \
         a.raw_hypertable_id AS raw, w.mark, \
         coalesce((SELECT json_agg(json_build_array(l.f, l.t)) FROM (SELECT lowest_modified_value, greatest_modified_value \
           FROM _timescaledb_catalog.continuous_aggs_materialization_invalidation_log WHERE materialization_id = a.mat_hypertable_id {begun}) l(f, t)), '[]') AS invalid, \
         coalesce((SELECT json_agg(json_build_array(l.lowest_modified_value, l.greatest_modified_value)) \
           FROM _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log l WHERE l.hypertable_id = a.raw_hypertable_id), '[]') AS changed, \
         (SELECT to_jsonb(b) FROM _timescaledb_catalog.continuous_aggs_bucket_function b WHERE b.mat_hypertable_id = a.mat_hypertable_id LIMIT 1) AS bucket, \
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

/// Replaces an aggregate's hypertable by its view: its indexes are created on the view.
fn attach(catalog: &mut Catalog, row: &AggregateRow, materialized: &Hypertable) {
    if let Some(view) = catalog.tables.iter_mut().find(|table| table.meta.oid == row.oid) {
        view.definition = Some(row.definition.clone());
    }
    let own_name = format!("{}_", materialized.name.name);
    let time = materialized.dimensions.first().map(|dimension| dimension.column.as_str());
    catalog.indexes.retain(|index| {
        // The extension always creates an index on time by itself.
        let on_time = index.columns.len() == 1 && index.columns.first().map(Option::as_deref) == Some(time);
        !(index.table_oid == materialized.oid && on_time && index.meta.name.starts_with(&own_name))
    });
    for index in catalog.indexes.iter_mut().filter(|index| index.table_oid == materialized.oid) {
        let on = format!(" ON {} ", materialized.name);
        let begin = match index.meta.name.starts_with(&own_name) {
            // The name contains the extension's id of the table, which differs at the target.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_numbers_are_widened_to_whole_buckets() {
        assert_eq!(whole_numbers((7, 21), 10, 0), (0, 29));
        assert_eq!(whole_numbers((-7, -7), 10, 3), (-7, 2));
        assert_eq!(whole_numbers((i64::MIN, i64::MAX), 10, 0), (i64::MIN, i64::MAX));
    }
}
