//! Which pipeline leads to the master of a slot. Slots may change hands while keys are sent: what the masters say of it counts
//! for the keys that come after.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cluster::{SLOTS, Topology};

/// The pipelines of a cluster: so many to each master, one master after another.
#[derive(Debug)]
pub(super) struct Routes {
    /// The number of the master of each slot.
    slots: Vec<AtomicUsize>,
    /// Where the masters are now.
    addresses: Mutex<Vec<(String, u16)>>,
    nodes: usize,
    each: usize,
}

impl Routes {
    pub(super) fn new(topology: &Topology, each: usize) -> Routes {
        let of = |slot| topology.masters.iter().position(|node| node.slots.has(slot)).unwrap_or_default();
        let addresses = topology.masters.iter().map(|node| (node.host.clone(), node.port)).collect();
        Routes {
            slots: (0..SLOTS).map(|slot| AtomicUsize::new(of(slot))).collect(),
            addresses: Mutex::new(addresses),
            nodes: topology.masters.len(),
            each: each.max(1),
        }
    }

    /// Pipelines to one master.
    pub(super) fn pipelines_each(&self) -> usize {
        self.each
    }

    /// Masters.
    pub(super) fn nodes(&self) -> usize {
        self.nodes
    }

    /// The pipeline for a key of this slot, by turns; `last` is the pipeline of the key before it.
    pub(super) fn pipeline(&self, slot: u16, last: usize) -> usize {
        let node = self.slots.get(usize::from(slot)).map_or(0, |node| node.load(Ordering::Relaxed));
        node * self.each + (last + 1) % self.each
    }

    /// Notes where a slot is now; false where no pipeline leads there.
    pub(super) fn moved(&self, slot: u16, to: &(String, u16)) -> bool {
        let Ok(addresses) = self.addresses.lock() else { return false };
        let Some(node) = addresses.iter().position(|address| address == to) else { return false };
        if let Some(slot) = self.slots.get(usize::from(slot)) {
            slot.store(node, Ordering::Relaxed);
        }
        true
    }

    /// Notes that a replica has taken a master's place.
    pub(super) fn replaced(&self, node: usize, by: &(String, u16)) {
        if let Ok(mut addresses) = self.addresses.lock()
            && let Some(address) = addresses.get_mut(node)
        {
            address.clone_from(by);
        }
    }
}
