//! Runs one query per kind: the server builds JSON rows, and serde deserializes them.
//!
//! The struct is thus the only description of a kind: its field names are the names of the select list. The statement
//! is unnamed, so that nothing remains in a pooled session.

use futures::TryStreamExt;
use serde::de::DeserializeOwned;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::error::Error;

/// Runs `sql` and deserializes each row as a `T`. `what` names the kind in errors.
pub(crate) async fn rows<T: DeserializeOwned>(
    client: &Client,
    what: &'static str,
    sql: &str,
) -> Result<Vec<T>, Error> {
    let wrapped = format!("SELECT row_to_json(q)::text FROM ({sql}) q");
    let failed = |error| Error::from_server(format!("the catalog of {what}"), sql, error);
    let none: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 0] = [];
    let stream = client.query_typed_raw(&wrapped, none).await.map_err(failed)?;
    futures::pin_mut!(stream);
    let mut out = Vec::new();
    while let Some(row) = stream.try_next().await.map_err(failed)? {
        let text: &str = row.try_get(0).map_err(failed)?;
        out.push(serde_json::from_str(text).map_err(|error| row_error(what, text, error))?);
    }
    Ok(out)
}

/// A prepared statement that has not run: the server holds locks on the relations that it names.
pub(crate) struct Prepared<'a> {
    statement: tokio_postgres::Statement,
    what: &'static str,
    sql: &'a str,
}

/// Prepares the statement that [`rows`] would run.
pub(crate) async fn prepared<'a>(
    client: &Client,
    what: &'static str,
    sql: &'a str,
) -> Result<Prepared<'a>, Error> {
    let wrapped = format!("SELECT row_to_json(q)::text FROM ({sql}) q");
    let statement = client.prepare(&wrapped).await;
    let statement =
        statement.map_err(|error| Error::from_server(format!("the catalog of {what}"), sql, error))?;
    Ok(Prepared { statement, what, sql })
}

impl Prepared<'_> {
    /// Runs it and deserializes each row as a `T`.
    pub(crate) async fn rows<T: DeserializeOwned>(self, client: &Client) -> Result<Vec<T>, Error> {
        let failed = |error| Error::from_server(format!("the catalog of {}", self.what), self.sql, error);
        let mut out = Vec::new();
        for row in client.query(&self.statement, &[]).await.map_err(failed)? {
            let text: &str = row.try_get(0).map_err(failed)?;
            out.push(serde_json::from_str(text).map_err(|error| row_error(self.what, text, error))?);
        }
        Ok(out)
    }
}

/// A row that did not fit its struct; the row itself is shown, shortened.
fn row_error(what: &'static str, row: &str, source: serde_json::Error) -> Error {
    Error::CatalogRow { what, row: row.chars().take(400).collect(), source }
}
