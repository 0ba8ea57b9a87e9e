//! Storage of objects: a folder, a cloud bucket, or memory, behind one interface that names the object in each error.
//! This module does not know about chunks and manifests.

pub(crate) mod aws_files;
pub(crate) mod cloud;
pub(crate) mod deletion;
pub(crate) mod env;
pub(crate) mod failpoint;
pub(crate) mod failure_budget;
pub(crate) mod fetch;
pub(crate) mod files;
pub(crate) mod folder;
pub(crate) mod folder_store;
pub(crate) mod http;
pub(crate) mod listing;
pub(crate) mod objects;
pub(crate) mod open;
pub(crate) mod probe;
pub(crate) mod response;
pub(crate) mod upload_limit;
