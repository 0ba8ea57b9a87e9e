//! Which keys are selected, and the databases, names and expiries with which they arrive.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::glob::glob;
use crate::Error;

/// Which keys are selected, and the databases, names and expiries with which they arrive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct KeyChoice {
    /// Only keys whose names match one of these patterns, in the syntax of KEYS and SCAN: `*`, `?`, `[a-c]`, `\`.
    pub include: Vec<String>,
    /// No keys whose names match one of these.
    pub exclude: Vec<String>,
    /// Databases that get another number: from, to.
    pub databases: BTreeMap<u64, u64>,
    /// Only keys of these databases of the source; if empty, of all databases.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub only: BTreeSet<u64>,
    /// Prefixes of names and their replacements; the first match counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rename: Vec<(String, String)>,
    /// What happens to the expiries of keys.
    #[serde(skip_serializing_if = "Expiries::are_kept")]
    pub expiries: Expiries,
    /// Remove the expiries of hash fields, for servers that do not support them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub drop_field_expiries: bool,
}

/// What happens to the expiries of keys. For those of hash fields see [`KeyChoice::drop_field_expiries`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expiries {
    /// They are kept.
    #[default]
    Keep,
    /// Keys no longer expire.
    Drop,
    /// Keys expire this many milliseconds later.
    Later(u64),
}

impl Expiries {
    fn are_kept(&self) -> bool {
        *self == Expiries::Keep
    }
}

impl KeyChoice {
    /// Whether every key is selected and restored unchanged.
    pub fn is_all(&self) -> bool {
        *self == KeyChoice::default()
    }

    /// Whether only some of the source's keys are selected.
    pub fn is_part(&self) -> bool {
        !self.include.is_empty() || !self.exclude.is_empty() || !self.only.is_empty()
    }

    /// Whether keys keep their names and expiries.
    pub(crate) fn keeps_keys(&self) -> bool {
        self.rename.is_empty() && self.expiries.are_kept() && !self.drop_field_expiries
    }

    /// Whether the whole source has to be read before it is known whether it can be restored with this choice: a
    /// pattern may match nothing, and two keys may get the same name.
    pub fn needs_preflight_scan(&self) -> bool {
        !self.include.is_empty() || !self.rename.is_empty() || self.drop_field_expiries
    }

    /// Whether a key of the source is selected.
    pub fn selects(&self, db: u64, name: &[u8]) -> bool {
        self.has_database(db) && self.wants(name)
    }

    /// Whether keys of this database of the source are selected.
    pub(crate) fn has_database(&self, db: u64) -> bool {
        self.only.is_empty() || self.only.contains(&db)
    }

    /// Whether keys with this name are selected in the selected databases of the source.
    pub fn wants(&self, name: &[u8]) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| glob(pattern.as_bytes(), name));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }

    /// The target database of the keys of database `db`.
    pub fn database(&self, db: u64) -> u64 {
        self.databases.get(&db).copied().unwrap_or(db)
    }

    /// The selected databases of the source whose keys are restored into database `db`.
    pub(crate) fn origins(&self, db: u64) -> Vec<u64> {
        let own = (!self.databases.contains_key(&db)).then_some(db);
        let mapped = self.databases.iter().filter(|(_, to)| **to == db).map(|(from, _)| *from);
        mapped.chain(own).filter(|from| self.has_database(*from)).collect()
    }

    /// The name under which a key is restored.
    pub fn name<'a>(&self, name: &'a [u8]) -> Cow<'a, [u8]> {
        for (prefix, new) in &self.rename {
            if let Some(rest) = name.strip_prefix(prefix.as_bytes()) {
                return Cow::Owned([new.as_bytes(), rest].concat());
            }
        }
        Cow::Borrowed(name)
    }

    /// The names of selected keys of the source that are restored under this name.
    pub(crate) fn origin_names(&self, name: &[u8]) -> Vec<Vec<u8>> {
        let mut names = vec![name.to_vec()];
        for (prefix, new) in &self.rename {
            if let Some(rest) = name.strip_prefix(new.as_bytes()) {
                names.push([prefix.as_bytes(), rest].concat());
            }
        }
        names.retain(|origin| self.wants(origin) && *self.name(origin) == *name);
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether two keys may be restored under this name, because one of them was renamed to it.
    pub(crate) fn may_collide(&self, name: &[u8]) -> bool {
        self.rename.iter().any(|(_, new)| name.starts_with(new.as_bytes()))
    }

    /// The expiry with which a key is restored. An expiry that had passed at `moment`, when the source was read, is
    /// kept: the key no longer existed there.
    pub(crate) fn expiry(&self, at: Option<i64>, moment: i64) -> Option<i64> {
        let at = at?;
        match self.expiries {
            _ if at <= moment => Some(at),
            Expiries::Keep => Some(at),
            Expiries::Drop => None,
            Expiries::Later(by) => Some(at.saturating_add_unsigned(by)),
        }
    }

    /// Whether a key had expired at `moment` and is therefore dropped, although other keys get a later expiry.
    pub(crate) fn had_expired(&self, at: Option<i64>, moment: i64) -> bool {
        !self.expiries.are_kept() && at.is_some_and(|at| at <= moment)
    }
}

/// The time at which an RDB was written, by its `ctime`, in milliseconds since the epoch.
pub(crate) fn written(name: &[u8], value: &[u8]) -> Option<i64> {
    let seconds: i64 = std::str::from_utf8(value).ok().filter(|_| name == b"ctime")?.parse().ok()?;
    seconds.checked_mul(1000)
}

/// Tracks which patterns and databases of a choice have matched a key of the source: one that matches nothing is a
/// mistake.
#[derive(Debug, Clone, Default)]
pub(crate) struct Matched {
    patterns: Vec<bool>,
    databases: BTreeSet<u64>,
    /// At least one key is selected.
    any: bool,
    /// Everything has matched.
    all: bool,
}

impl Matched {
    /// A key of the source.
    #[inline]
    pub(crate) fn note(&mut self, choice: &KeyChoice, db: u64, name: &[u8]) {
        if !self.all {
            self.look(choice, db, name);
        }
    }

    fn look(&mut self, choice: &KeyChoice, db: u64, name: &[u8]) {
        self.note_database(choice, db);
        self.patterns.resize(choice.include.len(), false);
        if choice.has_database(db) {
            for (pattern, matched) in choice.include.iter().zip(&mut self.patterns) {
                *matched = *matched || glob(pattern.as_bytes(), name);
            }
            self.any |= choice.wants(name);
        }
        self.all = self.any
            && self.patterns.iter().all(|matched| *matched)
            && self.databases.len() == named(choice).len();
    }

    /// A database of the source that holds keys.
    pub(crate) fn note_database(&mut self, choice: &KeyChoice, db: u64) {
        if choice.only.contains(&db) || choice.databases.contains_key(&db) {
            self.databases.insert(db);
        }
    }

    /// Fails for patterns and databases that matched no key.
    ///
    /// # Errors
    /// [`Error::Options`], which lists all of them.
    pub(crate) fn finish(&self, choice: &KeyChoice) -> Result<(), Error> {
        let matched = |at: usize| self.patterns.get(at).copied().unwrap_or(false);
        let patterns = choice.include.iter().enumerate().filter(|(at, _)| !matched(*at));
        let mut missing: Vec<String> =
            patterns.map(|(_, pattern)| format!("no key of the source matches `{pattern}`")).collect();
        missing.extend(without_keys(named(choice).difference(&self.databases)));
        if missing.is_empty() && !choice.include.is_empty() && !self.any {
            missing.push("every included key is excluded, too".to_owned());
        }
        unmatched(missing)
    }
}

/// The databases of the source that a choice names.
pub(crate) fn named(choice: &KeyChoice) -> BTreeSet<u64> {
    choice.only.iter().chain(choice.databases.keys()).copied().collect()
}

/// Describes databases without keys.
pub(crate) fn without_keys<'a>(databases: impl Iterator<Item = &'a u64>) -> Vec<String> {
    databases.map(|db| format!("database {db} of the source holds no keys")).collect()
}

/// Fails if anything that was requested does not exist.
pub(crate) fn unmatched(missing: Vec<String>) -> Result<(), Error> {
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Error::Options(format!("the selection matches nothing: {}", missing.join("; ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_excludes_after_it_includes() {
        let choice = KeyChoice {
            include: vec!["bot:*".into()],
            exclude: vec!["*:tmp".into()],
            databases: [(0, 3)].into(),
            only: [0, 1].into(),
            ..KeyChoice::default()
        };
        assert!(choice.wants(b"bot:x") && !choice.wants(b"bot:tmp") && !choice.wants(b"x"));
        assert!(choice.selects(1, b"bot:x") && !choice.selects(3, b"bot:x"));
        assert_eq!((choice.database(0), choice.database(1)), (3, 1));
    }

    #[test]
    fn names_and_databases_lead_back_to_where_they_come_from() {
        let choice = KeyChoice {
            exclude: vec!["old:no*".into()],
            databases: [(0, 3), (1, 0)].into(),
            rename: vec![("old:".into(), "new:".into()), ("x".into(), String::new())],
            ..KeyChoice::default()
        };
        assert_eq!(&*choice.name(b"old:a"), b"new:a");
        assert_eq!(&*choice.name(b"xold:a"), b"old:a");
        assert_eq!(&*choice.name(b"other"), b"other");
        assert_eq!(choice.origin_names(b"new:a"), [&b"new:a"[..], b"old:a", b"xnew:a"]);
        assert_eq!(choice.origin_names(b"old:a"), [b"xold:a"]);
        assert_eq!(choice.origin_names(b"new:no"), [&b"new:no"[..], b"xnew:no"]);
        assert_eq!((choice.origins(3), choice.origins(0), choice.origins(1)), (vec![0, 3], vec![1], vec![]));
    }

    #[test]
    fn an_expiry_that_had_passed_at_the_source_stays() {
        let of = |expiries| KeyChoice { expiries, ..KeyChoice::default() };
        assert_eq!(of(Expiries::Keep).expiry(Some(5), 9), Some(5));
        assert_eq!(of(Expiries::Drop).expiry(Some(5), 4), None);
        assert_eq!(of(Expiries::Drop).expiry(Some(5), 5), Some(5));
        assert_eq!(of(Expiries::Later(7)).expiry(Some(5), 4), Some(12));
        assert_eq!(of(Expiries::Later(7)).expiry(None, 4), None);
        assert!(of(Expiries::Drop).had_expired(Some(5), 5) && !of(Expiries::Keep).had_expired(Some(5), 5));
        assert_eq!(
            (written(b"ctime", b"17"), written(b"ctime", b"x"), written(b"other", b"17")),
            (Some(17_000), None, None)
        );
    }

    #[test]
    fn a_pattern_or_database_that_matches_nothing_is_named() {
        let choice = KeyChoice {
            include: vec!["a*".into(), "b*".into()],
            databases: [(2, 5)].into(),
            ..KeyChoice::default()
        };
        let mut matched = Matched::default();
        matched.note(&choice, 0, b"abc");
        let error = matched.finish(&choice).unwrap_err();
        let text = error.to_string();
        assert!(error.is_usage() && text.contains("matches `b*`; database 2"), "{text}");
        matched.note(&choice, 2, b"b");
        assert!(matched.finish(&choice).is_ok() && Matched::default().finish(&KeyChoice::default()).is_ok());
        // Everything that is included is excluded.
        let choice =
            KeyChoice { include: vec!["a*".into()], exclude: vec!["*".into()], ..KeyChoice::default() };
        let mut matched = Matched::default();
        matched.note(&choice, 0, b"abc");
        assert!(matched.finish(&choice).is_err());
    }
}
