//! Names of keys: iterated by SCAN, and remembered by hash, so that a million names take tens of megabytes.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::Error;
use crate::client::wire::{Connection, Reply};

/// A bounded set of names, each with its database.
pub(crate) struct Names {
    hashes: HashSet<u128>,
    most: u64,
    /// A random seed, so that nobody can craft collisions.
    seed: u64,
    full: bool,
}

impl Names {
    pub(crate) fn new(most: u64) -> Names {
        Names { hashes: HashSet::new(), most, seed: RandomState::new().hash_one(0_u8), full: false }
    }

    /// Adds a name if there is room; false if it was already present.
    pub(crate) fn add(&mut self, db: u64, name: &[u8]) -> bool {
        let hash = self.hash(db, name);
        if self.hashes.len() as u64 >= self.most && !self.hashes.contains(&hash) {
            self.full = true;
            return true;
        }
        self.hashes.insert(hash)
    }

    pub(crate) fn holds(&self, db: u64, name: &[u8]) -> bool {
        self.hashes.contains(&self.hash(db, name))
    }

    /// True when there were more names than fit.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    pub(crate) fn clear(&mut self) {
        self.hashes.clear();
        self.full = false;
    }

    fn hash(&self, db: u64, name: &[u8]) -> u128 {
        xxh3_128_with_seed(name, self.seed.wrapping_add(db))
    }
}

/// Iterates over the keys of the selected database.
pub(crate) struct Scan<'a> {
    connection: &'a mut Connection,
    cursor: Option<Vec<u8>>,
}

impl Scan<'_> {
    pub(crate) fn of_chosen(connection: &mut Connection) -> Scan<'_> {
        Scan { connection, cursor: Some(b"0".to_vec()) }
    }

    /// The next keys; `None` at the end. A name may occur twice if the server's table is resized.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Vec<u8>>>, Error> {
        let Some(cursor) = self.cursor.take() else { return Ok(None) };
        let (next, keys) = step(self.connection, &cursor).await?;
        self.cursor = next;
        Ok(Some(keys))
    }
}

/// One step of SCAN: the next cursor (`None` at the end) and keys, which may repeat.
pub(crate) async fn step(
    connection: &mut Connection,
    cursor: &[u8],
) -> Result<(Option<Vec<u8>>, Vec<Vec<u8>>), Error> {
    let Reply::Array(parts) = connection.ask(&[b"SCAN", cursor, b"COUNT", b"1000"]).await? else {
        return Err(connection.reader.protocol("SCAN did not return an array".to_owned()));
    };
    let mut parts = parts.into_iter();
    let (Some(next), Some(Reply::Array(keys))) = (parts.next(), parts.next()) else {
        return Err(connection.reader.protocol("SCAN returned an unexpected array".to_owned()));
    };
    let next = next.bytes().filter(|next| *next != b"0").map(<[u8]>::to_vec);
    let keys = keys.into_iter().filter_map(|key| match key {
        Reply::Bulk(key) => Some(key),
        _ => None,
    });
    Ok((next, keys.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_once_and_only_in_its_database() {
        let mut names = Names::new(2);
        assert!(names.add(0, b"a") && !names.add(0, b"a") && names.add(1, b"a"));
        assert!(!names.is_full() && names.holds(1, b"a") && !names.holds(1, b"b"));
        // When full, an unknown name counts as new, and remembered names stay.
        assert!(names.add(0, b"b") && names.is_full() && !names.add(0, b"a"));
    }
}
