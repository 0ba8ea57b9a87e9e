//! Reads a target's catalog back in a transaction of its own.

use crate::Error;
use crate::catalog::{self, Catalog, Filter};
use crate::connect::Session;

/// The catalog of the target as it is now.
pub(super) async fn read_catalog(session: &Session, filter: &Filter) -> Result<Catalog, Error> {
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = ''";
    session.execute("reading the schema back", begin).await?;
    let here = catalog::read(session.client(), session.server().version_num, filter).await?;
    session.execute("reading the schema back", "COMMIT").await?;
    Ok(here)
}
