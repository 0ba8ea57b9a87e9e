//! Chunk objects to repair: manifests reference them, and they are missing or damaged. A writer that has their data
//! writes them again under exactly their names, which repairs every snapshot that references them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::ChunkId;
use crate::format::chunk::ChunkObject;

/// The objects to write again. None of them is pending deletion: a name that prune may be deleting is never written to.
#[derive(Debug, Default)]
pub(crate) struct RepairSet(Mutex<HashMap<ChunkId, Vec<ChunkObject>>>);

impl RepairSet {
    pub(crate) fn new(objects: impl Iterator<Item = ChunkObject>) -> RepairSet {
        let mut by_id: HashMap<ChunkId, Vec<ChunkObject>> = HashMap::new();
        for object in objects {
            by_id.entry(object.id).or_default().push(object);
        }
        RepairSet(Mutex::new(by_id))
    }

    /// The objects of this chunk that need to be written again.
    pub(crate) fn objects(&self, id: ChunkId) -> Vec<ChunkObject> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned().unwrap_or_default()
    }

    /// Records that all objects of this chunk were written: false if another task did so before.
    pub(crate) fn complete(&self, id: ChunkId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id).is_some()
    }

    /// Removes an object that turned out to be intact.
    pub(crate) fn remove(&self, object: &ChunkObject) {
        let mut by_id = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(objects) = by_id.get_mut(&object.id) {
            objects.retain(|candidate| candidate != object);
            if objects.is_empty() {
                by_id.remove(&object.id);
            }
        }
    }

    pub(crate) fn contains(&self, object: &ChunkObject) -> bool {
        let by_id = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        by_id.get(&object.id).is_some_and(|objects| objects.contains(object))
    }
}
