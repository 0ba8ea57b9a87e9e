//! Shows without a query for each key that none has an expiry that it should not have.
//!
//! A server tells how many keys of a database have an expiry. If it is the number of those that were found with the
//! expiry that they should have, no other key has one: that saves a query for each permanent key. If the numbers differ,
//! the expiries of these keys are queried after all.

use std::collections::BTreeMap;

use crate::Error;
use crate::client::databases::keyspace;
use crate::client::identity::clock;
use crate::client::names::{Names, step};
use crate::compare::canonical::KeyReader;
use crate::compare::field_ttl::EXPIRY_MARGIN;
use crate::compare::outcome::Findings;
use crate::compare::servers::CompareOptions;

/// Counts keys with an expiry.
pub(crate) struct ExpiryCount {
    /// Of each database with keys to look up, those that were found with an expiry.
    found: BTreeMap<u64, u64>,
    /// The earliest of their expiries: a key that has expired is no longer counted by the server.
    earliest: i64,
    /// Whether the expiry of any key was not queried.
    assumed: bool,
}

impl Default for ExpiryCount {
    fn default() -> ExpiryCount {
        ExpiryCount { found: BTreeMap::new(), earliest: i64::MAX, assumed: false }
    }
}

impl ExpiryCount {
    /// Whether counting can replace queries: the server has no keys besides those that are looked up.
    pub(crate) fn is_possible(key_reader: &KeyReader, settings: &CompareOptions) -> bool {
        key_reader.takes_hints()
            && !settings.others_allowed
            && !(settings.only_selected && settings.choice.is_part())
    }

    /// Counts a key; `assumed` if its expiry was not queried.
    pub(crate) fn note(&mut self, db: u64, expiry: Option<i64>, assumed: bool) {
        self.assumed |= assumed;
        *self.found.entry(db).or_default() += u64::from(expiry.is_some());
        self.earliest = self.earliest.min(expiry.unwrap_or(i64::MAX));
    }

    /// Whether the server counts as many keys with an expiry as were found, none of which has expired since.
    async fn agrees(&self, key_reader: &mut KeyReader) -> Result<bool, Error> {
        let Some(connection) = key_reader.connections().next() else { return Ok(false) };
        let Some(keyspace) = keyspace(connection).await? else { return Ok(false) };
        let now = clock(connection).await?;
        let counted = |db: &u64| keyspace.get(db).and_then(|entry| entry.expires);
        Ok(self.earliest > now.saturating_add(EXPIRY_MARGIN)
            && self.found.iter().all(|(db, found)| counted(db) == Some(*found)))
    }

    /// Verifies that no key has an expiry except those that were counted. Otherwise, marked keys with one are
    /// differences.
    pub(crate) async fn verify(
        &self,
        key_reader: &mut KeyReader,
        names: &mut Names,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        if !self.assumed || self.agrees(key_reader).await? {
            return Ok(());
        }
        for db in self.found.keys().copied() {
            key_reader.select(db).await?;
            let mut cursor = b"0".to_vec();
            loop {
                let Some(connection) = key_reader.connections().next() else { return Ok(()) };
                let (next, keys) = step(connection, &cursor).await?;
                let assumed: Vec<&[u8]> =
                    keys.iter().map(Vec::as_slice).filter(|key| names.is_marked(db, key)).collect();
                let expiries = key_reader.expiries(&assumed).await?;
                for (key, expiry) in assumed.iter().zip(expiries) {
                    if let Some(at) = expiry {
                        // SCAN may return it again.
                        names.unmark(db, key);
                        findings.expires_unexpectedly(db, key, at);
                    }
                }
                let Some(next) = next else { break };
                cursor = next;
            }
        }
        Ok(())
    }
}
