//! Probes the capabilities of a store before a repository is created in it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Error, Store};

/// Capabilities of a store, as probed. Stored in `dbhaul.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Probe {
    /// A listing showed an object right after it was written. Required for a repository.
    pub list_after_write: bool,
    /// An overwritten object was read back with its new content. Object locks prevent it; only `key add`, `key
    /// remove` and rewriting damaged chunks need it.
    pub overwrite: bool,
    /// Creating an existing object was refused. A manifest is then created atomically; otherwise the writer checks
    /// first, and relies on the id's random digits for the moment in between.
    pub conditional_put: bool,
    /// A deleted object was gone. Hosts that may not delete can still back up; forgetting and pruning must run
    /// elsewhere.
    pub delete: bool,
    /// It rejected writes without a checksum, as buckets with an object lock do: each write carries one.
    #[serde(default)]
    pub checksums: bool,
}

impl Store {
    /// Probes the store with one small object. Fails if it cannot be written to, or does not list the object.
    pub async fn probe(&self) -> Result<Probe, Error> {
        let object = format!("clock/{}", uuid::Uuid::new_v4().simple());
        let listed = async || {
            let found = self.list("clock").await?;
            Ok::<_, Error>(found.iter().any(|meta| meta.location.as_ref() == object))
        };
        self.put(&object, Bytes::from_static(b"1\n")).await?;
        let list_after_write = listed().await?;
        let second = self.put(&object, Bytes::from_static(b"22\n")).await;
        let overwrite = second.is_ok() && self.get(&object).await?.as_deref() == Some(b"22\n");
        let conditional_put = self.create(&object, Bytes::from_static(b"333\n")).await?;
        let delete =
            self.delete(&object).await.is_ok() && self.get(&object).await?.is_none() && !listed().await?;
        if !list_after_write {
            return Err(Error::Unsuitable {
                store: self.to_string(),
                message: "a listing did not show an object that had just been written, so that prune could delete data \
                          that is needed"
                    .to_owned(),
            });
        }
        Ok(Probe { list_after_write, overwrite, conditional_put, delete, checksums: self.sends_checksums() })
    }
}
