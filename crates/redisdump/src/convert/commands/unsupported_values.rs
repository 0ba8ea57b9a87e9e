//! Counts what a target does not support in a whole key space.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::Unsupported;
use crate::display::shown;

/// Number of examples for each kind.
const EXAMPLES: usize = 5;
/// Maximum number of remembered names, by a hash of 16 bytes each.
const NAMES: usize = 500_000;

/// What is omitted, with counts and the first keys of each kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct UnsupportedValues {
    /// One entry for each kind, in a stable order.
    pub kinds: Vec<UnsupportedKind>,
    #[serde(skip)]
    index: BTreeMap<Unsupported, usize>,
    #[serde(skip)]
    names: BTreeSet<u128>,
}

/// One kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct UnsupportedKind {
    /// A description.
    pub reason: String,
    /// True when clients see the same value without it: the key is copied, and only this is omitted.
    pub harmless: bool,
    /// Number of keys or function libraries.
    pub count: u64,
    /// The first of them, as database and name; empty names for libraries.
    pub examples: Vec<(u64, String)>,
}

impl UnsupportedValues {
    /// Counts one occurrence.
    pub fn add(&mut self, what: &Unsupported, db: u64, name: &[u8]) {
        // Values that differ between keys do not make separate kinds.
        let kind = match what {
            Unsupported::TooLong { .. } => Unsupported::TooLong { bytes: 0 },
            Unsupported::PendingOfDeleted { limit, .. } => {
                Unsupported::PendingOfDeleted { count: 0, limit: *limit }
            }
            Unsupported::PendingWithoutOwner { .. } => Unsupported::PendingWithoutOwner { count: 0 },
            other => other.clone(),
        };
        let of_a_key = !matches!(what, Unsupported::Function | Unsupported::ModuleData { .. });
        if of_a_key && !what.is_harmless() && self.names.len() < NAMES {
            self.names.insert(xxh3_128_with_seed(name, db));
        }
        let kinds = &mut self.kinds;
        let at = *self.index.entry(kind).or_insert_with(|| {
            kinds.push(UnsupportedKind {
                reason: what.to_string(),
                harmless: what.is_harmless(),
                count: 0,
                examples: Vec::new(),
            });
            kinds.len() - 1
        });
        if let Some(value) = kinds.get_mut(at) {
            value.count += 1;
            if value.examples.len() < EXAMPLES {
                value.examples.push((db, shown(name)));
            }
        }
    }

    /// True for an omitted key. Beyond half a million names, the rest is not remembered.
    pub(crate) fn left_out(&self, db: u64, name: &[u8]) -> bool {
        !self.names.is_empty() && self.names.contains(&xxh3_128_with_seed(name, db))
    }

    /// True when function libraries were omitted.
    pub(crate) fn left_out_functions(&self) -> bool {
        self.index.contains_key(&Unsupported::Function)
    }

    /// True when nothing is omitted.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// True when keys or function libraries are omitted. Module data without a key does not count.
    pub fn has_keys(&self) -> bool {
        let beside = |what: &Unsupported| matches!(what, Unsupported::ModuleData { .. });
        self.index.keys().any(|what| !what.is_harmless() && !beside(what))
    }

    /// True when something is omitted that clients would notice.
    pub fn is_serious(&self) -> bool {
        self.kinds.iter().any(|value| !value.harmless)
    }
}

impl fmt::Display for UnsupportedValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, value) in self.kinds.iter().enumerate() {
            let separator = if at > 0 { "\n" } else { "" };
            write!(f, "{separator}{} × {}", value.count, value.reason)?;
            let names: Vec<String> = value
                .examples
                .iter()
                .filter(|(_, name)| !name.is_empty())
                .map(|(db, name)| format!("{name} (database {db})"))
                .collect();
            if !names.is_empty() {
                let more = if value.count > names.len() as u64 { " …" } else { "" };
                write!(f, ": {}{more}", names.join(", "))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_outside_of_keys_is_not_counted_as_keys() {
        let mut unsupported = UnsupportedValues::default();
        unsupported.add(&Unsupported::ModuleData { module: "m".to_owned() }, 0, b"");
        unsupported.add(&Unsupported::StreamCounters, 0, b"s");
        assert!(unsupported.is_serious() && !unsupported.has_keys());
        unsupported.add(&Unsupported::Module { module: "m".to_owned() }, 0, b"k");
        assert!(unsupported.has_keys());
    }

    #[test]
    fn losses_are_counted_by_kind_with_examples() {
        let mut unsupported = UnsupportedValues::default();
        assert!(unsupported.is_empty() && !unsupported.is_serious());
        unsupported.add(&Unsupported::StreamCounters, 0, b"s");
        assert!(!unsupported.is_serious());
        for n in 0..9_u8 {
            unsupported.add(&Unsupported::TooLong { bytes: u64::from(n) }, 1, &[b'a' + n]);
        }
        assert!(
            unsupported.left_out(1, b"a") && !unsupported.left_out(0, b"a") && !unsupported.left_out(0, b"s")
        );
        unsupported.add(&Unsupported::Function, 0, b"");
        assert!(unsupported.left_out_functions() && !unsupported.left_out(0, b""));
        unsupported.kinds.pop();
        assert!(unsupported.is_serious());
        let text = unsupported.to_string();
        assert!(text.contains("9 × an element of 0 bytes") && text.contains("a (database 1), b"), "{text}");
        assert!(text.ends_with("e (database 1) …"), "{text}");
    }
}
