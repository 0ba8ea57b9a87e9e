//! Tables of all kinds, views and materialized views: entries of `pg_class` with columns.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::address::class;
use super::column::{self, Check, Column};
use super::deparsed::{quoted, type_name};
use super::meta::{Meta, MetaColumns, QualifiedName, in_user_schema, object};
use super::query::rows;
use crate::error::Error;

/// A table, view, materialized view or foreign table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Identity, owner and privileges.
    #[serde(flatten)]
    pub meta: Meta,
    /// The kind.
    pub kind: TableKind,
    /// Whether it is logged.
    pub persistence: Persistence,
    /// The table access method, if the kind has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_method: Option<String>,
    /// The tablespace, if it is not the database's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tablespace: Option<String>,
    /// The composite type of a typed table (`OF type`), formatted.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "super::deparsed::optional"
    )]
    pub of_type: Option<String>,
    /// Storage parameters, as `name=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Storage parameters of the TOAST table, as `name=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub toast_options: Vec<String>,
    /// `ENABLE ROW LEVEL SECURITY`.
    #[serde(default)]
    pub row_security: bool,
    /// `FORCE ROW LEVEL SECURITY`.
    #[serde(default)]
    pub force_row_security: bool,
    /// `REPLICA IDENTITY`.
    pub replica_identity: ReplicaIdentity,
    /// The tables it inherits from, in order, or the one it is a partition of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<Parent>,
    /// `FOR VALUES …` or `DEFAULT` of a partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_bound: Option<String>,
    /// `RANGE (…)`, `LIST (…)` or `HASH (…)` of a partitioned table.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "super::deparsed::optional"
    )]
    pub partition_key: Option<String>,
    /// The query of a view or materialized view, as the server deparses it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "super::deparsed::optional"
    )]
    pub definition: Option<String>,
    /// Whether a materialized view is populated.
    #[serde(default)]
    pub populated: bool,
    /// The server of a foreign table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The options of a foreign table, as `name=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign_options: Vec<String>,
    /// Estimated size in pages (`relpages`).
    #[serde(default)]
    pub pages: i64,
    /// Estimated number of rows (`reltuples`), -1 if unknown.
    #[serde(default)]
    pub row_estimate: f64,
    /// Size of the heap and its TOAST table in bytes, 0 if unknown.
    #[serde(default)]
    pub bytes: i64,
    /// Columns in order, without dropped ones.
    #[serde(default)]
    pub columns: Vec<Column>,
    /// CHECK constraints, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
}
object!(Table, class::CLASS);

impl Table {
    /// Schema and name.
    pub fn name(&self) -> QualifiedName {
        QualifiedName::new(&self.meta.schema, &self.meta.name)
    }

    /// Whether it is a partition of another table.
    pub fn is_partition(&self) -> bool {
        self.partition_bound.is_some()
    }

    /// Whether the relation itself stores rows to copy. Partitioned tables, views and foreign tables store none; a
    /// materialized view is refreshed from its query.
    pub fn has_data(&self) -> bool {
        self.kind == TableKind::Ordinary
    }

    /// The columns that COPY reads and writes: all except generated ones.
    pub fn copy_columns(&self) -> Vec<&Column> {
        self.columns.iter().filter(|column| column.generated.is_none()).collect()
    }

    /// The columns that `CREATE TABLE` prints: all of a partition, which is created alone and attached afterwards; of
    /// an inheriting table, only the local ones.
    pub fn prints(&self, column: &Column) -> bool {
        column.local || self.is_partition()
    }
}

/// `pg_class.relkind` of tables and views.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TableKind {
    /// An ordinary table, or a partition.
    #[serde(alias = "r")]
    Ordinary,
    /// A partitioned table, which stores no rows itself.
    #[serde(alias = "p")]
    Partitioned,
    /// A view.
    #[serde(alias = "v")]
    View,
    /// A materialized view.
    #[serde(alias = "m")]
    MaterializedView,
    /// A foreign table.
    #[serde(alias = "f")]
    Foreign,
}

impl TableKind {
    /// The keyword in SQL.
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Ordinary | Self::Partitioned => "TABLE",
            Self::View => "VIEW",
            Self::MaterializedView => "MATERIALIZED VIEW",
            Self::Foreign => "FOREIGN TABLE",
        }
    }
}

/// `pg_class.relpersistence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Persistence {
    /// Logged.
    #[serde(alias = "p")]
    Permanent,
    /// Unlogged: empty after a crash.
    #[serde(alias = "u")]
    Unlogged,
}

/// `pg_class.relreplident`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplicaIdentity {
    /// The primary key.
    #[serde(alias = "d")]
    Default,
    /// Nothing.
    #[serde(alias = "n")]
    Nothing,
    /// The whole row.
    #[serde(alias = "f")]
    Full,
    /// `USING INDEX`; the index has the mark.
    #[serde(alias = "i")]
    Index,
}

/// A table that another one inherits from, or is a partition of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// OID of the parent.
    pub oid: u32,
    /// Schema and name of the parent.
    #[serde(flatten)]
    pub name: QualifiedName,
}

/// Tables and views in user schemas, with columns, defaults and checks; also the columns of composite types.
pub(super) async fn read(
    client: &Client,
    version: u32,
) -> Result<(Vec<Table>, Vec<column::ColumnRow>), Error> {
    let meta = MetaColumns {
        catalog: "pg_class",
        alias: "c",
        name: "relname",
        schema: Some("relnamespace"),
        owner: Some("relowner"),
        acl: Some(("relacl", "'r'")),
    }
    .sql();
    let user = in_user_schema("c.relnamespace");
    let of_type = type_name("c.reloftype", "NULL");
    let key = quoted("pg_get_partkeydef(c.oid)");
    let definition = quoted("pg_get_viewdef(c.oid)");
    let sql = format!(
        "SELECT {meta}, c.relkind AS kind, c.relpersistence AS persistence, am.amname AS access_method, \
         ts.spcname AS tablespace, CASE WHEN c.reloftype <> 0 THEN {of_type} END AS of_type, \
         coalesce(c.reloptions, '{{}}') AS options, coalesce(tc.reloptions, '{{}}') AS toast_options, \
         c.relrowsecurity AS row_security, c.relforcerowsecurity AS force_row_security, \
         c.relreplident AS replica_identity, \
         coalesce((SELECT json_agg(json_build_object('oid', p.oid::int8, 'schema', pn.nspname, 'name', p.relname) ORDER BY i.inhseqno) \
           FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace pn ON pn.oid = p.relnamespace \
           WHERE i.inhrelid = c.oid), '[]') AS parents, \
         CASE WHEN c.relispartition THEN pg_get_expr(c.relpartbound, c.oid) END AS partition_bound, \
         CASE WHEN c.relkind = 'p' THEN {key} END AS partition_key, \
         CASE WHEN c.relkind IN ('v', 'm') THEN {definition} END AS definition, \
         c.relispopulated AS populated, fs.srvname AS server, coalesce(ft.ftoptions, '{{}}') AS foreign_options, \
         c.relpages AS pages, c.reltuples::float8 AS row_estimate, \
         CASE WHEN c.relkind = 'r' THEN coalesce(pg_table_size(c.oid), 0) ELSE 0 END AS bytes \
         FROM pg_class c LEFT JOIN pg_am am ON am.oid = c.relam \
         LEFT JOIN pg_tablespace ts ON ts.oid = c.reltablespace \
         LEFT JOIN pg_class tc ON tc.oid = c.reltoastrelid AND tc.relkind = 't' AND c.relkind <> 'p' \
         LEFT JOIN pg_foreign_table ft ON ft.ftrelid = c.oid LEFT JOIN pg_foreign_server fs ON fs.oid = ft.ftserver \
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't' AND {user} ORDER BY 3, 2"
    );
    let mut tables: Vec<Table> = rows(client, "tables", &sql).await?;
    let index: HashMap<u32, usize> =
        tables.iter().enumerate().map(|(i, table)| (table.meta.oid, i)).collect();
    let mut others = Vec::new();
    for row in column::read(client, version).await? {
        match index.get(&row.table_oid).and_then(|&i| tables.get_mut(i)) {
            Some(table) => table.columns.push(row.column),
            None => others.push(row),
        }
    }
    for row in column::read_checks(client, version).await? {
        if let Some(table) = index.get(&row.table_oid).and_then(|&i| tables.get_mut(i)) {
            table.checks.push(row.check);
        }
    }
    Ok((tables, others))
}
