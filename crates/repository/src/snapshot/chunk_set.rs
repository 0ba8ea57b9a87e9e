//! Compact sets of chunks: a sorted list of 48 bytes per chunk instead of a sparse hash table.

use crate::format::chunk::ChunkObject;
use crate::{ChunkId, ChunkRef};

/// Collects chunks, with repetitions.
#[derive(Debug, Default)]
pub(crate) struct ChunkSetBuilder {
    chunks: Vec<ChunkRef>,
    /// Number of distinct chunks after the last compaction.
    distinct: usize,
}

/// Chunks by object, each with every size stated for it.
#[derive(Debug, Default)]
pub(crate) struct ChunkSet(Vec<ChunkRef>);

/// Two writers may have packed a chunk to different sizes: both are kept.
fn key(chunk: &ChunkRef) -> (ChunkObject, u32) {
    (chunk.object(), chunk.stored)
}

impl ChunkSetBuilder {
    pub(crate) fn add<'a>(&mut self, chunks: impl Iterator<Item = &'a ChunkRef>) {
        for chunk in chunks {
            self.chunks.push(*chunk);
            // Snapshots have nearly all chunks in common: without this the list would contain each chunk hundreds of
            // times.
            if self.chunks.len() > self.distinct + self.distinct / 4 + (64 << 10) {
                self.compact();
            }
        }
    }

    /// Sorts what was added since the last compaction, removes duplicates, and merges the rest. Nearly all chunks of
    /// a further snapshot are known: sorting everything again for each would take most of a check's time.
    fn compact(&mut self) {
        let mut fresh = self.chunks.split_off(self.distinct.min(self.chunks.len()));
        fresh.sort_unstable_by_key(key);
        fresh.dedup_by_key(|chunk| key(chunk));
        let mut known = self.chunks.iter().map(key).peekable();
        fresh.retain(|chunk| {
            let key = key(chunk);
            while known.next_if(|known| *known < key).is_some() {}
            known.peek() != Some(&key)
        });
        if !fresh.is_empty() {
            self.chunks.reserve_exact(fresh.len());
            self.chunks.append(&mut fresh);
            // A stable sort merges sorted runs.
            self.chunks.sort_by_key(key);
        }
        self.distinct = self.chunks.len();
        // Growing by a quarter wastes less memory than `Vec`'s doubling.
        self.chunks.reserve_exact(self.distinct / 4 + (64 << 10) + 1);
    }

    pub(crate) fn finish(mut self) -> ChunkSet {
        self.compact();
        self.chunks.shrink_to_fit();
        ChunkSet(self.chunks)
    }
}

impl ChunkSet {
    /// All entries of this object, and the index of the first.
    pub(crate) fn find(&self, object: &ChunkObject) -> Option<(usize, &[ChunkRef])> {
        let from = self.0.partition_point(|chunk| chunk.object() < *object);
        let rest = self.0.get(from..)?;
        let found = rest.get(..rest.iter().take_while(|chunk| chunk.object() == *object).count())?;
        (!found.is_empty()).then_some((from, found))
    }

    pub(crate) fn contains(&self, object: &ChunkObject) -> bool {
        self.find(object).is_some()
    }

    /// The entry of this object and size.
    pub(crate) fn sized(&self, object: &ChunkObject, stored: u64) -> Option<&ChunkRef> {
        self.find(object)?.1.iter().find(|chunk| u64::from(chunk.stored) == stored)
    }

    /// Whether some object of this chunk is known to have this size.
    pub(crate) fn has_size(&self, id: ChunkId, stored: u64) -> bool {
        let from = self.0.partition_point(|chunk| chunk.id < id);
        let same = self.0.get(from..).unwrap_or_default().iter().take_while(|chunk| chunk.id == id);
        same.into_iter().any(|chunk| u64::from(chunk.stored) == stored)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn entries(&self) -> &[ChunkRef] {
        &self.0
    }

    /// One entry of each object, with its index.
    pub(crate) fn objects(&self) -> impl Iterator<Item = (usize, &ChunkRef)> {
        let mut last = None;
        self.0
            .iter()
            .enumerate()
            .filter(move |(_, chunk)| last.replace(chunk.object()) != Some(chunk.object()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CopyTag;

    #[test]
    fn repetitions_go_and_sizes_stay() {
        let chunk = |n: u32, stored: u32, copy| ChunkRef {
            id: ChunkId::of(&n.to_be_bytes()),
            bytes: n,
            stored,
            copy,
        };
        let mut builder = ChunkSetBuilder::default();
        for _ in 0..50 {
            let round: Vec<_> = (0..5_000).map(|n| chunk(n, n, None)).collect();
            builder.add(round.iter());
            assert!(builder.chunks.len() <= 5_000 + 5_000 / 4 + (64 << 10) + 1);
        }
        builder.add([chunk(7, 8, None), chunk(7, 7, Some(CopyTag(1)))].iter());
        let all = builder.finish();
        assert_eq!((all.entries().len(), all.objects().count()), (5_002, 5_001));
        let object = chunk(7, 0, None).object();
        assert_eq!(all.find(&object).unwrap().1.len(), 2);
        assert!(all.sized(&object, 8).is_some() && all.sized(&object, 9).is_none());
        assert!(all.has_size(object.id, 8) && all.has_size(object.id, 7) && !all.has_size(object.id, 9));
        assert!(!all.contains(&chunk(9_999, 0, None).object()));
        assert!(ChunkSetBuilder::default().finish().is_empty());
    }
}
