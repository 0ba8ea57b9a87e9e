//! Large objects: what `pg_largeobject_metadata` says of them. Their bytes travel like the rows of a table.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::address::class;
use super::meta::{Meta, MetaColumns, QualifiedName, object};
use super::query::rows;
use crate::error::Error;

/// A large object. Its name is its OID, and stays the same at the target, for the rows of tables refer to it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LargeObject {
    /// Identity, owner and privileges.
    #[serde(flatten)]
    pub meta: Meta,
}
object!(LargeObject, class::LARGE_OBJECT);

/// The name under which the bytes of all large objects travel, as if they were the rows of a table: object, offset,
/// bytes.
pub fn large_objects_table() -> QualifiedName {
    QualifiedName::new("pg_catalog", "pg_largeobject")
}

/// Every large object of the database.
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
