//! Additional queries to a source, in its snapshot.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use tokio::time::{sleep_until, timeout};

use super::copy_out::drain;
use super::copy_reader::CopyReader;
use super::pool::Lease;
use super::{Source, TableSlice};
use crate::Error;
use crate::digest::TableProof;

impl Source {
    /// Runs `COPY (query) TO STDOUT` in the snapshot and passes each row, without its newline, to `on_row`.
    ///
    /// # Errors
    /// The server's error, with `object`; [`Error::Stalled`] if it sends nothing for too long.
    pub(crate) async fn stream_query(
        &self,
        object: &str,
        query: &str,
        on_row: &mut (dyn FnMut(&[u8]) + Send),
    ) -> Result<(), Error> {
        let lease = self.at_savepoint(object).await?;
        let statement = format!("COPY ({query}) TO STDOUT");
        let failed = |error| Error::from_server(object, &statement, error);
        lease.session().work();
        let rows = lease.session().client().copy_out(&statement).await.map_err(failed)?;
        let mut rows = std::pin::pin!(rows);
        let stalled = |_| Error::Stalled { object: object.to_owned(), seconds: self.idle_timeout.as_secs() };
        while let Some(row) = timeout(self.idle_timeout, rows.next()).await.map_err(stalled)? {
            let row = row.map_err(failed)?;
            if let Some(limit) = &self.limit {
                sleep_until(limit.read(row.len())).await;
            }
            on_row(row.strip_suffix(b"\n").unwrap_or(&row));
        }
        lease.session().rest();
        unlocked(lease, object).await
    }

    /// Runs a query in the snapshot; the values of the result are text.
    ///
    /// # Errors
    /// The server's error, with `object`.
    pub(crate) async fn query(&self, object: &str, query: &str) -> Result<Vec<Vec<Option<String>>>, Error> {
        let lease = self.at_savepoint(object).await?;
        let rows = lease.session().query(object, query).await?;
        unlocked(lease, object).await?;
        Ok(rows)
    }

    async fn at_savepoint(&self, object: &str) -> Result<Lease, Error> {
        let lease = self.workers.get().await?;
        lease.session().execute(object, "SAVEPOINT rows").await?;
        Ok(lease)
    }
}

/// Returns the session without the locks that the query took.
async fn unlocked(lease: Lease, object: &str) -> Result<(), Error> {
    lease.session().execute(object, "ROLLBACK TO SAVEPOINT rows; RELEASE SAVEPOINT rows").await?;
    lease.give_back();
    Ok(())
}

impl Source {
    /// Reads a slice only for its proof; it can be read again afterwards.
    ///
    /// # Errors
    /// As [`Source::copy_out`].
    pub async fn digest_ahead(&self, slice: &TableSlice) -> Result<TableProof, Error> {
        let casts = BTreeMap::new();
        let slice = &slice.in_text();
        let copy =
            CopyReader::start_in_transaction(&self.workers, self.wanted(slice, &casts), self.idle_timeout)
                .await;
        drain(copy.map_err(|error| self.lost(error))?.limited(self.limit.clone())).await
    }
}
