//! Quarantine of chunks that a check found damaged. Nothing is deleted. Their bytes are copied into quarantine for
//! inspection, and their names are listed, so that no writer reuses them: the next backup with the same data writes
//! them again, in place, which repairs every snapshot that references them.
//!
//! A listed chunk counts as intact again as soon as the store says that it was written after the list.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::format::chunk::ChunkObject;
use crate::{CheckReport, Error, FaultKind, Repository};

/// Limit for objects to copy into quarantine: chunks are smaller.
const MAX_QUARANTINED: u64 = 17 << 20;

/// Result of a quarantine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct QuarantineReport {
    /// Damaged chunks: the next backup with their data writes them again.
    pub damaged: Vec<String>,
    /// Missing chunks: the next backup with their data writes them, too.
    pub missing: Vec<String>,
    /// The copies of the damaged bytes.
    pub aside: Vec<String>,
}

/// `quarantine/<time>-<random>.json`
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ListFile {
    format: u64,
    /// Names of chunk objects, each with the copy of its bytes.
    objects: BTreeMap<String, String>,
}

/// A stored list.
pub(crate) struct QuarantineList {
    object: String,
    written: DateTime<Utc>,
    /// The objects, and whether each is still to be written again.
    waiting: HashMap<ChunkObject, bool>,
    aside: Vec<String>,
}

impl QuarantineList {
    /// Records that an object exists.
    pub(crate) fn see(&mut self, object: &ChunkObject, modified: DateTime<Utc>) {
        if let Some(waiting) = self.waiting.get_mut(object) {
            *waiting = modified <= self.written;
        }
    }
}

impl Repository {
    /// Quarantines what a check found damaged. Deletes nothing.
    pub async fn quarantine_faults(
        &self,
        found: &CheckReport,
        now: DateTime<Utc>,
    ) -> Result<QuarantineReport, Error> {
        let mut report = QuarantineReport::default();
        let mut objects = BTreeMap::new();
        for fault in &found.faults {
            // A chunk that only cannot be read here may be intact.
            if !fault.kind.is_proven() {
                continue;
            }
            if fault.kind == FaultKind::Missing {
                report.missing.push(fault.object.clone());
                continue;
            }
            let random = uuid::Uuid::new_v4().as_fields().0;
            let name = fault.object.rsplit('/').next().unwrap_or_default();
            let aside = format!("quarantine/{name}.{random:08x}");
            // An object larger than any chunk is not worth a copy.
            let bytes = match self.store.get_at_most(&fault.object, MAX_QUARANTINED).await {
                Err(Error::Damaged { .. }) => None,
                other => other?,
            };
            if let Some(bytes) = bytes {
                self.store.put(&aside, bytes).await?;
                report.aside.push(aside.clone());
            }
            report.damaged.push(fault.object.clone());
            objects.insert(fault.object.clone(), aside);
        }
        if !objects.is_empty() {
            let random = uuid::Uuid::new_v4().as_fields().0;
            let object = format!("quarantine/{}-{random:08x}.json", now.format("%Y%m%dT%H%M%SZ"));
            let list = ListFile { format: crate::FORMAT, objects };
            self.store.put(&object, self.crypt.seal(&object, &list).into()).await?;
        }
        Ok(report)
    }

    /// All stored lists. An unreadable one is an error: a writer would reuse the chunks it names.
    pub(crate) async fn quarantine(&self) -> Result<Vec<QuarantineList>, Error> {
        let mut lists = Vec::new();
        for meta in self.store.list("quarantine").await? {
            let object = meta.location.to_string();
            if !object.ends_with(".json") {
                continue;
            }
            let Some(bytes) = self.store.get(&object).await? else { continue };
            let file: ListFile = self.crypt.read(&object, &bytes)?;
            let waiting =
                file.objects.keys().filter_map(|name| Some((ChunkObject::parse(name)?, false))).collect();
            let aside = file.objects.into_values().filter(|name| name.starts_with("quarantine/")).collect();
            lists.push(QuarantineList { object, written: meta.last_modified, waiting, aside });
        }
        Ok(lists)
    }

    /// When each quarantined chunk was last found damaged.
    pub(crate) async fn quarantined(&self) -> Result<HashMap<ChunkObject, DateTime<Utc>>, Error> {
        let mut found: HashMap<ChunkObject, DateTime<Utc>> = HashMap::new();
        for list in self.quarantine().await? {
            for object in list.waiting.into_keys() {
                let at = found.entry(object).or_insert(list.written);
                *at = (*at).max(list.written);
            }
        }
        Ok(found)
    }

    /// Removes lists whose chunks have all been written again or are gone, with the copied bytes.
    pub(crate) async fn release(&self, lists: &[QuarantineList]) -> Result<(), Error> {
        for list in lists.iter().filter(|list| list.waiting.values().all(|waiting| !waiting)) {
            for object in list.aside.iter().chain([&list.object]) {
                self.store.delete(object).await?;
            }
        }
        Ok(())
    }
}
