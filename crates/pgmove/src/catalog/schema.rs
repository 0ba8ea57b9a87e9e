//! Schemas and extensions.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::address::class;
use super::meta::{Meta, MetaColumns, QualifiedName, object};
use super::query::rows;
use crate::error::Error;

/// A schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// Identity, owner and privileges.
    #[serde(flatten)]
    pub meta: Meta,
}
object!(Schema, class::SCHEMA);

/// User schemas, including `public`.
pub(super) async fn read_schemas(client: &Client) -> Result<Vec<Schema>, Error> {
    let meta = MetaColumns {
        catalog: "pg_namespace",
        alias: "n",
        name: "nspname",
        schema: None,
        owner: Some("nspowner"),
        acl: Some(("nspacl", "'n'")),
    }
    .sql();
    rows(
        client,
        "schemas",
        &format!(
            "SELECT {meta} FROM pg_namespace n WHERE nspname <> 'information_schema' AND nspname !~ '^pg_' ORDER BY nspname"
        ),
    )
    .await
}

/// An extension with its version at the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Identity and owner.
    #[serde(flatten)]
    pub meta: Meta,
    /// Version installed.
    pub version: String,
    /// The schema that holds its objects.
    pub target_schema: String,
    /// Whether it is relocatable.
    pub relocatable: bool,
    /// Its configuration tables (`pg_extension_config_dump`).
    pub config_tables: Vec<ConfigTable>,
}
object!(Extension, class::EXTENSION);

/// A table of an extension that contains user rows, which are copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigTable {
    /// OID of the table or sequence at the source.
    pub oid: u32,
    /// The table.
    pub table: QualifiedName,
    /// The `WHERE …` clause that selects user rows; empty for all rows.
    #[serde(default)]
    pub condition: String,
}

/// Extensions that were created by users; those of initdb (plpgsql) exist everywhere.
pub(super) async fn read_extensions(client: &Client) -> Result<Vec<Extension>, Error> {
    let meta = MetaColumns {
        catalog: "pg_extension",
        alias: "e",
        name: "extname",
        schema: None,
        owner: Some("extowner"),
        acl: None,
    }
    .sql();
    rows(
        client,
        "extensions",
        &format!(
            "SELECT {meta}, extversion AS version, extrelocatable AS relocatable, \
             (SELECT nspname FROM pg_namespace n WHERE n.oid = e.extnamespace) AS target_schema, \
             coalesce((SELECT json_agg(json_build_object('oid', t.oid::int8, \
                 'table', json_build_object('schema', n.nspname, 'name', c.relname), \
                 'condition', coalesce(e.extcondition[t.i], '')) ORDER BY t.i) \
               FROM unnest(e.extconfig) WITH ORDINALITY t(oid, i) \
               JOIN pg_class c ON c.oid = t.oid JOIN pg_namespace n ON n.oid = c.relnamespace), '[]') AS config_tables \
             FROM pg_extension e WHERE e.oid >= {first} ORDER BY extname",
            first = super::meta::FIRST_NORMAL_OID
        ),
    )
    .await
}
