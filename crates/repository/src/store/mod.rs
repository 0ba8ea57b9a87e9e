//! Where objects lie: a folder, a cloud's bucket, or memory, behind one interface that names the object in each error.
//! Nothing here knows what a chunk or a manifest is.

pub(crate) mod aws_files;
pub(crate) mod cloud;
pub(crate) mod failpoint;
pub(crate) mod failure_budget;
pub(crate) mod fetch;
pub(crate) mod files;
pub(crate) mod folder;
pub(crate) mod http;
pub(crate) mod objects;
pub(crate) mod probe;
pub(crate) mod upload_limit;
