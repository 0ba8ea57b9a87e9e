//! Reading many documents: several at a time, and never more bytes at once than a budget.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt as _};
use object_store::ObjectMeta;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Error, Store};

/// Documents that are fetched at the same time,
const FETCHES: usize = 8;
/// and how large they may be together. A larger one is fetched alone.
const BUDGET: u32 = 32 << 20;

/// A document, or why it could not be read.
pub(crate) struct Fetched {
    pub(crate) object: String,
    pub(crate) meta: ObjectMeta,
    /// Nothing if it was removed after it was listed.
    pub(crate) bytes: Result<Option<Bytes>, Error>,
    /// Its share of the budget, until it has been looked at.
    _share: Option<OwnedSemaphorePermit>,
}

impl Store {
    /// Every document below a prefix, in any order.
    pub(crate) async fn fetch(&self, prefix: &str) -> Result<impl Stream<Item = Fetched> + '_, Error> {
        Ok(self.fetch_listed(self.list(prefix).await?))
    }

    /// The documents among these objects, in any order.
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
