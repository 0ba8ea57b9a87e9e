//! Presence: a sign in the store that something writes to it, for a prune without waiting. Nothing else looks at it.
//!
//! The sign is a journal that names nothing. A writer puts it there before it reads anything, writes it anew from time to
//! time, and looks for it once its manifest is listed: were it gone then, somebody took this writer for dead, may have
//! deleted what it needs, and the manifest is taken back.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};

use crate::snapshot::journal::{Journal, object};
use crate::tasks::Task;
use crate::{Error, Repository, SnapshotId};

/// A writer shows so often that it is alive,
const BEAT: Duration = Duration::from_secs(300);
/// and counts as dead when it has not for so long.
const DEAD: TimeDelta = TimeDelta::minutes(15);

/// The sign of something that is under way.
#[derive(Debug)]
pub(crate) struct Presence {
    object: String,
    /// Ends with this.
    beat: Task<()>,
}

impl Presence {
    /// Removes the sign. One that stays behind counts as that of a dead writer soon.
    pub(crate) async fn end(self, repository: &Repository) {
        // Were it to go on, it could write the sign anew behind this.
        drop(self.beat);
        let _ = repository.store.delete(&self.object).await;
    }

    /// An error if the sign is gone.
    pub(crate) async fn check(&self, repository: &Repository) -> Result<(), Error> {
        match repository.store.written_at(&self.object).await? {
            Some(_) => Ok(()),
            None => Err(Error::Overrun),
        }
    }
}

/// The snapshot whose writer an object is the sign of.
fn sign_of(object: &str) -> Option<&str> {
    object.strip_prefix("journals/")?.strip_suffix("-0.json")
}

impl Repository {
    /// Shows that something begins to write, under the name of a snapshot.
    pub(crate) async fn announce(&self, id: &SnapshotId) -> Result<Presence, Error> {
        let object = object(id, 0);
        let nothing = Journal { format: crate::FORMAT, chunks: Vec::new() };
        let bytes = Bytes::from(self.crypt.seal(&object, &nothing));
        self.store.put(&object, bytes.clone()).await?;
        let (store, name) = (self.store.clone(), object.clone());
        let beat = Task::start(async move {
            loop {
                tokio::time::sleep(BEAT).await;
                // One that was removed in the meantime stays so: this writer must find out.
                if let Ok(Some(_)) = store.written_at(&name).await {
                    let _ = store.put(&name, bytes.clone()).await;
                }
            }
        });
        Ok(Presence { object, beat })
    }

    /// An error if something writes to the repository, as far as that can be seen.
    pub(crate) async fn refuse_if_in_use(&self, now: DateTime<Utc>) -> Result<(), Error> {
        let listed = self.store.list("journals").await?;
        for id in listed.iter().filter_map(|meta| sign_of(meta.location.as_ref())) {
            let of_it = listed.iter().filter(|meta| {
                let name = meta.location.as_ref().strip_prefix("journals/");
                name.and_then(|name| name.strip_prefix(id)).is_some_and(|rest| rest.starts_with('-'))
            });
            let seen = of_it.map(|meta| meta.last_modified).max().unwrap_or(now);
            if now - seen < DEAD {
                return Err(Error::InUse { by: id.to_owned(), seen });
            }
        }
        Ok(())
    }
}
