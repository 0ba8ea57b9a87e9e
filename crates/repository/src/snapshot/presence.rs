//! Presence: a sign in the store that something writes to it, used only by a prune without waiting.
//!
//! The sign is a journal without chunks. A writer creates it before it reads anything, renews it periodically, and
//! checks it once its manifest is listed: if it is gone, a prune took this writer for dead and may have deleted
//! chunks that it references, so the manifest is withdrawn.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};

use crate::snapshot::journal::{Journal, object};
use crate::tasks::Task;
use crate::{Error, Repository, SnapshotId};

/// Interval at which a writer renews its sign,
const RENEWAL_INTERVAL: Duration = Duration::from_secs(300);
/// and age at which a writer counts as dead.
const DEAD_AFTER: TimeDelta = TimeDelta::minutes(15);

/// The sign of a running operation.
#[derive(Debug)]
pub(crate) struct Presence {
    object: String,
    /// Ends when this is dropped.
    beat: Task<()>,
}

impl Presence {
    /// Removes the sign. One that stays behind soon counts as that of a dead writer.
    pub(crate) async fn end(self, repository: &Repository) {
        // Otherwise the task could write the sign again afterwards.
        drop(self.beat);
        let _ = repository.store.delete(&self.object).await;
    }

    /// Fails if the sign is gone.
    pub(crate) async fn check(&self, repository: &Repository) -> Result<(), Error> {
        match repository.store.written_at(&self.object).await? {
            Some(_) => Ok(()),
            None => Err(Error::Overrun),
        }
    }
}

/// The snapshot of the writer whose sign this object is.
fn sign_of(object: &str) -> Option<&str> {
    object.strip_prefix("journals/")?.strip_suffix("-0.json")
}

impl Repository {
    /// Announces a writer, under the name of a snapshot.
    pub(crate) async fn announce(&self, id: &SnapshotId) -> Result<Presence, Error> {
        let object = object(id, 0);
        let nothing = Journal { format: crate::FORMAT, chunks: Vec::new() };
        let bytes = Bytes::from(self.crypt.seal(&object, &nothing));
        self.store.put(&object, bytes.clone()).await?;
        let (store, name) = (self.store.clone(), object.clone());
        let beat = Task::start(async move {
            loop {
                tokio::time::sleep(RENEWAL_INTERVAL).await;
                // A removed sign is not written again: this writer must notice.
                if let Ok(Some(_)) = store.written_at(&name).await {
                    let _ = store.put(&name, bytes.clone()).await;
                }
            }
        });
        Ok(Presence { object, beat })
    }

    /// Fails if something writes to the repository, as far as signs show.
    pub(crate) async fn refuse_if_in_use(&self, now: DateTime<Utc>) -> Result<(), Error> {
        let listed = self.store.list("journals").await?;
        for id in listed.iter().filter_map(|meta| sign_of(meta.location.as_ref())) {
            let of_it = listed.iter().filter(|meta| {
                let name = meta.location.as_ref().strip_prefix("journals/");
                name.and_then(|name| name.strip_prefix(id)).is_some_and(|rest| rest.starts_with('-'))
            });
            let seen = of_it.map(|meta| meta.last_modified).max().unwrap_or(now);
            if now - seen < DEAD_AFTER {
                return Err(Error::InUse { by: id.to_owned(), seen });
            }
        }
        Ok(())
    }
}
