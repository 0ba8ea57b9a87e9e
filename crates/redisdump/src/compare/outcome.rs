//! Compares two sides of a key, and collects the outcomes for all keys.

use std::collections::BTreeMap;

use crate::ServerIdentity;
use crate::compare::canonical::Live;
use crate::compare::digest::hash_value;
use crate::compare::field_ttl::{LISTED, LiveFields};
use crate::compare::report::{Comparison, Difference, DifferenceKind};
use crate::display::shown;
use crate::rdb::module_name;

/// The outcome for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyOutcome {
    /// Equal on both sides, except for this number of expired fields that one side has deleted.
    Equal {
        /// Number of fields.
        expired: u64,
    },
    /// Values of this module type with different bytes: only the module knows whether they are the same to clients.
    Unverified(u64),
    /// Expired, and missing on at least one side.
    Expired,
    /// They differ.
    Different(DifferenceKind, String),
}

/// Compares two sides of a key by a server's clock: what has expired there may already be missing.
pub(crate) fn diff(left: Option<&Live>, right: Option<&Live>, now: i64) -> KeyOutcome {
    let (left, right) = match (left, right) {
        (None, None) => return KeyOutcome::Expired,
        (Some(one), None) | (None, Some(one)) if one.is_due(now) => return KeyOutcome::Expired,
        (Some(left), None) => return KeyOutcome::Different(DifferenceKind::MissingRight, unlisted(&[left])),
        (None, Some(right)) => return KeyOutcome::Different(DifferenceKind::MissingLeft, unlisted(&[right])),
        (Some(left), Some(right)) => (left, right),
    };
    if left.digest.kind != right.digest.kind {
        let details = format!("({} against {})", left.digest.kind, right.digest.kind);
        return KeyOutcome::Different(DifferenceKind::Type, details);
    }
    if left.digest.module != right.digest.module {
        let [one, other] = [left, right].map(|side| module_name(side.digest.module));
        return KeyOutcome::Different(DifferenceKind::Type, format!("({one} against {other})"));
    }
    let opaque = left.digest.opaque || right.digest.opaque;
    let unverified = opaque && left.digest.value != right.digest.value;
    let expired = match left.digest == right.digest || unverified {
        true => 0,
        false => match equal_but_for_expired(left, right, now) {
            Some(expired) => expired,
            None => {
                let details = format!("({}){}", left.digest.kind, unlisted(&[left, right]));
                return KeyOutcome::Different(DifferenceKind::Value, details);
            }
        },
    };
    let same = match (left.expiry, right.expiry) {
        (Some(at), Some(other)) => at.abs_diff(other) <= left.slack + right.slack,
        (at, other) => at == other,
    };
    if same {
        return if unverified {
            KeyOutcome::Unverified(left.digest.module)
        } else {
            KeyOutcome::Equal { expired }
        };
    }
    KeyOutcome::Different(DifferenceKind::Expiry, expiries(left.expiry, right.expiry))
}

/// The expiries of both sides, in words.
fn expiries(left: Option<i64>, right: Option<i64>) -> String {
    let word = |expiry: Option<i64>| expiry.map_or_else(|| "never".to_owned(), |at| format!("at {at} ms"));
    format!("({} against {})", word(left), word(right))
}

/// How many more fields one side has, if two hashes are equal except for expired fields.
fn equal_but_for_expired(left: &Live, right: &Live, now: i64) -> Option<u64> {
    let rest = |side: &Live| match &side.fields {
        None => Some((side.digest.value, 0)),
        Some(fields) => fields.rest(now).map(|LiveFields { sum, count, due }| (hash_value(sum, count), due)),
    };
    let ((of_left, left_due), (of_right, right_due)) = (rest(left)?, rest(right)?);
    (of_left == of_right).then(|| left_due.abs_diff(right_due))
}

/// A note for hashes of which too many fields are about to expire.
fn unlisted(sides: &[&Live]) -> String {
    let cut_off =
        |side: &&Live| side.fields.as_ref().is_some_and(crate::compare::field_ttl::Fields::is_cut_off);
    match sides.iter().any(cut_off) {
        true => {
            format!(" more than {LISTED} of its fields expire within a day: this may be the only difference")
        }
        false => String::new(),
    }
}

/// Collects outcomes.
pub(crate) struct Findings {
    show: usize,
    keys: u64,
    equal: u64,
    different: u64,
    expired_meanwhile: u64,
    expired_fields: u64,
    left_out: u64,
    not_verified: BTreeMap<String, u64>,
    pub(crate) unnamed_extra: u64,
    pub(crate) extra_is_counted: bool,
    differences: Vec<Difference>,
    /// Keys that could not be read from one of the sides, described.
    pub(crate) unreachable: Vec<String>,
}

/// What is known about the two sides at the end.
pub(crate) struct Sides {
    pub(crate) left: String,
    pub(crate) right: ServerIdentity,
    pub(crate) functions_equal: Option<bool>,
    pub(crate) counters: bool,
    pub(crate) slack: u64,
    pub(crate) with_metadata: u64,
    /// Slots of a cluster moved while keys were read.
    pub(crate) slots_moved: bool,
}

impl Findings {
    pub(crate) fn new(show: usize) -> Findings {
        Findings {
            show,
            keys: 0,
            equal: 0,
            different: 0,
            expired_meanwhile: 0,
            expired_fields: 0,
            left_out: 0,
            not_verified: BTreeMap::new(),
            unnamed_extra: 0,
            extra_is_counted: false,
            differences: Vec::new(),
            unreachable: Vec::new(),
        }
    }

    pub(crate) fn note(&mut self, db: u64, key: &[u8], outcome: KeyOutcome) {
        match outcome {
            KeyOutcome::Equal { expired } => {
                self.keys += 1;
                self.equal += 1;
                self.expired_fields += expired;
            }
            KeyOutcome::Unverified(module) => *self.not_verified.entry(module_name(module)).or_default() += 1,
            KeyOutcome::Expired => self.expired_meanwhile += 1,
            KeyOutcome::Different(kind, details) => {
                self.keys += 1;
                self.different += 1;
                if self.differences.len() < self.show {
                    self.differences.push(Difference { db, key: shown(key), kind, details });
                }
            }
        }
    }

    /// A key that was noted as equal, and has an expiry on the right side only.
    pub(crate) fn expires_unexpectedly(&mut self, db: u64, key: &[u8], at: i64) {
        self.keys -= 1;
        self.equal -= 1;
        self.note(db, key, KeyOutcome::Different(DifferenceKind::Expiry, expiries(None, Some(at))));
    }

    /// A key that the right side does not support and does not have.
    pub(crate) fn leave_out(&mut self) {
        self.left_out += 1;
    }

    pub(crate) fn finish(self, sides: Sides) -> Comparison {
        Comparison {
            left: sides.left,
            right: sides.right,
            keys: self.keys,
            equal_keys: self.equal,
            different_keys: self.different,
            expired_meanwhile: self.expired_meanwhile,
            expired_fields: self.expired_fields,
            left_out: self.left_out,
            not_verified: self.not_verified,
            unnamed_extra: self.unnamed_extra,
            extra_is_counted: self.extra_is_counted,
            differences: self.differences,
            unreachable: self.unreachable,
            functions_equal: sides.functions_equal,
            expiry_exact: sides.slack == 0,
            expiry_within: sides.slack,
            counters_compared: sides.counters,
            with_metadata: sides.with_metadata,
            slots_moved: sides.slots_moved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::digest::Digester;
    use crate::compare::field_ttl::Watch;
    use crate::rdb::{Elements as _, Kind};

    /// A year that no host's clock shows.
    const NOW: i64 = 4_102_444_800_000;

    fn hash(fields: &[(&str, Option<i64>)], expiry: Option<i64>) -> Live {
        let mut digester = Digester::default();
        digester.watch(Watch::new(NOW - 60_000, LISTED));
        digester.begin(Kind::Hash);
        for (field, at) in fields {
            digester.field(field.as_bytes(), b"v", *at);
        }
        Live { fields: digester.fields(), digest: digester.digest(), expiry, slack: 0 }
    }

    #[test]
    fn the_servers_clock_says_what_has_expired() {
        let stays = hash(&[("f", None)], None);
        let expires_now = hash(&[("f", None)], Some(NOW));
        assert_eq!(diff(Some(&expires_now), None, NOW), KeyOutcome::Expired);
        assert_eq!(diff(None, Some(&expires_now), NOW), KeyOutcome::Expired);
        let missing = |outcome| matches!(outcome, KeyOutcome::Different(DifferenceKind::MissingRight, _));
        assert!(
            missing(diff(Some(&expires_now), None, NOW - 2000)) && missing(diff(Some(&stays), None, NOW))
        );
    }

    #[test]
    fn a_hash_is_the_same_without_the_fields_that_are_due() {
        let all =
            hash(&[("a", None), ("b", Some(NOW - 70_000)), ("c", Some(NOW)), ("d", Some(NOW + 9999))], None);
        let rest = hash(&[("a", None), ("d", Some(NOW + 9999))], None);
        assert_eq!(diff(Some(&all), Some(&rest), NOW), KeyOutcome::Equal { expired: 2 });
        assert_eq!(diff(Some(&rest), Some(&all), NOW), KeyOutcome::Equal { expired: 2 });
        assert_eq!(
            diff(Some(&all), Some(&hash(&[("a", None)], None)), NOW + 9999),
            KeyOutcome::Equal { expired: 3 }
        );
        // A field that has not expired, or that never expires, is a difference.
        let value = |outcome| matches!(outcome, KeyOutcome::Different(DifferenceKind::Value, _));
        assert!(value(diff(Some(&all), Some(&rest), NOW - 9999)));
        assert!(value(diff(Some(&all), Some(&hash(&[("a", None)], None)), NOW)));
        assert!(value(diff(
            Some(&all),
            Some(&hash(&[("a", None), ("b", None), ("d", Some(NOW + 9999))], None)),
            NOW
        )));
        // All of it may have expired.
        let expiring = hash(&[("b", Some(NOW - 70_000)), ("c", Some(NOW))], None);
        assert_eq!(diff(Some(&expiring), None, NOW), KeyOutcome::Expired);
        assert!(matches!(diff(Some(&all), None, NOW + 99_999), KeyOutcome::Different(..)));
    }

    fn module(id: u64, bytes: &[u8], expiry: Option<i64>) -> Live {
        let mut digester = Digester::default();
        digester.begin(Kind::Module);
        digester.opaque(&id.to_le_bytes());
        digester.opaque(bytes);
        Live { fields: None, digest: digester.digest(), expiry, slack: 0 }
    }

    #[test]
    fn other_bytes_of_an_unknown_module_are_not_a_difference() {
        let (id, other) = (7 << 10 | 1, 8 << 10);
        let one = module(id, b"\x05\x01a", None);
        assert_eq!(diff(Some(&one), Some(&one), NOW), KeyOutcome::Equal { expired: 0 });
        let changed = diff(Some(&one), Some(&module(id + 1, b"\x05\x01b", None)), NOW);
        assert_eq!(changed, KeyOutcome::Unverified(7 << 10));
        let mut findings = Findings::new(9);
        findings.note(0, b"k", changed);
        assert_eq!((findings.keys, findings.different, findings.not_verified.values().sum()), (0, 0, 1));
        // Another module, another expiry, or none at all are still differences.
        let kind = |found| match found {
            KeyOutcome::Different(kind, _) => Some(kind),
            _ => None,
        };
        let other = module(other, b"\x05\x01a", None);
        assert_eq!(kind(diff(Some(&one), Some(&other), NOW)), Some(DifferenceKind::Type));
        let later = module(id, b"\x05\x01b", Some(NOW + 99_999));
        assert_eq!(kind(diff(Some(&one), Some(&later), NOW)), Some(DifferenceKind::Expiry));
        assert_eq!(kind(diff(Some(&one), None, NOW)), Some(DifferenceKind::MissingRight));
    }

    #[test]
    fn an_expiry_is_exact_to_the_millisecond_unless_reported_inexactly() {
        let (one, mut other) =
            (hash(&[("f", None)], Some(NOW + 5000)), hash(&[("f", None)], Some(NOW + 5001)));
        assert!(matches!(
            diff(Some(&one), Some(&other), NOW),
            KeyOutcome::Different(DifferenceKind::Expiry, _)
        ));
        other.slack = 1;
        assert_eq!(diff(Some(&one), Some(&other), NOW), KeyOutcome::Equal { expired: 0 });
    }
}
