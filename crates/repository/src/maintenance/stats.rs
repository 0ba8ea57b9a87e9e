//! Sizes of the repository, for each snapshot and in total.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::snapshot::chunk_set::ChunkSetBuilder;
use crate::{Error, PruneOptions, PruneReport, Repository, SnapshotId, Unreadable};

/// Shared by several snapshots.
const SHARED: u32 = u32::MAX;

/// Sizes of a snapshot, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SnapshotUsage {
    /// Id.
    pub id: SnapshotId,
    /// Series.
    pub job: String,
    /// When it was begun.
    pub taken_at: DateTime<Utc>,
    /// All its parts.
    pub raw_bytes: u64,
    /// The same, with repetitions within it counted once.
    pub deduplicated_bytes: u64,
    /// Stored size of its chunks.
    pub stored_bytes: u64,
    /// Stored size of the chunks that no other snapshot references: what forgetting it alone would free.
    pub own_stored_bytes: u64,
    /// Number of its chunks.
    pub chunks: u64,
    /// Number of chunks that no other snapshot references.
    pub own_chunks: u64,
}

/// Sizes of the repository, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StatsReport {
    /// Address of the repository.
    pub repository: String,
    /// Oldest first.
    pub snapshots: Vec<SnapshotUsage>,
    /// All snapshots together, uncompressed and without deduplication.
    pub raw_bytes: u64,
    /// Distinct data of all snapshots.
    pub deduplicated_bytes: u64,
    /// The same as stored: compressed and, if requested, encrypted.
    pub stored_bytes: u64,
    /// Number of distinct chunks.
    pub chunks: u64,
    /// What `prune` would do now; `None` if it would refuse to run.
    pub prune: Option<PruneReport>,
    /// Manifests that cannot be read; they are not counted.
    pub unreadable: Vec<Unreadable>,
}

impl Repository {
    /// Computes the statistics. Requires no identity. Reads every manifest twice, so that memory grows with the
    /// number of chunks and not of snapshots.
    pub async fn stats(&self, now: DateTime<Utc>) -> Result<StatsReport, Error> {
        let mut builder = ChunkSetBuilder::default();
        self.visit_manifests(false, |manifest| builder.add(manifest.chunks())).await?;
        let all = builder.finish();

        // The owner of each chunk: 0 for none, n for the n-th snapshot alone.
        let mut owners = vec![0_u32; all.entries().len()];
        let mut usages: BTreeMap<(DateTime<Utc>, SnapshotId), (u32, SnapshotUsage)> = BTreeMap::new();
        let mut number = 0_u32;
        let unreadable = self
            .visit_manifests(false, |manifest| {
                number += 1;
                let mut places: Vec<usize> = manifest
                    .chunks()
                    .filter_map(|chunk| all.find(&chunk.object()).map(|(at, _)| at))
                    .collect();
                places.sort_unstable();
                places.dedup();
                let mut usage = SnapshotUsage {
                    id: manifest.id.clone(),
                    job: manifest.job.clone(),
                    taken_at: manifest.taken_at,
                    raw_bytes: manifest.stats.plain_bytes,
                    deduplicated_bytes: 0,
                    stored_bytes: 0,
                    own_stored_bytes: 0,
                    chunks: places.len() as u64,
                    own_chunks: 0,
                };
                for at in places {
                    if let (Some(chunk), Some(owner)) = (all.entries().get(at), owners.get_mut(at)) {
                        usage.deduplicated_bytes += u64::from(chunk.bytes);
                        usage.stored_bytes += u64::from(chunk.stored);
                        *owner = if *owner == 0 { number } else { SHARED };
                    }
                }
                usages.insert((manifest.taken_at, manifest.id), (number, usage));
            })
            .await?;

        let mut own: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for (owner, chunk) in owners.iter().zip(all.entries()) {
            let (chunks, bytes) = own.entry(*owner).or_default();
            *chunks += 1;
            *bytes += u64::from(chunk.stored);
        }
        let snapshots: Vec<SnapshotUsage> = usages
            .into_values()
            .map(|(number, usage)| {
                let (own_chunks, own_stored_bytes) = own.get(&number).copied().unwrap_or_default();
                SnapshotUsage { own_chunks, own_stored_bytes, ..usage }
            })
            .collect();
        let prune = match self.prune(&PruneOptions { dry_run: true, now }).await {
            Ok(report) => Some(report),
            Err(error) if error.is_damaged() || matches!(error, Error::Format { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(StatsReport {
            repository: self.address(),
            // Numbers from manifests may be arbitrary.
            raw_bytes: snapshots.iter().map(|usage| usage.raw_bytes).fold(0, u64::saturating_add),
            deduplicated_bytes: all.objects().map(|(_, chunk)| u64::from(chunk.bytes)).sum(),
            stored_bytes: all.objects().map(|(_, chunk)| u64::from(chunk.stored)).sum(),
            chunks: all.objects().count() as u64,
            snapshots,
            prune,
            unreadable,
        })
    }
}
