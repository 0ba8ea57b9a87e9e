//! Reads a target's catalog back in a transaction of its own.

use crate::Error;
use crate::catalog::{self, Catalog, Filter};
use crate::connect::Session;
use crate::quote::literal;

/// The catalog of the target as it is now.
pub(super) async fn read_catalog(session: &Session, filter: &Filter) -> Result<Catalog, Error> {
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = ''";
    session.execute("reading the schema back", begin).await?;
    let here = catalog::read(session.client(), session.server().version_num, filter).await?;
    session.execute("reading the schema back", "COMMIT").await?;
    Ok(here)
}

/// The same on two sessions at once, with the same snapshot.
pub(super) async fn read_catalog_on_two(
    session: &Session,
    other: &Session,
    filter: &Filter,
) -> Result<Catalog, Error> {
    let object = "reading the schema back";
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = ''";
    session.execute(object, begin).await?;
    let snapshot = session.value(object, "SELECT pg_catalog.pg_export_snapshot()").await?.unwrap_or_default();
    let import = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}; SET LOCAL search_path = ''",
        literal(&snapshot)
    );
    other.execute(object, &import).await?;
    let clients = [session.client(), other.client()];
    let here = catalog::read_on_two(clients, session.server().version_num, filter).await?;
    futures::try_join!(session.execute(object, "COMMIT"), other.execute(object, "COMMIT"))?;
    Ok(here)
}
