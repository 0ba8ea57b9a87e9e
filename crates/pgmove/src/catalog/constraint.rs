//! Constraints: those backed by an index, and foreign keys. Checks of domains are in `types`.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::deparsed::quoted;
use super::meta::{QualifiedName, in_user_schema};
use super::query::rows;
use crate::error::Error;

/// A primary key, unique or exclusion constraint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexConstraint {
    /// OID in `pg_constraint`.
    pub oid: u32,
    /// Its name, which may differ from the index's.
    pub name: String,
    /// Primary key, unique or exclusion constraint.
    pub kind: IndexConstraintKind,
    /// `DEFERRABLE`
    #[serde(default)]
    pub deferrable: bool,
    /// `INITIALLY DEFERRED`
    #[serde(default)]
    pub deferred: bool,
    /// `WITHOUT OVERLAPS` on the last key column (18 and newer).
    #[serde(default)]
    pub period: bool,
    /// The deparsed text of an exclusion constraint.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "super::deparsed::optional"
    )]
    pub definition: Option<String>,
}

/// `pg_constraint.contype` of constraints backed by an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IndexConstraintKind {
    /// `PRIMARY KEY`
    #[serde(alias = "p")]
    PrimaryKey,
    /// `UNIQUE`
    #[serde(alias = "u")]
    Unique,
    /// `EXCLUDE`
    #[serde(alias = "x")]
    Exclusion,
}

/// A foreign key. Those that partitions inherit from their parent are not listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKey {
    /// OID in `pg_constraint`.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// OID of the referencing table.
    pub table_oid: u32,
    /// The referencing table.
    pub table: QualifiedName,
    /// Whether the referencing table is partitioned.
    pub partitioned: bool,
    /// OID of the referenced table.
    pub references_oid: u32,
    /// The referenced table.
    pub references: QualifiedName,
    /// OID of the referenced index.
    pub index_oid: u32,
    /// `FOREIGN KEY (…) REFERENCES …`, deparsed.
    #[serde(deserialize_with = "super::deparsed::text")]
    pub definition: String,
    /// Whether it is validated.
    pub validated: bool,
}

/// The foreign keys of user tables.
pub(super) async fn read_foreign_keys(client: &Client) -> Result<Vec<ForeignKey>, Error> {
    let user = in_user_schema("k.connamespace");
    let definition = quoted("pg_get_constraintdef(k.oid)");
    rows(
        client,
        "foreign keys",
        &format!(
            "SELECT k.oid::int8 AS oid, k.conname AS name, k.conrelid::int8 AS table_oid, \
             json_build_object('schema', n.nspname, 'name', c.relname) AS table, c.relkind = 'p' AS partitioned, \
             k.confrelid::int8 AS references_oid, json_build_object('schema', rn.nspname, 'name', r.relname) AS references, \
             k.conindid::int8 AS index_oid, {definition} AS definition, k.convalidated AS validated \
             FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_class r ON r.oid = k.confrelid JOIN pg_namespace rn ON rn.oid = r.relnamespace \
             WHERE k.contype = 'f' AND k.conparentid = 0 AND c.relpersistence <> 't' AND {user} ORDER BY n.nspname, c.relname, k.conname"
        ),
    )
    .await
}
