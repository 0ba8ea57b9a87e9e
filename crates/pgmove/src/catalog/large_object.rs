//! Large objects by `pg_largeobject_metadata`. Their data is transferred like the rows of a table.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::address::class;
use super::meta::{Meta, MetaColumns, QualifiedName, object};
use super::query::rows;
use crate::error::Error;

/// A large object. Its OID is its name and is kept at the target, because rows of tables refer to it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LargeObject {
    /// Identity, owner and privileges.
    #[serde(flatten)]
    pub meta: Meta,
}
object!(LargeObject, class::LARGE_OBJECT);

/// The pseudo-table in which the data of all large objects is transferred. Its columns are object, offset and bytes.
pub fn large_objects_table() -> QualifiedName {
    QualifiedName::new("pg_catalog", "pg_largeobject")
}

/// All large objects of the database.
pub(super) async fn read_large_objects(client: &Client) -> Result<Vec<LargeObject>, Error> {
    let meta = MetaColumns {
        catalog: "pg_largeobject",
        alias: "m",
        name: "oid",
        schema: None,
        owner: Some("lomowner"),
        acl: Some(("lomacl", "'L'")),
    }
    .sql();
    rows(client, "large objects", &format!("SELECT {meta} FROM pg_largeobject_metadata m ORDER BY m.oid"))
        .await
}
