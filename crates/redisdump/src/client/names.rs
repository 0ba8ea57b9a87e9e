//! Names of keys: iterated by SCAN, and remembered by hash, so that a million names take tens of megabytes.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hash, Hasher, RandomState};

use redis::{cmd, from_redis_value};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::Error;
use crate::client::connection::Connection;

/// A bounded set of names, each with its database, and a mark.
pub(crate) struct Names {
    hashes: HashSet<Entry, BuildHasherDefault<Hashed>>,
    most: u64,
    /// A random seed, so that nobody can craft collisions.
    seed: u64,
    full: bool,
}

impl Names {
    pub(crate) fn new(most: u64) -> Names {
        Names { hashes: HashSet::default(), most, seed: RandomState::new().hash_one(0_u8), full: false }
    }

    /// Adds a name if there is room; false if it was already present.
    pub(crate) fn add(&mut self, db: u64, name: &[u8]) -> bool {
        self.insert(self.entry(db, name))
    }

    /// The same with a mark.
    pub(crate) fn add_marked(&mut self, db: u64, name: &[u8]) -> bool {
        self.insert(Entry(self.entry(db, name).0 | MARK))
    }

    fn insert(&mut self, entry: Entry) -> bool {
        if self.hashes.len() as u64 >= self.most && !self.hashes.contains(&entry) {
            self.full = true;
            return true;
        }
        self.hashes.insert(entry)
    }

    pub(crate) fn holds(&self, db: u64, name: &[u8]) -> bool {
        self.hashes.contains(&self.entry(db, name))
    }

    /// Removes the mark of a name.
    pub(crate) fn unmark(&mut self, db: u64, name: &[u8]) {
        if self.is_marked(db, name) {
            self.hashes.replace(self.entry(db, name));
        }
    }

    /// Whether a name was added with a mark.
    pub(crate) fn is_marked(&self, db: u64, name: &[u8]) -> bool {
        self.hashes.get(&self.entry(db, name)).is_some_and(|entry| entry.0 & MARK != 0)
    }

    /// True when there were more names than fit.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    pub(crate) fn clear(&mut self) {
        self.hashes.clear();
        self.full = false;
    }

    fn entry(&self, db: u64, name: &[u8]) -> Entry {
        Entry(xxh3_128_with_seed(name, self.seed.wrapping_add(db)) & !MARK)
    }
}

/// The hash of a name, and its mark, which takes no space of its own and does not count in comparisons.
#[derive(Clone, Copy, Eq)]
struct Entry(u128);

const MARK: u128 = 1;

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.0 | MARK == other.0 | MARK
    }
}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u128(self.0 | MARK);
    }
}

/// The hash of a value that is a hash itself, of a random seed.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "half of the hash is enough for a table")]
    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

/// Iterates over the keys of the selected database. The next step is requested before the keys of the last one are
/// handed out, so that the server works on it meanwhile: the connection is for nothing else until the end.
pub(crate) struct Scan<'a> {
    connection: &'a mut Connection,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    Begin,
    Asked,
    End,
}

impl Scan<'_> {
    pub(crate) fn of_chosen(connection: &mut Connection) -> Scan<'_> {
        Scan { connection, state: State::Begin }
    }

    /// The next keys; `None` at the end. A name may occur twice if the server's table is resized.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Vec<u8>>>, Error> {
        match self.state {
            State::Begin => ask(self.connection, b"0").await?,
            State::Asked => {}
            State::End => return Ok(None),
        }
        self.state = State::End;
        let (next, keys) = answer(self.connection).await?;
        if let Some(cursor) = next {
            ask(self.connection, &cursor).await?;
            self.state = State::Asked;
        }
        Ok(Some(keys))
    }
}

/// One step of SCAN: the next cursor (`None` at the end) and keys, which may repeat.
pub(crate) async fn step(
    connection: &mut Connection,
    cursor: &[u8],
) -> Result<(Option<Vec<u8>>, Vec<Vec<u8>>), Error> {
    ask(connection, cursor).await?;
    answer(connection).await
}

const OPERATION: &str = "SCAN";

async fn ask(connection: &mut Connection, cursor: &[u8]) -> Result<(), Error> {
    let scan = cmd("SCAN").arg(cursor).arg("COUNT").arg(1000).get_packed_command();
    connection.writer.send(&scan, OPERATION).await
}

async fn answer(connection: &mut Connection) -> Result<(Option<Vec<u8>>, Vec<Vec<u8>>), Error> {
    let reply = connection.reader.reply(OPERATION).await?.map_err(|message| Error::Server {
        target: connection.reader.target().to_owned(),
        operation: OPERATION.to_owned(),
        message,
    })?;
    // A cursor is kept as the server wrote it: those of a proxy may be no numbers.
    let (next, keys): (Vec<u8>, Vec<Vec<u8>>) = from_redis_value(reply)
        .map_err(|_| connection.reader.protocol("SCAN returned no cursor and names".to_owned()))?;
    Ok((Some(next).filter(|next| next != b"0"), keys))
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

    #[test]
    fn a_marked_name_is_still_the_same_name() {
        let mut names = Names::new(2);
        assert!(names.add_marked(0, b"a") && names.add(0, b"b"));
        assert!(names.holds(0, b"a") && !names.add(0, b"a") && !names.is_full());
        assert!(names.is_marked(0, b"a") && !names.is_marked(0, b"b") && !names.is_marked(1, b"a"));
        names.unmark(0, b"a");
        names.unmark(1, b"a");
        assert!(names.holds(0, b"a") && !names.is_marked(0, b"a") && !names.holds(1, b"a"));
    }
}
