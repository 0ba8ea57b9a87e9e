//! Indexes, and the constraints backed by them.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::address::class;
use super::constraint::IndexConstraint;
use super::deparsed::quoted;
use super::meta::{Meta, MetaColumns, QualifiedName, in_user_schema, object};
use super::query::rows;
use crate::error::Error;

/// An index. If it backs a constraint, the constraint creates it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// Identity; indexes have their table's owner and no privileges.
    #[serde(flatten)]
    pub meta: Meta,
    /// OID of its table.
    pub table_oid: u32,
    /// Its table.
    pub table: QualifiedName,
    /// `CREATE INDEX …`, deparsed.
    #[serde(deserialize_with = "super::deparsed::text")]
    pub definition: String,
    /// Whether it is valid. An index left behind by a failed `CREATE INDEX CONCURRENTLY` is not, nor is a partitioned
    /// index that is missing on some partitions.
    pub valid: bool,
    /// Whether its table is partitioned.
    #[serde(default)]
    pub partitioned: bool,
    /// The tablespace, if it is not the database's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tablespace: Option<String>,
    /// Storage parameters, as `name=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// `CLUSTER ON`.
    #[serde(default)]
    pub clustered: bool,
    /// `REPLICA IDENTITY USING INDEX`.
    #[serde(default)]
    pub replica_identity: bool,
    /// `UNIQUE NULLS NOT DISTINCT` (15 and newer).
    #[serde(default)]
    pub nulls_not_distinct: bool,
    /// The partitioned index that it is attached to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<super::table::Parent>,
    /// Names of the key columns, then of the included columns; `None` for expressions.
    pub columns: Vec<Option<String>>,
    /// How many of `columns` are key columns.
    pub key_columns: i32,
    /// Statistics targets of expression columns, by column number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statistics: Vec<(i32, i32)>,
    /// The primary key, unique or exclusion constraint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraint: Option<IndexConstraint>,
}
object!(Index, class::CLASS);

impl Index {
    /// Schema and name.
    pub fn name(&self) -> QualifiedName {
        QualifiedName::new(&self.meta.schema, &self.meta.name)
    }
}

/// The indexes of all tables in user schemas.
pub(super) async fn read(client: &Client, version: u32) -> Result<Vec<Index>, Error> {
    let meta = MetaColumns {
        catalog: "pg_class",
        alias: "c",
        name: "relname",
        schema: Some("relnamespace"),
        owner: None,
        acl: None,
    }
    .sql();
    let nulls = if version >= 150_000 { "i.indnullsnotdistinct" } else { "false" };
    let period = if version >= 180_000 { "k.conperiod" } else { "false" };
    let target = if version >= 170_000 { "a.attstattarget" } else { "nullif(a.attstattarget, -1)" };
    let user = in_user_schema("c.relnamespace");
    let definition = quoted("pg_get_indexdef(c.oid)");
    let exclusion = quoted("pg_get_constraintdef(k.oid)");
    rows(
        client,
        "indexes",
        &format!(
            "SELECT {meta}, t.oid::int8 AS table_oid, \
             json_build_object('schema', tn.nspname, 'name', t.relname) AS table, \
             {definition} AS definition, i.indisvalid AND i.indisready AS valid, t.relkind = 'p' AS partitioned, \
             ts.spcname AS tablespace, coalesce(c.reloptions, '{{}}') AS options, i.indisclustered AS clustered, \
             i.indisreplident AS replica_identity, {nulls} AS nulls_not_distinct, \
             (SELECT json_build_object('oid', p.oid::int8, 'schema', pn.nspname, 'name', p.relname) FROM pg_inherits h \
               JOIN pg_class p ON p.oid = h.inhparent JOIN pg_namespace pn ON pn.oid = p.relnamespace WHERE h.inhrelid = c.oid) AS parent, \
             (SELECT json_agg(ta.attname ORDER BY u.n) FROM unnest(i.indkey::int2[]) WITH ORDINALITY u(attnum, n) \
               LEFT JOIN pg_attribute ta ON ta.attrelid = i.indrelid AND ta.attnum = u.attnum AND u.attnum <> 0) AS columns, \
             i.indnkeyatts AS key_columns, \
             coalesce((SELECT json_agg(json_build_array(a.attnum, a.attstattarget) ORDER BY a.attnum) FROM pg_attribute a \
               WHERE a.attrelid = c.oid AND {target} IS NOT NULL), '[]') AS statistics, \
             CASE WHEN k.oid IS NOT NULL THEN json_build_object('oid', k.oid::int8, 'name', k.conname, 'kind', k.contype, \
               'deferrable', k.condeferrable, 'deferred', k.condeferred, 'period', {period}, \
               'definition', CASE WHEN k.contype = 'x' THEN {exclusion} END) END AS constraint \
             FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid \
             JOIN pg_namespace tn ON tn.oid = t.relnamespace \
             LEFT JOIN pg_tablespace ts ON ts.oid = c.reltablespace \
             LEFT JOIN pg_constraint k ON k.conindid = c.oid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x') \
             WHERE c.relpersistence <> 't' AND t.relkind IN ('r', 'p', 'm') AND {user} ORDER BY 3, 2"
        ),
    )
    .await
}
