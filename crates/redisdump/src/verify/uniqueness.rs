//! Finds duplicate keys, and duplicate members of tables, in an RDB: servers reject such a file, and RESTORE rejects
//! such a value after others were accepted. Checked for every file that did not come from a running server.

use std::io;

use crate::display::shown;
use crate::rdb::{Elements, Key, Kind, Lint, Reader, Visitor};
use crate::verify::duplicates::Duplicates;

/// Checks a whole RDB.
#[derive(Debug, Default)]
pub(crate) struct Uniqueness {
    names: Duplicates,
    members: Duplicates,
    /// The value is a table, in which servers notice duplicates.
    table: bool,
    any: bool,
    can_be_empty: bool,
    db: u64,
    name: Vec<u8>,
    /// The first key with a duplicate member.
    member: Option<(u64, Vec<u8>)>,
    failed: Option<io::Error>,
}

/// A duplicate in an RDB.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Duplicate {
    /// A duplicate member or field of this key.
    Member(u64, Vec<u8>),
    /// Duplicate keys, by their hashes; [`Uniqueness::name`] finds the first name.
    Keys(Vec<u128>),
}

impl Uniqueness {
    /// The findings, at the end.
    ///
    /// # Errors
    /// The temporary file could not be used.
    pub(crate) fn finish(&mut self) -> io::Result<Option<Duplicate>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if let Some((db, name)) = self.member.take() {
            return Ok(Some(Duplicate::Member(db, name)));
        }
        let twice = self.names.take()?;
        Ok((!twice.is_empty()).then_some(Duplicate::Keys(twice)))
    }

    /// Finds the name of the first duplicate key by reading the RDB again.
    pub(crate) fn name(&self, file: impl io::Read, twice: &[u128]) -> Option<(u64, Vec<u8>)> {
        first_of(&self.names, file, twice)
    }

    fn element(&mut self, name: &[u8]) {
        self.any = true;
        if self.table {
            self.members.add(0, name);
        }
    }
}

impl Duplicate {
    /// For display; `file` is the RDB again, to find the name of a key.
    pub(crate) fn shown(&self, of: &Uniqueness, file: Option<impl io::Read>) -> String {
        let key = |db: &u64, name: &[u8]| format!("key {} of database {db}", shown(name));
        match self {
            Duplicate::Member(db, name) => format!("{} has a duplicate member or field", key(db, name)),
            Duplicate::Keys(twice) => {
                let (named, more) = (file.and_then(|file| of.name(file, twice)), twice.len() - 1);
                let named = named.map_or_else(|| "a key".to_owned(), |(db, name)| key(&db, &name));
                let others = if more > 0 { format!(", and {more} more") } else { String::new() };
                format!("{named} is duplicated{others}")
            }
        }
    }
}

/// The first key of an RDB with one of these hashes.
pub(crate) fn first_of(
    names: &Duplicates,
    mut file: impl io::Read,
    twice: &[u128],
) -> Option<(u64, Vec<u8>)> {
    struct Named<'a> {
        names: &'a Duplicates,
        twice: &'a [u128],
        found: Option<(u64, Vec<u8>)>,
    }
    impl Elements for Named<'_> {}
    impl Visitor for Named<'_> {
        fn key(&mut self, key: &Key<'_>) {
            if self.found.is_none() && self.twice.contains(&self.names.hash(key.db, key.name)) {
                self.found = Some((key.db, key.name.to_vec()));
            }
        }
    }
    let mut named = Named { names, twice, found: None };
    let mut reader = Reader::new().try_newer(true);
    let mut buffer = vec![0; 256 << 10];
    while named.found.is_none() && !reader.is_complete() {
        let n = file.read(&mut buffer).ok().filter(|n| *n > 0)?;
        reader.feed(buffer.get(..n)?, &mut named).ok()?;
    }
    named.found
}

impl Elements for Uniqueness {
    fn item(&mut self, _bytes: &[u8]) {
        self.any = true;
    }

    fn member(&mut self, bytes: &[u8]) {
        self.element(bytes);
    }

    fn scored(&mut self, member: &[u8], _score: f64) {
        self.element(member);
    }

    fn field(&mut self, field: &[u8], _value: &[u8], _expiry: Option<i64>) {
        self.element(field);
    }

    fn lint(&mut self, _odd: Lint) {}
}

impl Visitor for Uniqueness {
    fn key(&mut self, key: &Key<'_>) {
        let kind = key.value_type.kind();
        self.table = kind != Kind::List && key.value_type.encoding() == "table";
        self.can_be_empty = matches!(kind, Kind::List | Kind::Set | Kind::Zset | Kind::Hash);
        self.any = false;
        self.db = key.db;
        self.name.clear();
        self.name.extend_from_slice(key.name);
    }

    fn key_end(&mut self) {
        // Servers omit such a key.
        if !self.can_be_empty || self.any {
            self.names.add(self.db, &self.name);
        }
        if self.members.is_trivial() {
            return self.members.clear();
        }
        match self.members.take() {
            Ok(twice) if twice.is_empty() => {}
            Ok(_) => drop(self.member.get_or_insert((self.db, self.name.clone()))),
            Err(error) => drop(self.failed.get_or_insert(error)),
        }
    }
}
