//! Finds duplicate names among any number of them, in bounded memory.
//!
//! Each name is represented by a 128-bit hash. Hashes are sorted in memory; when there are too many, sorted runs are
//! spilled to an unnamed temporary file (16 bytes per name) and merged at the end. No duplicate is missed, and the
//! hashes are seeded randomly, so that no file can be crafted to cause a false positive.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::unix::fs::FileExt as _;

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Maximum number of hashes in memory (16 MiB).
const RUN: usize = 1 << 20;
/// Number of hashes read at a time from each run during a merge.
const STEP: usize = 4096;
/// Maximum number of reported duplicates.
const FOUND: usize = 1000;

/// Collects names and reports duplicates.
#[derive(Debug)]
pub(crate) struct Duplicates {
    seed: u64,
    run: Vec<u128>,
    most: usize,
    spilled: Option<Spilled>,
    failed: Option<io::Error>,
}

#[derive(Debug)]
struct Spilled {
    file: File,
    /// The beginning of each run and the end of the last one, in hashes.
    ends: Vec<u64>,
}

impl Default for Duplicates {
    fn default() -> Self {
        Duplicates {
            seed: RandomState::new().hash_one(0_u8),
            run: Vec::new(),
            most: RUN,
            spilled: None,
            failed: None,
        }
    }
}

impl Duplicates {
    /// Keeps at most this many hashes in memory.
    #[cfg(test)]
    fn holding(most: usize) -> Duplicates {
        Duplicates { most, ..Duplicates::default() }
    }

    /// Removes all names.
    pub(crate) fn clear(&mut self) {
        self.run.clear();
        self.run.shrink_to(1 << 12);
        self.spilled = None;
    }

    /// True for fewer than two names.
    pub(crate) fn is_trivial(&self) -> bool {
        self.spilled.is_none() && self.run.len() < 2
    }

    /// Adds a name in a space (a database).
    #[inline]
    pub(crate) fn add(&mut self, space: u64, name: &[u8]) {
        if self.run.len() >= self.most
            && let Err(error) = self.spill()
        {
            self.failed.get_or_insert(error);
            self.run.clear();
        }
        self.run.push(self.hash(space, name));
    }

    pub(crate) fn hash(&self, space: u64, name: &[u8]) -> u128 {
        xxh3_128_with_seed(name, self.seed.wrapping_add(space))
    }

    fn spill(&mut self) -> io::Result<()> {
        self.run.sort_unstable();
        if self.spilled.is_none() {
            self.spilled = Some(Spilled { file: tempfile::tempfile()?, ends: vec![0] });
        }
        let Some(spilled) = &mut self.spilled else { return Ok(()) };
        let begin = spilled.ends.last().copied().unwrap_or(0);
        let mut at = begin * 16;
        for part in self.run.chunks(STEP) {
            let bytes: Vec<u8> = part.iter().flat_map(|hash| hash.to_le_bytes()).collect();
            spilled.file.write_all_at(&bytes, at)?;
            at += bytes.len() as u64;
        }
        spilled.ends.push(begin + self.run.len() as u64);
        self.run.clear();
        Ok(())
    }

    /// The hashes of duplicate names, at most the first thousand. Removes all names.
    ///
    /// # Errors
    /// The temporary file could not be written or read; the result is unknown then.
    pub(crate) fn take(&mut self) -> io::Result<Vec<u128>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut found = Vec::new();
        let mut last = None;
        let mut note = |hash: u128| {
            if last == Some(hash) && found.last() != Some(&hash) && found.len() < FOUND {
                found.push(hash);
            }
            last = Some(hash);
        };
        if self.spilled.is_some() {
            self.spill()?;
        }
        match &self.spilled {
            None => {
                self.run.sort_unstable();
                self.run.iter().copied().for_each(note);
            }
            Some(spilled) => spilled.merge(&mut note)?,
        }
        self.clear();
        Ok(found)
    }
}

impl Spilled {
    fn merge(&self, note: &mut dyn FnMut(u128)) -> io::Result<()> {
        let mut runs: Vec<Run> = self
            .ends
            .windows(2)
            .filter_map(|ends| Some(Run { next: *ends.first()?, end: *ends.last()?, ready: Vec::new() }))
            .collect();
        let mut heads = BinaryHeap::new();
        for (at, run) in runs.iter_mut().enumerate() {
            heads.extend(run.next(&self.file)?.map(|hash| Reverse((hash, at))));
        }
        while let Some(Reverse((hash, at))) = heads.pop() {
            note(hash);
            if let Some(run) = runs.get_mut(at) {
                heads.extend(run.next(&self.file)?.map(|hash| Reverse((hash, at))));
            }
        }
        Ok(())
    }
}

/// A sorted run on disk.
struct Run {
    next: u64,
    end: u64,
    /// Hashes in memory, the next one last.
    ready: Vec<u128>,
}

impl Run {
    fn next(&mut self, file: &File) -> io::Result<Option<u128>> {
        if self.ready.is_empty() && self.next < self.end {
            let count = usize::try_from(self.end - self.next).unwrap_or(STEP).min(STEP);
            let mut bytes = vec![0; count * 16];
            file.read_exact_at(&mut bytes, self.next * 16)?;
            self.next += count as u64;
            let (hashes, _) = bytes.as_chunks::<16>();
            self.ready = hashes.iter().rev().map(|hash| u128::from_le_bytes(*hash)).collect();
        }
        Ok(self.ready.pop())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_found_in_memory_and_on_disk() {
        for most in [1, 7, 1000, 1 << 20] {
            let mut names = Duplicates::holding(most);
            for n in 0..20_000_u32 {
                names.add(u64::from(n % 3), &n.to_le_bytes());
            }
            assert_eq!(names.take().unwrap(), [], "{most}");
            for n in 0..20_000_u32 {
                names.add(0, &n.to_le_bytes());
            }
            // Another space, and three names of one space.
            names.add(1, &7_u32.to_le_bytes());
            for n in [5_u32, 19_999, 5] {
                names.add(0, &n.to_le_bytes());
            }
            let mut expected = [5_u32, 19_999].map(|n| names.hash(0, &n.to_le_bytes()));
            expected.sort_unstable();
            assert_eq!(names.take().unwrap(), expected, "{most}");
            assert!(names.is_trivial());
        }
    }
}
