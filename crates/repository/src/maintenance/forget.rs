//! Forgets and undeletes snapshots. A forgotten manifest becomes a tombstone; its chunks stay until they are pruned.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};

use crate::crypto::crypt::Crypt;
use crate::format::chunk::ChunkObject;
use crate::snapshot::deadline::RunClock;
use crate::store::fetch::Fetched;
use crate::{ChunkRef, Error, Headers, Manifest, Repository, SnapshotHeader, SnapshotId};

/// `tombstones/<snapshot>.json`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Tombstone {
    pub(crate) format: u64,
    pub(crate) forgotten_at: DateTime<Utc>,
    pub(crate) job: String,
    /// `None` once the grace period is over. The remainder records when the series was last thinned, which retention
    /// must know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) manifest: Option<Manifest>,
}

impl Tombstone {
    /// Parses a tombstone written at this time, by the store's clock.
    pub(crate) fn parse(
        crypt: &Crypt,
        object: &str,
        bytes: &[u8],
        written: DateTime<Utc>,
    ) -> Result<Tombstone, Error> {
        let error = match crypt.read::<Tombstone>(object, bytes) {
            Ok(tombstone) => {
                if let Some(manifest) = &tombstone.manifest {
                    manifest.id.check_object(object)?;
                }
                return Ok(tombstone);
            }
            Err(error) => error,
        };
        // If the disk had no space for a tombstone, the manifest itself was renamed to it.
        let Some(id) = SnapshotId::of_tombstone(object) else { return Err(error) };
        let Ok(manifest) = Manifest::parse(crypt, &id.object(), bytes) else { return Err(error) };
        Ok(Tombstone {
            format: crate::FORMAT,
            forgotten_at: written,
            job: manifest.job.clone(),
            manifest: Some(manifest),
        })
    }
}

/// A snapshot that can be undeleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Forgotten {
    /// Its header.
    #[serde(flatten)]
    pub header: SnapshotHeader,
    /// When it was forgotten, by the clock of the host that did it.
    pub forgotten_at: DateTime<Utc>,
    /// Until when `undelete` works, by the store's clock.
    pub until: DateTime<Utc>,
}

impl Repository {
    /// The snapshots that can be undeleted, oldest first.
    pub async fn forgotten(&self) -> Result<Vec<Forgotten>, Error> {
        let now = self.store.clock().await?;
        let longest = TimeDelta::from_std(self.grace.saturating_sub(self.margin())).unwrap_or(TimeDelta::MAX);
        let mut found = Vec::new();
        let listed = self.listed().await?;
        let mut tombstones = std::pin::pin!(self.store.fetch("tombstones").await?);
        while let Some(Fetched { object, meta, bytes, .. }) = tombstones.next().await {
            if SnapshotId::of_tombstone(&object).is_none() {
                continue;
            }
            let Some(bytes) = bytes? else { continue };
            let tombstone = Tombstone::parse(&self.crypt, &object, &bytes, meta.last_modified)?;
            let until = meta.last_modified + longest;
            if let Some(manifest) =
                tombstone.manifest.filter(|manifest| now <= until && !listed.contains(&manifest.id.object()))
            {
                let header = SnapshotHeader::of(&manifest);
                found.push(Forgotten { header, forgotten_at: tombstone.forgotten_at, until });
            }
        }
        found.sort_by(|a, b| (a.header.taken_at, &a.header.id).cmp(&(b.header.taken_at, &b.header.id)));
        Ok(found)
    }

    /// Removes snapshots from the list. The tombstone is written before the manifest is deleted, so that after a
    /// crash in between the snapshot is still listed, and never lost. A snapshot that is not listed is skipped. On a
    /// full disk the manifest itself is renamed to the tombstone, which needs no space.
    ///
    /// Snapshots whose deletion the store refuses stay listed, and are named in the error; the others are forgotten.
    pub async fn forget(&self, ids: &[SnapshotId], now: DateTime<Utc>) -> Result<(), Error> {
        let mut held: Option<(Vec<String>, Error)> = None;
        for id in ids {
            let object = id.object();
            let Some(bytes) = self.store.get(&object).await? else { continue };
            let manifest = Manifest::parse(&self.crypt, &object, &bytes)?;
            let tombstone = Tombstone {
                format: crate::FORMAT,
                forgotten_at: now,
                job: manifest.job.clone(),
                manifest: Some(manifest),
            };
            let tombstone_object = id.tombstone();
            match self
                .store
                .put(&tombstone_object, self.crypt.seal(&tombstone_object, &tombstone).into())
                .await
            {
                Err(error) if error.is_no_room() => {
                    if !self.store.retire(&object, &tombstone_object).await? {
                        return Err(error);
                    }
                    continue;
                }
                other => other?,
            }
            match self.store.delete(&object).await {
                Err(error) if error.is_refused_by_store() => {
                    held.get_or_insert_with(|| (Vec::new(), error)).0.push(id.to_string());
                }
                other => other?,
            }
        }
        match held {
            Some((ids, source)) => Err(Error::StillListed { ids, source: Box::new(source) }),
            None => Ok(()),
        }
    }

    /// Lists a forgotten snapshot again. Works until shortly before the end of the grace period, because prune could
    /// overtake a later attempt.
    ///
    /// The tombstone stays, and has no effect while the snapshot is listed. If it were deleted, a concurrent forget
    /// of the same snapshot could leave neither of the two, and a prune that reads both lists one after the other
    /// could miss a snapshot that moves there and back.
    ///
    /// Returns the names of its chunks that are missing: something else deleted them, and the snapshot is damaged.
    pub async fn undelete(&self, id: &SnapshotId) -> Result<Vec<String>, Error> {
        let not_found = |hint: String| Error::NoSnapshot { wanted: id.to_string(), hint };
        let object = id.tombstone();
        let Some(written) = self.store.written_at(&object).await? else {
            return Err(not_found("it has no tombstone".to_owned()));
        };
        let run_clock = RunClock::start();
        // A sign for a prune without waiting, so that it does not delete what is about to be listed. On a full disk
        // there is none. It has a name of its own, because another host may undelete the same snapshot.
        let sign = SnapshotId::new(written, uuid::Uuid::new_v4().as_fields().0);
        let presence = match self.announce(&sign).await {
            Err(error) if error.is_no_room() => None,
            other => Some(other?),
        };
        let undeleted = self.undelete_announced(id, &object, written, run_clock).await;
        let Some(presence) = presence else { return undeleted };
        let overrun = match &undeleted {
            Ok(_) => presence.check(self).await,
            Err(_) => Ok(()),
        };
        presence.end(self).await;
        if let Err(overrun) = overrun {
            // The tombstone is unchanged.
            self.store.delete(&id.object()).await?;
            return Err(overrun);
        }
        undeleted
    }

    async fn undelete_announced(
        &self,
        id: &SnapshotId,
        object: &str,
        written: DateTime<Utc>,
        run_clock: RunClock,
    ) -> Result<Vec<String>, Error> {
        let not_found = |hint: String| Error::NoSnapshot { wanted: id.to_string(), hint };
        let age = (self.store.clock().await? - written).to_std().unwrap_or_default();
        let tombstone = match self.store.get(object).await? {
            Some(bytes) => Tombstone::parse(&self.crypt, object, &bytes, written)?,
            None => return Err(not_found("it has no tombstone".to_owned())),
        };
        // Includes the time since then: a machine may have slept between these requests.
        let late = age.saturating_add(run_clock.elapsed()) > self.grace.saturating_sub(self.margin());
        let Some(manifest) = tombstone.manifest.filter(|_| !late) else {
            return Err(not_found(format!(
                "it was forgotten at {}, and the grace period of {} hours is over",
                tombstone.forgotten_at.format("%Y-%m-%d %H:%M UTC"),
                self.grace.as_secs() / 3600
            )));
        };
        // A prune without waiting marks what this snapshot needs before it looks for signs of others.
        let marked = self.marked().await?;
        if manifest.chunks().any(|chunk| marked.contains(&chunk.object())) {
            return Err(not_found("a prune has marked its data, and may be deleting it".to_owned()));
        }
        let listed = id.object();
        let bytes = bytes::Bytes::from(self.crypt.seal(&listed, &manifest));
        match self.store.put(&listed, bytes.clone()).await {
            // If the tombstone is the renamed manifest, a second name is sufficient.
            Err(error) if error.is_no_room() => {
                let is_manifest = self.store.get(object).await?.is_some_and(|there| there == bytes);
                if !(is_manifest && self.store.link(object, &listed).await?) {
                    return Err(error);
                }
            }
            other => other?,
        }
        let mut missing: HashSet<ChunkObject> = manifest.chunks().map(ChunkRef::object).collect();
        self.store
            .visit("chunks", |meta| {
                if let Some(object) = ChunkObject::parse(meta.location.as_ref()) {
                    missing.remove(&object);
                }
            })
            .await?;
        let mut missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
        missing.sort();
        Ok(missing)
    }

    /// Names of the existing manifests.
    pub(crate) async fn listed(&self) -> Result<HashSet<String>, Error> {
        Ok(self.store.list("snapshots").await?.into_iter().map(|meta| meta.location.to_string()).collect())
    }

    /// When a snapshot of this series was last forgotten and not undeleted, given the listed ones: the earlier of the
    /// host's and the store's time. If both are later than `until`, a clock was ahead, and the deletion is ignored.
    /// An unreadable tombstone is an error: otherwise retention would assume that nothing was deleted.
    pub async fn last_deletion_at(
        &self,
        job: &str,
        listed: &Headers,
        until: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let readable = listed.headers.iter().map(|header| header.id.object());
        let listed: HashSet<String> =
            readable.chain(listed.unreadable.iter().map(|unreadable| unreadable.name.clone())).collect();
        let mut newest = None;
        let mut tombstones = std::pin::pin!(self.store.fetch("tombstones").await?);
        while let Some(Fetched { object, meta, bytes, .. }) = tombstones.next().await {
            if SnapshotId::of_tombstone(&object).is_none() {
                continue;
            }
            if meta.location.filename().is_some_and(|name| listed.contains(&format!("snapshots/{name}"))) {
                continue;
            }
            let Some(bytes) = bytes? else { continue };
            let tombstone = Tombstone::parse(&self.crypt, &object, &bytes, meta.last_modified)?;
            let at = tombstone.forgotten_at.min(meta.last_modified);
            if tombstone.job == job && at <= until {
                newest = newest.max(Some(at));
            }
        }
        Ok(newest)
    }
}
