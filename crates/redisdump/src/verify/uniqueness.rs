//! Keys, and members of tables, that an RDB has twice: servers refuse the file, and RESTORE the value, after others were
//! taken. It is looked for wherever a file is read that no running server holds.

use std::io;

use crate::display::shown;
use crate::rdb::{Elements, Key, Kind, Odd, Reader, Visitor};
use crate::verify::duplicates::Duplicates;

/// Watches a whole RDB.
#[derive(Debug, Default)]
pub(crate) struct Uniqueness {
    names: Duplicates,
    members: Duplicates,
    /// The value is a table, in which servers notice what comes twice.
    table: bool,
    any: bool,
    can_be_empty: bool,
    db: u64,
    name: Vec<u8>,
    /// The first key with a member that comes twice.
    member: Option<(u64, Vec<u8>)>,
    failed: Option<io::Error>,
}

/// What an RDB has twice.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Twice {
    /// A member or field of this key.
    Member(u64, Vec<u8>),
    /// So many keys; their hashes name them ([`Uniqueness::name`]).
    Keys(Vec<u128>),
}

impl Uniqueness {
    /// What was found, at the end.
    ///
    /// # Errors
    /// The temporary file for many names could not be used.
    pub(crate) fn finish(&mut self) -> io::Result<Option<Twice>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if let Some((db, name)) = self.member.take() {
            return Ok(Some(Twice::Member(db, name)));
        }
        let twice = self.names.take()?;
        Ok((!twice.is_empty()).then_some(Twice::Keys(twice)))
    }

    /// Names the first of the keys that come twice, by reading the RDB once more.
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

impl Twice {
    /// For people; `file` is the RDB once more, so that a key can be named.
    pub(crate) fn shown(&self, of: &Uniqueness, file: Option<impl io::Read>) -> String {
        let key = |db: &u64, name: &[u8]| format!("key {} of database {db}", shown(name));
        match self {
            Twice::Member(db, name) => format!("{} has a duplicate member or field", key(db, name)),
            Twice::Keys(twice) => {
                let (named, more) = (file.and_then(|file| of.name(file, twice)), twice.len() - 1);
                let named = named.map_or_else(|| "a key".to_owned(), |(db, name)| key(&db, &name));
                let others = if more > 0 { format!(", and {more} more") } else { String::new() };
                format!("{named} stands there twice{others}")
            }
        }
    }
}

/// The first key of an RDB whose hash is one of these.
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

    fn odd(&mut self, _odd: Odd) {}
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
        // Such a key is left out by servers.
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
