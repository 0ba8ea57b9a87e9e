//! Keys that cannot be read from one side of a comparison: it lacks their database, or is a single cluster node that
//! does not serve their slots.

use std::collections::BTreeMap;

use crate::client::connection::Connection;
use crate::cluster::{SlotSet, Topology, slot_of};
use crate::compare::canonical::KeyReader;
use crate::{ConnectOptions, Error, ServerIdentity};

/// What can and what could not be read from one side.
pub(crate) struct Reach {
    /// The slots of a node that is compared by itself, without its cluster.
    slots: Option<SlotSet>,
    /// Number of keys in slots that it does not serve.
    outside: u64,
    /// Databases that it lacks: its error message, and the number of keys on the other side.
    missing: BTreeMap<u64, (String, u64)>,
}

impl Reach {
    /// For an identified server.
    pub(crate) async fn of(options: &ConnectOptions, server: &ServerIdentity) -> Result<Reach, Error> {
        let slots = match server.cluster && !options.is_cluster() {
            true => Topology::own_slots(&mut Connection::open(options).await?).await?,
            false => None,
        };
        Ok(Reach { slots, outside: 0, missing: BTreeMap::new() })
    }

    /// Whether it serves the slot of this key.
    pub(crate) fn serves(&self, name: &[u8]) -> bool {
        self.slots.as_ref().is_none_or(|slots| slots.has(slot_of(name)))
    }

    /// Counts keys in slots that it does not serve.
    pub(crate) fn outside(&mut self, keys: u64) {
        self.outside += keys;
    }

    /// Selects a database; if it does not exist, returns true and counts this number of keys of the other side.
    pub(crate) async fn is_without(
        &mut self,
        key_reader: &mut KeyReader,
        db: u64,
        keys: u64,
    ) -> Result<bool, Error> {
        if let Some((_, all)) = self.missing.get_mut(&db) {
            *all += keys;
            return Ok(true);
        }
        let words = key_reader.is_without(db).await?;
        let missing = words.is_some();
        if let Some(words) = words {
            self.missing.insert(db, (words, keys));
        }
        Ok(missing)
    }

    /// What could not be compared, described.
    pub(crate) fn unreachable(&self, server: &str) -> Vec<String> {
        let keys = |number: u64| if number == 1 { "1 key".to_owned() } else { format!("{number} keys") };
        let missing = self.missing.iter().filter(|(_, (_, number))| *number > 0);
        let mut lines: Vec<String> = missing
            .map(|(db, (words, number))| {
                format!(
                    "database {db} with {} of the other side: {server} does not have it ({words})",
                    keys(*number)
                )
            })
            .collect();
        if self.outside > 0 {
            lines.push(format!(
                "{} of the other side in slots that {server} does not serve (MOVED): name the whole cluster, redis+cluster://",
                keys(self.outside)
            ));
        }
        lines
    }
}
