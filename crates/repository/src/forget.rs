//! Forgetting a snapshot, and bringing it back. A forgotten manifest becomes a tombstone; its chunks stay until they
//! are pruned.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::repo::to_json;
use crate::{ChunkId, Error, Manifest, Repository, SnapshotId};

/// `tombstones/<snapshot>.json`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Tombstone {
    forgotten_at: DateTime<Utc>,
    manifest: Manifest,
}

impl Repository {
    /// Takes snapshots off the list. The tombstone is written before the manifest goes, so that a crash between the
    /// two leaves the snapshot listed, and never lost.
    pub async fn forget(&self, ids: &[SnapshotId], now: DateTime<Utc>) -> Result<(), Error> {
        for id in ids {
            let object = id.object();
            let Some(bytes) = self.store.get(&object).await? else { continue };
            let manifest = Manifest::parse(&object, &bytes)?;
            self.store
                .put(&id.tombstone(), to_json(&Tombstone { forgotten_at: now, manifest }).into())
                .await?;
            self.store.delete(&object).await?;
        }
        Ok(())
    }

    /// Puts a forgotten snapshot back on the list.
    pub async fn undelete(&self, id: &SnapshotId) -> Result<(), Error> {
        let Some(bytes) = self.store.get(&id.tombstone()).await? else {
            return Err(Error::NoSnapshot { wanted: id.to_string(), hint: "it has no tombstone".to_owned() });
        };
        let tombstone: Tombstone = serde_json::from_slice(&bytes)
            .map_err(|e| Error::Damaged { object: id.tombstone(), message: e.to_string() })?;
        self.store.put(&id.object(), to_json(&tombstone.manifest).into()).await?;
        self.store.delete(&id.tombstone()).await
    }

    /// When a snapshot of this series was last forgotten.
    pub async fn last_deletion_at(&self, job: &str) -> Result<Option<DateTime<Utc>>, Error> {
        let mut newest = None;
        for meta in self.store.list("tombstones").await? {
            let bytes = self.store.get(meta.location.as_ref()).await?;
            let tombstone = bytes.and_then(|bytes| serde_json::from_slice::<Tombstone>(&bytes).ok());
            if let Some(tombstone) = tombstone.filter(|tombstone| tombstone.manifest.job == job) {
                newest = newest.max(Some(tombstone.forgotten_at));
            }
        }
        Ok(newest)
    }

    /// Chunks that prune has marked for removal: a writer never re-uses them. Format 0 has no prune yet, and so no
    /// marks; a repository that has some was touched by a newer version, and they are honoured.
    pub(crate) async fn marked(&self) -> Result<Vec<ChunkId>, Error> {
        let mut marked = Vec::new();
        for meta in self.store.list("marks").await? {
            let object = meta.location.to_string();
            let Some(bytes) = self.store.get(&object).await? else { continue };
            let ids: Vec<ChunkId> = serde_json::from_slice(&bytes)
                .map_err(|e| Error::Damaged { object, message: e.to_string() })?;
            marked.extend(ids);
        }
        Ok(marked)
    }
}
