//! Deletes objects, one or many per request.

use futures::stream::{self, StreamExt as _};
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use super::failpoint::{self, Step};
use super::objects::Store;
use super::response::is_absent;
use crate::Error;

/// Number of parallel deletions, if each is a request.
const PARALLEL_DELETIONS: usize = 8;
impl Store {
    pub(crate) async fn delete(&self, object: &str) -> Result<(), Error> {
        failpoint::before(Step::Delete, object);
        let deleted = self.objects.delete(&Path::from(object)).await;
        failpoint::after(Step::Delete, object);
        match deleted {
            Ok(()) => Ok(()),
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(self.failed("delete", object, error)),
        }
    }

    /// Number of objects to pass to [`Store::delete_all`] at a time.
    pub(crate) fn deletions_at_once(&self) -> usize {
        if self.bulk_delete { 1000 } else { PARALLEL_DELETIONS }
    }

    /// Deletes these objects, in one request if the store is known to support it.
    pub(crate) async fn delete_all(&self, objects: &[String]) -> Result<(), Error> {
        match self.delete_allowed(objects).await?.into_iter().next() {
            Some((_, refused)) => Err(refused),
            None => Ok(()),
        }
    }

    /// Deletes those of these objects that the store allows to be deleted; returns the others, with the store's
    /// error. A lock on one must not keep the others.
    pub(crate) async fn delete_allowed(&self, objects: &[String]) -> Result<Vec<(String, Error)>, Error> {
        let mut held = Vec::new();
        if !self.bulk_delete {
            let deletions =
                stream::iter(objects).map(|object| async move { (object, self.delete(object).await) });
            let mut deletions = std::pin::pin!(deletions.buffer_unordered(PARALLEL_DELETIONS));
            while let Some((object, deleted)) = deletions.next().await {
                match deleted {
                    Err(error) if error.is_refused_by_store() => held.push((object.clone(), error)),
                    other => other?,
                }
            }
            return Ok(held);
        }
        let first = objects.first().map(String::as_str).unwrap_or_default();
        failpoint::before(Step::Delete, first);
        let paths: Vec<_> = objects.iter().map(|object| Ok(Path::from(object.as_str()))).collect();
        // Results come in the order of the names.
        let mut deleted = self.objects.delete_stream(stream::iter(paths).boxed());
        let mut names = objects.iter();
        while let Some(result) = deleted.next().await {
            let object = names.next().map_or(first, String::as_str);
            match result {
                Ok(_) => {}
                Err(error) if is_absent(&error) => {}
                Err(error) => match self.failed("delete", object, error) {
                    refused if refused.is_refused_by_store() => held.push((object.to_owned(), refused)),
                    error => return Err(error),
                },
            }
        }
        failpoint::after(Step::Delete, first);
        Ok(held)
    }
}
