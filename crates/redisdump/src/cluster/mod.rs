//! Redis and Valkey Cluster: which master serves which slots, and how keys are sent to the right one.
//!
//! The layout of a cluster is read from `CLUSTER NODES`, since only that shows which slots are being moved. Bytes are
//! streamed over this crate's own connections, as everywhere else: a capture is one PSYNC to each master, a restore is
//! a pipeline to each.

mod link;
mod merge;
mod nodes;
mod slots;
mod topology;

pub use merge::merge_rdb;
pub use nodes::wait_until_settled;

pub(crate) use link::{FAILOVER, Link, PAUSE, Redirect, named};
pub(crate) use merge::merge;
pub(crate) use nodes::{each_master, masters, seed};
pub(crate) use slots::{SLOTS, SlotSet, Tags, slot_of};
pub(crate) use topology::{Node, Topology};
