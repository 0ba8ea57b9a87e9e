//! What a writer knows when it begins: which chunks are surely there, which names it keeps away from, and what is to be
//! written again.

use std::collections::{HashMap, HashSet};

use crate::format::chunk::ChunkObject;
use crate::maintenance::repair::Mending;
use crate::snapshot::chunk_set::Gather;
use crate::{ChunkId, CopyTag, Error, Repository};

/// What is there, by the rules of `docs/repository-format.md`.
pub(crate) struct Known {
    /// Chunks that are there, with the size of their object and its name.
    pub(crate) present: HashMap<ChunkId, (u32, Option<CopyTag>)>,
    /// Objects that prune has marked: their names are not written to.
    pub(crate) shunned: HashSet<ChunkObject>,
    /// What manifests name and is missing or damaged.
    pub(crate) mending: Mending,
}

/// Which chunks are leaned on, of those that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// Those that some recipient of today can open: what is written must not depend on an identity that is given up.
    ByAnyRecipient,
    /// Those that every recipient of today can open.
    ByEveryRecipient,
}

impl Repository {
    /// Looks. Marks are read before anything else.
    pub(crate) async fn known(&self, reuse: Reuse) -> Result<Known, Error> {
        let marked = self.marked().await?;
        let mut named = Gather::default();
        self.visit_manifests(false, |manifest| named.add(manifest.chunks())).await?;
        let named = named.finish();
        let mut journaled = Gather::default();
        self.journaled(&mut journaled).await?;
        let journaled = journaled.finish();
        let mut quarantined = self.quarantined().await?;
        for (object, found) in self.condemned().await? {
            let at = quarantined.entry(object).or_insert(found);
            *at = (*at).max(found);
        }
        let mut present = HashMap::new();
        let sets = self.crypt.sets();
        let reusable = |object: &ChunkObject| match reuse {
            Reuse::ByAnyRecipient => sets.any_opens(object.copy),
            Reuse::ByEveryRecipient => sets.all_open(object.copy),
        };
        let mut sound = vec![false; named.entries().len()];
        if !named.is_empty() || !journaled.is_empty() {
            self.store
                .visit("chunks", |meta| {
                    let Some(object) = ChunkObject::parse(meta.location.as_ref()) else { return };
                    if quarantined.get(&object).is_some_and(|found| meta.last_modified <= *found) {
                        return;
                    }
                    let known = named.sized(&object, meta.size);
                    // Written again by somebody who packs otherwise: not leaned on, for nobody gives it this size, and
                    // not written once more.
                    if known.is_some() || named.has_size(object.id, meta.size) {
                        let at = named.find(&object).map(|(at, _)| at);
                        if let Some(sound) = at.and_then(|at| sound.get_mut(at)) {
                            *sound = true;
                        }
                    }
                    if let Some(chunk) = known.or_else(|| journaled.sized(&object, meta.size))
                        && !marked.contains(&object)
                        && reusable(&object)
                    {
                        present.insert(object.id, (chunk.stored, object.copy));
                    }
                })
                .await?;
        }
        let unsound = named.objects().filter(|(at, _)| sound.get(*at) != Some(&true));
        let unsound = unsound.map(|(_, chunk)| chunk.object()).filter(|object| !marked.contains(object));
        let mending = Mending::of(unsound);
        Ok(Known { present, shunned: marked, mending })
    }
}
