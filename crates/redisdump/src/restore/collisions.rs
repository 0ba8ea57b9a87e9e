//! Keys that would get the same name: found among any number of keys, in bounded memory, before anything is written.

use std::io;

use crate::client::names::Names;
use crate::display::shown;
use crate::verify::duplicates::Duplicates;

/// Number of names that are kept in order to name the first collisions; further ones are only counted.
const MAX_NAMES: u64 = 100_000;
/// Number of collisions that are named.
const NAMED: usize = 20;

/// The names under which keys are restored.
pub(super) struct Collisions {
    names: Names,
    all: Duplicates,
    found: Vec<String>,
}

impl Default for Collisions {
    fn default() -> Self {
        Collisions { names: Names::new(MAX_NAMES), all: Duplicates::default(), found: Vec::new() }
    }
}

impl Collisions {
    /// Adds a restored key's name.
    pub(super) fn add(&mut self, db: u64, name: &[u8]) {
        self.all.add(db, name);
        if !self.names.add(db, name) && self.found.len() < NAMED {
            self.found.push(format!("two keys would get the name `{}` in database {db}", shown(name)));
        }
    }

    /// The collisions, described.
    ///
    /// # Errors
    /// The temporary file for many names could not be used.
    pub(super) fn finish(mut self) -> io::Result<Vec<String>> {
        let twice = self.all.take()?.len();
        if twice > self.found.len() {
            self.found.push(format!(
                "at least {} more names would each be given to two keys",
                twice - self.found.len()
            ));
        }
        Ok(self.found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collisions_are_named_and_beyond_that_counted() {
        let mut names = Collisions::default();
        for n in 0..MAX_NAMES + 5 {
            names.add(0, &n.to_le_bytes());
        }
        names.add(1, &0_u64.to_le_bytes());
        names.add(0, &(MAX_NAMES + 1).to_le_bytes());
        names.add(0, b"a");
        let found = names.finish().unwrap();
        assert_eq!(found, ["at least 1 more names would each be given to two keys"]);
        let mut names = Collisions::default();
        for name in [b"a", b"b", b"a"] {
            names.add(3, name);
        }
        assert_eq!(names.finish().unwrap(), ["two keys would get the name `a` in database 3"]);
    }
}
