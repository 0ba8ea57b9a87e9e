//! Reads many documents: several in parallel, with a limit for their total size.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt as _};
use object_store::ObjectMeta;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Error, Store};

/// Number of documents to fetch in parallel,
const FETCHES: usize = 8;
/// and their maximum total size. A larger one is fetched alone.
const BUDGET: u32 = 32 << 20;

/// A document, or the error of reading it.
pub(crate) struct Fetched {
    pub(crate) object: String,
    pub(crate) meta: ObjectMeta,
    /// `None` if it was removed after it was listed.
    pub(crate) bytes: Result<Option<Bytes>, Error>,
    /// Its share of the budget, until it has been processed.
    _share: Option<OwnedSemaphorePermit>,
}

impl Store {
    /// All documents below a prefix, in any order.
    pub(crate) async fn fetch(&self, prefix: &str) -> Result<impl Stream<Item = Fetched> + '_, Error> {
        Ok(self.fetch_listed(self.list(prefix).await?))
    }

    /// These documents, in any order.
    pub(crate) fn fetch_listed(&self, listed: Vec<ObjectMeta>) -> impl Stream<Item = Fetched> + '_ {
        let budget = Arc::new(Semaphore::new(BUDGET as usize));
        let documents = listed.into_iter().filter(|meta| meta.location.as_ref().ends_with(".json"));
        stream::iter(documents)
            .map(move |meta| {
                let budget = Arc::clone(&budget);
                async move {
                    let share = u32::try_from(meta.size).unwrap_or(BUDGET).min(BUDGET);
                    // The semaphore is never closed.
                    let share = budget.acquire_many_owned(share).await.ok();
                    let object = meta.location.to_string();
                    let bytes = self.get(&object).await;
                    Fetched { object, meta, bytes, _share: share }
                }
            })
            .buffer_unordered(FETCHES)
    }
}
