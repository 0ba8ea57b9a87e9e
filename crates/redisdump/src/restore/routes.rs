//! Which pipeline leads to the master of a slot. Slots may move while keys are sent: redirections apply to later keys.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cluster::{SLOTS, Topology};

/// The pipelines of a cluster: a fixed number for each master, ordered by master.
#[derive(Debug)]
pub(super) struct Routes {
    /// The index of the master of each slot.
    slots: Vec<AtomicUsize>,
    /// The current addresses of the masters.
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

    /// Number of pipelines to each master.
    pub(super) fn pipelines_each(&self) -> usize {
        self.each
    }

    /// Number of masters.
    pub(super) fn nodes(&self) -> usize {
        self.nodes
    }

    /// The pipeline for a key of this slot, round-robin; `last` is the pipeline of the previous key.
    pub(super) fn pipeline(&self, slot: u16, last: usize) -> usize {
        let node = self.slots.get(usize::from(slot)).map_or(0, |node| node.load(Ordering::Relaxed));
        node * self.each + (last + 1) % self.each
    }

    /// Records where a slot is now; false if no pipeline leads there.
    pub(super) fn moved(&self, slot: u16, to: &(String, u16)) -> bool {
        let Ok(addresses) = self.addresses.lock() else { return false };
        let Some(node) = addresses.iter().position(|address| address == to) else { return false };
        if let Some(slot) = self.slots.get(usize::from(slot)) {
            slot.store(node, Ordering::Relaxed);
        }
        true
    }

    /// Records that a replica has replaced a master.
    pub(super) fn replaced(&self, node: usize, by: &(String, u16)) {
        if let Ok(mut addresses) = self.addresses.lock()
            && let Some(address) = addresses.get_mut(node)
        {
            address.clone_from(by);
        }
    }
}
