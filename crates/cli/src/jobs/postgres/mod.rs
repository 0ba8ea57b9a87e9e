//! PostgreSQL in the jobs: what a backup stores of it, and how a target is filled and proven.

pub(crate) mod databases;
pub(crate) mod load;
pub(crate) mod resume;
pub(crate) mod scripts;
pub(crate) mod source;
