//! PostgreSQL in the jobs: what a backup stores, and how a target is filled and verified.

pub(crate) mod databases;
pub(crate) mod load;
pub(crate) mod resume;
pub(crate) mod scripts;
pub(crate) mod source;
pub(crate) mod statistics;
