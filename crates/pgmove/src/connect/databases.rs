//! The databases of a server.

use super::{ConnectOptions, connect};
use crate::Error;

/// The names of all databases that can be dumped: those that are not templates and allow connections.
///
/// The list is read in the database `postgres`, or in that of `options` if there is none.
///
/// # Errors
/// [`Error::Connect`] if the server cannot be reached or rejects the role.
pub async fn databases(options: &ConnectOptions) -> Result<Vec<String>, Error> {
    let session = match connect(&options.clone().with_database("postgres")).await {
        Err(error) if error.sqlstate() == Some("3D000") => connect(options).await?,
        other => other?,
    };
    let list =
        "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1";
    let rows = session.query("the list of databases", list).await?;
    Ok(rows.into_iter().flatten().flatten().collect())
}
