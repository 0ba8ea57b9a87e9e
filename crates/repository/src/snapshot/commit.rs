//! Commits a snapshot: its manifest is written once, read back, and withdrawn if the run was too slow.

use super::deadline::RunClock;
use super::presence::Presence;
use crate::{Error, Manifest, Repository};

impl Repository {
    /// Writes a manifest, and withdraws it if that took so long that its chunks may be gone (the machine may have
    /// slept in the meantime), or if a prune without waiting took the writer for dead.
    pub(crate) async fn commit_before_deadline(
        &self,
        run_clock: RunClock,
        presence: &Presence,
        manifest: &Manifest,
    ) -> Result<(), Error> {
        self.put_manifest(manifest).await?;
        let present = presence.check(self).await;
        match self.check_deadline(run_clock).and(present) {
            Err(late @ (Error::TooLong { .. } | Error::Overrun)) => {
                self.store.delete(&manifest.id.object()).await?;
                Err(late)
            }
            other => other,
        }
    }

    /// Writes a manifest without overwriting: the id has few random digits, and another snapshot's manifest must
    /// never be replaced.
    async fn put_manifest(&self, manifest: &Manifest) -> Result<(), Error> {
        let object = manifest.id.object();
        let bytes = if self.crypt.is_encrypted() && !manifest.is_sealed() {
            self.crypt.seal(&object, &manifest.seal(&self.crypt)?)
        } else {
            self.crypt.seal(&object, manifest)
        };
        let conditional = self.probe.is_some_and(|probe| probe.conditional_put);
        let bytes = bytes::Bytes::from(bytes);
        if !self.store.put_new(&object, bytes.clone(), conditional).await? {
            return Err(Error::NameTaken { id: manifest.id.to_string() });
        }
        self.verify_manifest(manifest, &object, &bytes).await
    }

    /// Reads an acknowledged manifest back: its loss would go unnoticed until it is needed.
    async fn verify_manifest(&self, manifest: &Manifest, object: &str, bytes: &[u8]) -> Result<(), Error> {
        let not_kept = |found: &'static str| Error::NotKept {
            store: self.store.to_string(),
            object: object.to_owned(),
            found,
        };
        match self.store.get(object).await? {
            Some(stored) if stored == bytes => Ok(()),
            // Another host copied the same snapshot at the same time.
            Some(stored) if Manifest::parse(&self.crypt, object, &stored).is_ok() => Ok(()),
            Some(_) => Err(not_kept("it returns different bytes")),
            // Another host forgot the snapshot at the same time.
            None if self.store.written_at(&manifest.id.tombstone()).await?.is_some() => Ok(()),
            None => Err(not_kept("there is no such object")),
        }
    }
}
