//! Writing, listing and reading snapshots: what a backup and a restore need.

pub(crate) mod chunk_set;
pub(crate) mod chunk_writer;
pub(crate) mod commit;
pub(crate) mod compression_pool;
pub(crate) mod deadline;
pub(crate) mod index;
pub(crate) mod journal;
pub(crate) mod list;
pub(crate) mod presence;
pub(crate) mod read;
pub(crate) mod repair_set;
pub(crate) mod write;
