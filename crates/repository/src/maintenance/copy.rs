//! Copies snapshots into another repository: only missing chunks, each verified against its id on the way, and the
//! manifest last.
//!
//! If both repositories have the same chunker, chunks are copied as they are; if they also have the same ids (neither
//! is encrypted), chunks that the target already has are not even read. With another key, ids and recipients differ:
//! everything is read, and only new chunks are written. With another chunker, the parts are cut again.

use chrono::Utc;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::format::document::hex;
use crate::snapshot::write::{SnapshotStart, SnapshotWriter};
use crate::{
    ChunkRef, Content, Error, Manifest, Part, PartHeader, Repository, SnapshotId, SnapshotStats, SourceRecord,
};

/// Number of chunks in flight.
const CONCURRENCY: usize = 4;

/// A snapshot that was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Copied {
    /// Id, in both repositories.
    pub id: SnapshotId,
    /// What was written.
    pub stats: SnapshotStats,
}

/// A snapshot that could not be copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NotCopied {
    /// Id.
    pub id: SnapshotId,
    /// The error.
    pub error: String,
}

impl NotCopied {
    /// The error of a single snapshot. An error that affects all of them ends the copy.
    pub(crate) fn of(id: &SnapshotId, error: Error) -> Result<NotCopied, Error> {
        match error {
            Error::Damaged { .. } | Error::OtherRecipients { .. } | Error::Format { .. } => {
                Ok(NotCopied { id: id.clone(), error: error.to_string() })
            }
            other => Err(other),
        }
    }
}

/// A writer serves many snapshots, as long as there is time to commit a long one.
async fn writer_for(writer: Option<SnapshotWriter>, target: &Repository) -> Result<SnapshotWriter, Error> {
    match writer {
        Some(current) if current.is_fresh() => return Ok(current),
        Some(old) => old.abandon().await,
        None => {}
    }
    target.begin(SnapshotStart::new("copy", Utc::now(), "copy")).await
}

/// The result of a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CopyReport {
    /// Snapshots that are now in both repositories.
    pub copied: Vec<Copied>,
    /// Snapshots that the target already had.
    pub present: Vec<SnapshotId>,
    /// Those of them with chunks that were missing or known to be damaged in the target, and were written again.
    pub repaired: Vec<SnapshotId>,
    /// Snapshots that were forgotten in the target, as long as a tombstone records it: they are not copied.
    pub forgotten: Vec<SnapshotId>,
    /// Snapshots that are damaged in the source, or whose id another snapshot has in the target.
    pub failed: Vec<NotCopied>,
}

impl Repository {
    /// Copies these snapshots, oldest first, into `target`. Reading an encrypted source requires an identity; writing
    /// into an encrypted target requires only its key. `on_bytes` is called with the number of plain bytes done.
    ///
    /// A damaged snapshot is skipped and reported; a failing store ends the copy. Snapshots copied so far are listed
    /// in the target, and the next run continues from there.
    pub async fn copy_to(
        &self,
        target: &Repository,
        ids: &[SnapshotId],
        on_bytes: &(dyn Fn(u64) + Sync),
    ) -> Result<CopyReport, Error> {
        if self.id() == target.id() && self.address() == target.address() {
            return Err(Error::SameRepository { store: target.address() });
        }
        let mut report = CopyReport::default();
        let mut writer: Option<SnapshotWriter> = None;
        for id in ids {
            if target.store.written_at(&id.object()).await?.is_some() {
                if !self.is_already_present(target, id, &mut report).await? {
                    continue;
                }
                let current = writer_for(writer.take(), target).await?;
                match self.repair_copy(target, &current, id).await {
                    Ok(mended) => report.repaired.extend(mended.then(|| id.clone())),
                    Err(error) => match NotCopied::of(id, error) {
                        Ok(failed) => report.failed.push(failed),
                        Err(fatal) => return Err(current.abort_with(fatal).await),
                    },
                }
                writer = Some(current);
                continue;
            }
            // Even a tombstone without its manifest: a running prune may be about to replace or remove it, and would
            // then remove the tombstone of a snapshot that is listed now and forgotten again.
            if target.store.written_at(&id.tombstone()).await?.is_some() {
                report.forgotten.push(id.clone());
                continue;
            }
            let manifest = match self.find(id.as_str()).await {
                Ok(manifest) => manifest,
                Err(error) => {
                    report.failed.push(NotCopied::of(id, error)?);
                    continue;
                }
            };
            let current = writer_for(writer.take(), target).await?;
            match self.copy_one(&current, target, manifest, on_bytes).await {
                Ok(stats) => report.copied.push(Copied { id: id.clone(), stats }),
                // Another copy finished first.
                Err(Error::NameTaken { .. }) => {
                    self.is_already_present(target, id, &mut report).await?;
                }
                Err(error) => match NotCopied::of(id, error) {
                    Ok(failed) => report.failed.push(failed),
                    Err(fatal) => return Err(current.abort_with(fatal).await),
                },
            }
            writer = Some(current);
        }
        match writer {
            Some(writer) if report.failed.is_empty() => writer.finish().await,
            Some(writer) => writer.abandon().await,
            None => {}
        }
        Ok(report)
    }

    /// Checks an existing snapshot of this id in the target: true if it is the same one. An id has few random digits,
    /// so a repository with another history may have drawn the same.
    async fn is_already_present(
        &self,
        target: &Repository,
        id: &SnapshotId,
        report: &mut CopyReport,
    ) -> Result<bool, Error> {
        let headers = async { Ok((self.header(id).await?, target.header(id).await?)) };
        let failed = match headers.await {
            Ok((_, None)) => {
                report.forgotten.push(id.clone());
                return Ok(false);
            }
            Ok((Some(here), Some(there))) if there.is_copy_of(&here) => {
                report.present.push(id.clone());
                return Ok(true);
            }
            Ok((Some(here), Some(there))) => format!(
                "{} holds another snapshot of this name (of {}, taken at {}, {} bytes; this one is of {}, taken at {}, {} \
                 bytes), which is left as it is",
                target.address(),
                there.job,
                there.taken_at,
                there.stats.plain_bytes,
                here.job,
                here.taken_at,
                here.stats.plain_bytes
            ),
            Ok((None, Some(_))) => "it was forgotten here while it was copied".to_owned(),
            Err(error @ Error::Store { .. }) => return Err(error),
            Err(error) => error.to_string(),
        };
        report.failed.push(NotCopied { id: id.clone(), error: failed });
        Ok(false)
    }

    async fn copy_one(
        &self,
        writer: &SnapshotWriter,
        target: &Repository,
        manifest: Manifest,
        on_bytes: &(dyn Fn(u64) + Sync),
    ) -> Result<SnapshotStats, Error> {
        let before = writer.written();
        let mut sources = Vec::new();
        for source in manifest.sources {
            let mut parts = Vec::new();
            for part in source.parts {
                parts.push(self.copy_part(writer, target, part, on_bytes).await?);
            }
            sources.push(SourceRecord { parts, ..source });
        }
        let after = writer.written();
        let chunks =
            sources.iter().flat_map(|source| &source.parts).map(|part| part.chunks.len() as u64).sum();
        let stats = SnapshotStats {
            plain_bytes: manifest.stats.plain_bytes,
            new_plain_bytes: after.new_plain_bytes - before.new_plain_bytes,
            stored_bytes: after.stored_bytes - before.stored_bytes,
            chunks,
            new_chunks: after.new_chunks - before.new_chunks,
        };
        // Manifests of the first versions do not contain them.
        let contents = match manifest.contents.is_empty() {
            true => sources.iter().map(Content::of).collect(),
            false => manifest.contents,
        };
        let copy = Manifest { format: crate::FORMAT, sources, contents, stats: stats.clone(), ..manifest };
        writer.commit_manifest(&copy).await?;
        Ok(stats)
    }

    pub(crate) async fn copy_part(
        &self,
        writer: &SnapshotWriter,
        target: &Repository,
        part: Part,
        on_bytes: &(dyn Fn(u64) + Sync),
    ) -> Result<Part, Error> {
        if self.chunker != target.chunker {
            let header = PartHeader::new(part.name.clone(), part.kind.clone());
            let counted = self.read_part(&part).inspect_ok(|bytes| on_bytes(bytes.len() as u64));
            // The stream's own error names the damaged chunk; the writer's only says that the stream failed.
            let mut failed = None;
            let stream = counted.map_err(|error| {
                let said = error.to_string();
                failed = Some(error);
                said
            });
            let written = writer.write_part(header, stream).await;
            if let Some(error) = failed {
                return Err(error);
            }
            return Ok(Part { attributes: part.attributes, ..written? });
        }
        let same_names = self.crypt.names_like(&target.crypt);
        let mut copying = stream::iter(part.chunks.iter().copied())
            .map(|chunk| async move {
                let present = writer.present(chunk.id, chunk.bytes).filter(|_| same_names);
                let copied = match present {
                    Some(present) => (present, None),
                    None => {
                        let plain = self.read_chunk(chunk).await?;
                        (writer.write_chunk(plain.clone()).await?, Some(plain))
                    }
                };
                on_bytes(u64::from(chunk.bytes));
                Ok::<_, Error>(copied)
            })
            .buffered(CONCURRENCY);
        let mut chunks: Vec<ChunkRef> = Vec::new();
        // Reading a whole part also proves that its chunks are complete and in order.
        let mut whole = Some(Sha256::new());
        while let Some((chunk, plain)) = copying.try_next().await? {
            whole = whole.zip(plain).map(|(whole, plain)| whole.chain_update(&plain));
            chunks.push(chunk);
        }
        drop(copying);
        if let Some(found) = whole.map(|whole| hex(&whole.finalize())).filter(|found| *found != part.sha256) {
            return Err(Error::Damaged {
                object: format!("part `{}`", part.name),
                message: format!("its chunks are intact, but their combined hash is {found}"),
            });
        }
        Ok(Part { chunks, ..part })
    }
}
