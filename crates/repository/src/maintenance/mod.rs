//! Maintenance of a repository: checking, forgetting, pruning, repairing, copying, re-encrypting, statistics.

pub(crate) mod attest;
pub(crate) mod check;
pub(crate) mod check_report;
pub(crate) mod copy;
pub(crate) mod damage;
pub(crate) mod forget;
pub(crate) mod pins;
pub(crate) mod prune;
pub(crate) mod quarantine;
pub(crate) mod repair;
pub(crate) mod rotate;
pub(crate) mod stats;
