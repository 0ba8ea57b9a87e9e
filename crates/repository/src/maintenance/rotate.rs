//! Re-encryption: makes stored data readable for every current recipient. New objects are written next to the old
//! ones, read back with a current identity alone, and only then referenced by the manifest instead of the old ones,
//! which prune removes after the grace period.

use std::collections::{HashMap, HashSet};

use chrono::Utc;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;

use crate::format::chunk::ChunkObject;
use crate::maintenance::copy::NotCopied;
use crate::snapshot::index::Reuse;
use crate::snapshot::write::{SnapshotStart, SnapshotWriter};
use crate::{ChunkRef, Error, Manifest, Part, Repository, SnapshotId, SourceRecord, Unreadable};

/// Number of chunks in flight.
const CONCURRENCY: usize = 4;

/// The result of a rotation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RotateReport {
    /// Snapshots that every recipient can restore now.
    pub rotated: Vec<SnapshotId>,
    /// Number of snapshots that every recipient could already restore.
    pub current: u64,
    /// Number of re-encrypted chunks.
    pub chunks: u64,
    /// Their size in the store.
    pub stored_bytes: u64,
    /// Snapshots that were not changed, and why.
    pub failed: Vec<NotCopied>,
    /// Manifests that cannot be read.
    pub unreadable: Vec<Unreadable>,
}

impl Repository {
    /// The listed snapshots that no current recipient can restore alone. Changing recipients affects only new data;
    /// older chunks stay as they were encrypted until [`Repository::rotate`].
    pub async fn not_restorable(&self) -> Result<Vec<SnapshotId>, Error> {
        let sets = self.crypt.sets();
        let mut found = Vec::new();
        if sets.have_changed() {
            self.visit_manifests(false, |manifest| {
                if !sets.restorable_by_any(&manifest) {
                    found.push(manifest.id);
                }
            })
            .await?;
        }
        found.sort();
        Ok(found)
    }

    /// Makes every listed snapshot readable for every current recipient. Requires the identities that decrypt the
    /// stored data, and one of a current recipient, with which each new object is read back before the old one is
    /// abandoned.
    ///
    /// A snapshot that none of the given identities can decrypt, or that is damaged, is reported and not changed. If
    /// interrupted, run it again.
    pub async fn rotate(&self, on_bytes: &(dyn Fn(u64) + Sync)) -> Result<RotateReport, Error> {
        let mut report = RotateReport::default();
        if !self.is_encrypted() {
            return Err(Error::Key {
                what: "the list of recipients".to_owned(),
                message: format!("{} is not encrypted, which is decided when it is created", self.store),
            });
        }
        let proof = self.crypt.of_current_recipients();
        if !proof.can_read() {
            return Err(Error::Key {
                what: "the identities".to_owned(),
                message:
                    "none of them belongs to a current recipient, so that the result could not be read back \
                          before the old objects are replaced; also give an identity of a current recipient"
                        .to_owned(),
            });
        }
        let proof = Repository { crypt: proof, ..self.clone() };
        let mut wanted = Vec::new();
        report.unreadable = self
            .visit_manifests(false, |manifest| match self.crypt.sets().restorable_by_all(&manifest) {
                true => report.current += 1,
                false => wanted.push((manifest.taken_at, manifest.id)),
            })
            .await?;
        wanted.sort();
        let mut writer: Option<SnapshotWriter> = None;
        let mut proven = HashSet::new();
        for (_, id) in wanted {
            let fresh = match writer.take() {
                Some(current) if current.is_fresh() => Some(current),
                Some(old) => {
                    old.abandon().await;
                    None
                }
                None => None,
            };
            let current = match fresh {
                Some(current) => current,
                None => {
                    let start = SnapshotStart::new("rotate", Utc::now(), "rotate");
                    self.begin_with(start, Reuse::ByEveryRecipient).await?
                }
            };
            match self.rotate_one(&current, &proof, &id, &mut proven, on_bytes).await {
                Ok(true) => report.rotated.push(id),
                // Forgotten in the meantime.
                Ok(false) => {}
                Err(error) => match NotCopied::of(&id, error) {
                    Ok(failed) => report.failed.push(failed),
                    Err(fatal) => return Err(current.abort_with(fatal).await),
                },
            }
            let written = current.written();
            writer = Some(current);
            (report.chunks, report.stored_bytes) = (written.new_chunks, written.stored_bytes);
        }
        match writer {
            Some(writer) if report.failed.is_empty() => writer.finish().await,
            Some(writer) => writer.abandon().await,
            None => {}
        }
        Ok(report)
    }

    async fn rotate_one(
        &self,
        writer: &SnapshotWriter,
        proof: &Repository,
        id: &SnapshotId,
        proven: &mut HashSet<ChunkObject>,
        on_bytes: &(dyn Fn(u64) + Sync),
    ) -> Result<bool, Error> {
        let object = id.object();
        let Some(before) = self.store.get(&object).await? else { return Ok(false) };
        let old = Manifest::parse(&self.crypt, &object, &before)?.open(&self.crypt)?;
        let mut renamed: HashMap<ChunkObject, ChunkRef> = HashMap::new();
        let stale: HashMap<ChunkObject, ChunkRef> = old
            .chunks()
            .filter(|chunk| !self.crypt.sets().readable_by_all(chunk.copy))
            .map(|chunk| (chunk.object(), *chunk))
            .collect();
        let mut copying = stream::iter(stale.into_values())
            .map(|chunk| async move {
                let new = match writer.present(chunk.id, chunk.bytes) {
                    Some(present) => present,
                    None => writer.write_chunk(self.read_chunk(chunk).await?).await?,
                };
                on_bytes(u64::from(chunk.bytes));
                Ok::<_, Error>((chunk.object(), new))
            })
            .buffer_unordered(CONCURRENCY);
        while let Some((from, to)) = copying.try_next().await? {
            renamed.insert(from, to);
        }
        drop(copying);
        // Verification: with a current identity alone, read each object and check its bytes against its id.
        let fresh: Vec<ChunkRef> =
            renamed.values().filter(|chunk| proven.insert(chunk.object())).copied().collect();
        let mut reads =
            stream::iter(fresh).map(|chunk| proof.read_chunk(chunk)).buffer_unordered(CONCURRENCY);
        while reads.try_next().await?.is_some() {}
        drop(reads);

        let rename = |part: Part| {
            let chunks = part.chunks.iter().map(|chunk| *renamed.get(&chunk.object()).unwrap_or(chunk));
            Part { chunks: chunks.collect(), ..part }
        };
        let sources = old
            .sources
            .into_iter()
            .map(|source| SourceRecord { parts: source.parts.into_iter().map(rename).collect(), ..source });
        let new = Manifest { sources: sources.collect(), ..old };
        self.replace_manifest(writer, proof, &new, before).await
    }

    /// Replaces a manifest by the one derived from it. The old one is set aside until the new one has been read back.
    async fn replace_manifest(
        &self,
        writer: &SnapshotWriter,
        proof: &Repository,
        new: &Manifest,
        before: bytes::Bytes,
    ) -> Result<bool, Error> {
        let object = new.id.object();
        let aside = format!("rotated/{}-{}.json", new.id, uuid::Uuid::new_v4().simple());
        writer.check_deadline()?;
        if self.store.written_at(&object).await?.is_none() {
            return Ok(false);
        }
        self.store.put(&aside, before.clone()).await?;
        let bytes = bytes::Bytes::from(self.crypt.seal(&object, &new.seal(&self.crypt)?));
        let replaced = async {
            self.store.put(&object, bytes).await?;
            let stored = self.store.get(&object).await?.unwrap_or_default();
            let read = Manifest::parse(&proof.crypt, &object, &stored)?.open(&proof.crypt)?;
            if read != *new {
                let message = "it was not kept as it was written".to_owned();
                return Err(Error::Damaged { object: object.clone(), message });
            }
            // Its chunks may be gone if this took too long. A prune without waiting spares what the manifest set
            // aside references, which existed before.
            writer.check_deadline()?;
            writer.is_present().await
        };
        if let Err(error) = replaced.await {
            self.store.put(&object, before).await?;
            return Err(error);
        }
        // Forgotten at the same moment: then it stays forgotten.
        if self.store.written_at(&new.id.tombstone()).await?.is_some() {
            self.store.delete(&object).await?;
        }
        self.store.delete(&aside).await?;
        Ok(true)
    }
}
