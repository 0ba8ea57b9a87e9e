//! Pins: snapshots that a user wants to keep whatever the policy says. Pinning and unpinning change and delete
//! nothing: each writes a numbered document, and the highest number counts. So a host that may not delete can pin,
//! and no clock decides the order.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{Error, Repository, SnapshotId};

/// `pins/<snapshot>/<number>-<random>.json`
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Pin {
    format: u64,
    snapshot: SnapshotId,
    pinned: bool,
    at: DateTime<Utc>,
}

/// The snapshot and the number in a pin's name; `None` for any other name.
pub(crate) fn parse_name(object: &str) -> Option<(SnapshotId, u64)> {
    let (id, name) = object.strip_prefix("pins/")?.split_once('/')?;
    let (number, _) = name.strip_suffix(".json")?.split_once('-')?;
    Some((SnapshotId::parse(id)?, number.parse().ok()?))
}

impl Repository {
    /// The snapshots that were pinned (true) or unpinned (false), listed or not. Of two documents with the same
    /// number, the one that keeps the snapshot counts, and an unreadable one keeps it too.
    pub async fn pins(&self) -> Result<BTreeMap<SnapshotId, bool>, Error> {
        let mut last: BTreeMap<SnapshotId, (u64, Vec<String>)> = BTreeMap::new();
        for meta in self.store.list("pins").await? {
            let object = meta.location.to_string();
            let Some((id, number)) = parse_name(&object) else { continue };
            let (known, objects) = last.entry(id).or_default();
            if number > *known {
                (*known, *objects) = (number, Vec::new());
            }
            if number == *known {
                objects.push(object);
            }
        }
        let mut pins = BTreeMap::new();
        for (id, (_, objects)) in last {
            let mut pinned = false;
            for object in objects {
                pinned |= self.keeps(&id, &object).await?;
            }
            pins.insert(id, pinned);
        }
        Ok(pins)
    }

    async fn keeps(&self, id: &SnapshotId, object: &str) -> Result<bool, Error> {
        let Some(bytes) = self.store.get(object).await? else { return Ok(false) };
        let pin = self.crypt.read::<Pin>(object, &bytes);
        Ok(pin.map_or(true, |pin| pin.pinned || pin.snapshot != *id))
    }

    /// Pins or unpins a snapshot.
    pub async fn pin(&self, id: &SnapshotId, pinned: bool, now: DateTime<Utc>) -> Result<(), Error> {
        let listed = self.store.list(&format!("pins/{id}")).await?;
        let numbers = listed.iter().filter_map(|meta| parse_name(meta.location.as_ref()));
        let number = numbers.map(|(_, number)| number).max().unwrap_or(0).saturating_add(1);
        let random = uuid::Uuid::new_v4().as_fields().0;
        let object = format!("pins/{id}/{number:08}-{random:08x}.json");
        let pin = Pin { format: crate::FORMAT, snapshot: id.clone(), pinned, at: now };
        self.store.put(&object, self.crypt.seal(&object, &pin).into()).await?;
        Ok(())
    }

    /// The only listed snapshot whose id is, or begins with, this text. Nothing is decrypted.
    pub async fn resolve(&self, wanted: &str) -> Result<SnapshotId, Error> {
        self.id_of(wanted).await
    }
}
