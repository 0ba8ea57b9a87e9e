//! Redis and Valkey in the jobs: keys, users, clusters, data folders.

pub(crate) mod acl;
pub(crate) mod cluster;
pub(crate) mod data_folder;
pub(crate) mod export;
pub(crate) mod load;
pub(crate) mod replay;
