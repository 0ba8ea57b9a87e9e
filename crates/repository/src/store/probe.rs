//! What a store does, tried out before a repository is made in it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Error, Store};

/// What a store did when it was tried. Kept in `dbhaul.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Probe {
    /// A listing showed what was written just before. Without this no repository is made.
    pub list_after_write: bool,
    /// What was written over another object was read back. Object locks forbid it; only `key add` and `key remove`, and
    /// writing a damaged chunk again, need it.
    pub overwrite: bool,
    /// Creating an object that exists was refused. A manifest is then written so that it cannot replace another of its
    /// name; elsewhere the writer looks first, and the name's random digits must do for the moment between.
    pub conditional_put: bool,
    /// What was deleted was gone. Hosts that may not delete can back up all the same; forgetting and pruning cannot be
    /// done from there.
    pub delete: bool,
    /// It took nothing without a checksum, as buckets with an object lock do: each write carries one.
    #[serde(default)]
    pub checksums: bool,
}

impl Store {
    /// Tries the store with one small object. Fails if it cannot be written to, or does not list what it holds.
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
                message: "a listing did not show an object that had just been written, and prune would then delete what \
                          is needed"
                    .to_owned(),
            });
        }
        Ok(Probe { list_after_write, overwrite, conditional_put, delete, checksums: self.sends_checksums() })
    }
}
