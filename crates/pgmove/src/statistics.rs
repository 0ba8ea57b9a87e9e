//! The planner's statistics of tables, as exported and imported by servers from PostgreSQL 18 on.
//!
//! They describe values, which are the same on both sides. What describes the file (`relpages`, `relallvisible`,
//! `relallfrozen`) is the target's own: a table without dead rows is smaller than at its source, and frozen rows are all
//! visible.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::catalog::table::{Table, TableKind};
use crate::catalog::{Catalog, QualifiedName};
use crate::quote::literal;

/// The first version that imports statistics (`pg_restore_attribute_stats`).
pub(crate) const FIRST_VERSION: u32 = 180_000;

/// Maximum size of statistics in memory, in bytes; those of the largest tables come first.
const MAX_BYTES: u64 = 16 << 20;

/// The columns of `pg_stats` that hold statistics, with the type of the argument of `pg_restore_attribute_stats` of the
/// same name.
const VALUES: [(&str, &str); 14] = [
    ("null_frac", "real"),
    ("avg_width", "integer"),
    ("n_distinct", "real"),
    ("most_common_vals", "text"),
    ("most_common_freqs", "real[]"),
    ("histogram_bounds", "text"),
    ("correlation", "real"),
    ("most_common_elems", "text"),
    ("most_common_elem_freqs", "real[]"),
    ("elem_count_histogram", "real[]"),
    ("range_length_histogram", "text"),
    ("range_empty_frac", "real"),
    ("range_bounds_histogram", "text"),
    ("inherited", "boolean"),
];

/// The planner's statistics of the tables of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Statistics {
    /// `server_version_num` of the server that collected them.
    pub server_version_num: u32,
    /// Tables that have statistics of every column.
    pub tables: Vec<TableStatistics>,
}

/// The planner's statistics of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TableStatistics {
    /// The table, partitioned table or materialized view.
    pub table: QualifiedName,
    /// Estimated number of rows (`reltuples`), as the server writes it.
    pub rows: String,
    /// A JSON list with an object for each column, and for each expression of an index (`attnum` in place of
    /// `attname`): `relation`, and values under the names that they have in `pg_stats`. It is kept as text, so that
    /// numbers stay exact.
    pub columns: String,
}

impl Statistics {
    /// Retains those of tables that are selected with all their rows.
    pub(crate) fn selected(mut self, catalog: &Catalog) -> Statistics {
        let tables = by_name(catalog);
        self.tables.retain(|one| tables.get(&one.table).is_some_and(|table| is_whole(catalog, table)));
        self
    }
}

/// The tables of a catalog by their names.
pub(crate) fn by_name(catalog: &Catalog) -> HashMap<QualifiedName, &Table> {
    catalog.tables.iter().map(|table| (table.name(), table)).collect()
}

/// Whether all rows of a table are selected. A partitioned table and a materialized view consist of others' rows.
pub(crate) fn is_whole(catalog: &Catalog, table: &Table) -> bool {
    let name = table.name();
    let own = table.meta.extension.is_none();
    match table.kind {
        TableKind::Ordinary => {
            own && catalog.filter.wants_rows(&name) && catalog.filter.condition(&name).is_none()
        }
        TableKind::Partitioned | TableKind::MaterializedView => own && catalog.filter.is_all(),
        TableKind::View | TableKind::Foreign => false,
    }
}

/// A query for schema, name, `reltuples` and [`TableStatistics::columns`] of each table whose statistics are complete:
/// those of every column and of every expression of an index. Extended statistics cannot be imported, so that tables
/// with them are left out.
pub(crate) fn query() -> String {
    let text = |(name, kind): &(&str, &str)| match *kind {
        "text" => format!("s.{name}::text"),
        _ => format!("s.{name}"),
    };
    let values: Vec<String> = VALUES.iter().map(text).collect();
    format!(
        "WITH relations AS ( \
           SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpages, c.reltuples \
           FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
           WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't' AND c.reltuples > 0 \
           AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' \
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_statistic_ext e WHERE e.stxrelid = c.oid) \
         ), wanted AS ( \
           SELECT r.oid, r.nspname, r.relname AS relation, a.attname, NULL::int2 AS attnum, a.attname AS name, \
             r.relkind = 'p' AS inherited \
           FROM relations r JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid \
           WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> 'v' AND a.attstattarget IS DISTINCT FROM 0 \
           UNION ALL \
           SELECT r.oid, r.nspname, x.relname, NULL, a.attnum, a.attname, false \
           FROM relations r JOIN pg_catalog.pg_index i ON i.indrelid = r.oid \
           JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid JOIN pg_catalog.pg_attribute a ON a.attrelid = x.oid \
           WHERE r.relkind <> 'p' AND i.indexprs IS NOT NULL AND a.attnum <= i.indnkeyatts \
           AND i.indkey[a.attnum - 1] = 0 AND a.attstattarget IS DISTINCT FROM 0 \
         ), found AS ( \
           SELECT w.oid, s.inherited IS NOT NULL AS present, pg_catalog.row_to_json((SELECT one FROM ( \
             SELECT w.relation, w.attname, w.attnum, {}) one)) AS columns \
           FROM wanted w LEFT JOIN pg_catalog.pg_stats s ON s.schemaname = w.nspname AND s.tablename = w.relation \
             AND s.attname = w.name AND s.inherited = w.inherited \
         ), tables AS ( \
           SELECT oid, pg_catalog.json_agg(pg_catalog.json_strip_nulls(columns))::text AS columns \
           FROM found GROUP BY oid HAVING pg_catalog.bool_and(present) \
         ), measured AS ( \
           SELECT r.nspname, r.relname, r.reltuples, t.columns, \
             pg_catalog.sum(pg_catalog.octet_length(t.columns)) OVER (ORDER BY r.relpages DESC, r.oid) AS total \
           FROM tables t JOIN relations r USING (oid) \
         ) SELECT nspname, relname, reltuples, columns FROM measured WHERE total <= {MAX_BYTES} ORDER BY nspname, relname",
        values.join(", ")
    )
}

impl TableStatistics {
    /// From a row of [`query`].
    pub(crate) fn of(row: Vec<Option<String>>) -> Option<TableStatistics> {
        let mut fields = row.into_iter().flatten();
        let (schema, name, rows, columns) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        Some(TableStatistics { table: QualifiedName::new(&schema, &name), rows, columns })
    }

    /// A query that imports them and returns one row: true if the server accepted everything. If the target has
    /// counted the rows itself, in an index build, its number is kept.
    pub(crate) fn import(&self, version: u32) -> String {
        let (schema, name) = (literal(&self.table.schema), literal(&self.table.name));
        let columns: Vec<String> = VALUES.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
        let arguments: Vec<String> = VALUES.iter().map(|(name, _)| format!("'{name}', s.{name}")).collect();
        let same = format!("'version', {version}::integer, 'schemaname', {schema}");
        format!(
            "SELECT pg_catalog.bool_and(taken) FROM ( \
             SELECT pg_catalog.pg_restore_relation_stats({same}, 'relname', {name}, \
               'relpages', CASE c.relkind WHEN 'p' THEN -1 ELSE (pg_catalog.pg_relation_size(c.oid) \
                 / pg_catalog.current_setting('block_size')::bigint)::integer END, \
               'reltuples', CASE WHEN c.reltuples >= 0 THEN c.reltuples ELSE {}::real END) AS taken \
             FROM pg_catalog.pg_class c WHERE c.oid = {}::pg_catalog.regclass \
             UNION ALL SELECT pg_catalog.pg_restore_attribute_stats({same}, 'relname', s.relation, 'attname', s.attname, \
               'attnum', s.attnum, {}) FROM pg_catalog.json_to_recordset({}) \
               AS s(relation text, attname text, attnum smallint, {})) AS done",
            literal(&self.rows),
            literal(&self.table.to_string()),
            arguments.join(", "),
            literal(&self.columns),
            columns.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_quoted() {
        let one = TableStatistics {
            table: QualifiedName::new("s", "it's \\ \"t\""),
            rows: "1e+06".to_owned(),
            columns: r#"[{"relation":"t","most_common_vals":"{\"a'b\\\\c\"}"}]"#.to_owned(),
        };
        let sql = one.import(180_006);
        assert!(
            sql.contains("'version', 180006::integer, 'schemaname', 's', 'relname', E'it''s \\\\ \"t\"'"),
            "{sql}"
        );
        assert!(sql.contains(r"a''b\\\\\\\\c"), "{sql}");
        assert!(sql.contains("'attnum', s.attnum, 'null_frac', s.null_frac"), "{sql}");
        assert!(!sql.contains(';'), "{sql}");
    }

    #[test]
    fn what_was_stored_is_read_again() {
        let stored = r#"{"server-version-num":180006,"tables":[{"table":{"schema":"public","name":"t"},"rows":"3","columns":"[]","later":1}]}"#;
        let read: Statistics = serde_json::from_str(stored).unwrap();
        assert_eq!(read.tables[0].table, QualifiedName::new("public", "t"));
        assert_eq!(serde_json::from_str::<Statistics>("{}").unwrap(), Statistics::default());
    }
}
