//! The chunk index that a writer builds at its start: which chunks are certainly stored, which names are pending
//! deletion, and which chunks need repair.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};

use super::chunk_set::{ChunkSet, ChunkSetBuilder};
use super::repair_set::RepairSet;
use crate::format::chunk::ChunkObject;
use crate::{ChunkId, CopyTag, Error, Repository};

/// Stored chunks, by the rules in `docs/repository-format.md`.
pub(crate) struct ChunkIndex {
    /// Stored chunks, with the size of their object and its copy tag.
    pub(crate) present: HashMap<ChunkId, (u32, Option<CopyTag>)>,
    /// Objects that prune has marked: their names are not written to.
    pub(crate) pending_deletion: HashSet<ChunkObject>,
    /// Referenced chunks that are missing or damaged.
    pub(crate) repairs: RepairSet,
}

/// Which stored chunks a new snapshot may reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// Those that at least one current recipient can decrypt: a new snapshot must not depend on a removed identity.
    ByAnyRecipient,
    /// Those that every current recipient can decrypt.
    ByEveryRecipient,
}

impl Repository {
    /// Builds the index. Marks are read before anything else.
    pub(crate) async fn chunk_index(&self, reuse: Reuse) -> Result<ChunkIndex, Error> {
        let pending_deletion = self.marked().await?;
        let mut builder = ChunkSetBuilder::default();
        self.visit_manifests(false, |manifest| builder.add(manifest.chunks())).await?;
        let referenced = builder.finish();
        let mut builder = ChunkSetBuilder::default();
        self.journaled(&mut builder).await?;
        let journaled = builder.finish();
        let damaged = self.damaged_chunks().await?;

        let mut present = HashMap::new();
        let sets = self.crypt.sets();
        let reusable = |object: &ChunkObject| match reuse {
            Reuse::ByAnyRecipient => sets.readable_by_any(object.copy),
            Reuse::ByEveryRecipient => sets.readable_by_all(object.copy),
        };
        let mut intact = vec![false; referenced.entries().len()];
        if !referenced.is_empty() || !journaled.is_empty() {
            self.store
                .visit("chunks", |meta| {
                    let Some(object) = ChunkObject::parse(meta.location.as_ref()) else { return };
                    if damaged.get(&object).is_some_and(|found| meta.last_modified <= *found) {
                        return;
                    }
                    let known = referenced.sized(&object, meta.size);
                    // A chunk that a host with other compression repaired is not reused, because no manifest states
                    // its size, and not written again.
                    if known.is_some() || referenced.has_size(object.id, meta.size) {
                        let at = referenced.find(&object).map(|(at, _)| at);
                        if let Some(intact) = at.and_then(|at| intact.get_mut(at)) {
                            *intact = true;
                        }
                    }
                    if let Some(chunk) = known.or_else(|| journaled.sized(&object, meta.size))
                        && !pending_deletion.contains(&object)
                        && reusable(&object)
                    {
                        present.insert(object.id, (chunk.stored, object.copy));
                    }
                })
                .await?;
        }
        let repairs = to_repair(&referenced, &intact, &pending_deletion);
        Ok(ChunkIndex { present, pending_deletion, repairs })
    }

    /// Chunks that checks found missing or damaged, with the time of the last finding.
    async fn damaged_chunks(&self) -> Result<HashMap<ChunkObject, DateTime<Utc>>, Error> {
        let mut damaged = self.quarantined().await?;
        for (object, found) in self.damaged_by_checks().await? {
            let at = damaged.entry(object).or_insert(found);
            *at = (*at).max(found);
        }
        Ok(damaged)
    }
}

fn to_repair(referenced: &ChunkSet, intact: &[bool], pending_deletion: &HashSet<ChunkObject>) -> RepairSet {
    let missing = referenced.objects().filter(|(at, _)| intact.get(*at) != Some(&true));
    RepairSet::new(
        missing.map(|(_, chunk)| chunk.object()).filter(|object| !pending_deletion.contains(object)),
    )
}
