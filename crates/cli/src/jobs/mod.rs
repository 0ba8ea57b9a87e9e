//! The jobs, which connect the library crates.
//!
//! ```text
//! backup   = copy-out streams  -> repository parts
//! restore  = repository parts  -> copy-in streams, then proof
//! migrate  = copy-out streams  -> copy-in streams, then proof
//! compare  = copy-out streams of both sides -> digests
//! rehearse = restore into private servers
//! ```
//!
//! Jobs parse no arguments and print nothing: they take typed settings and return a report.

mod assertions;
pub(crate) mod backup;
pub(crate) mod baseline;
pub(crate) mod check;
pub(crate) mod clock;
pub(crate) mod compare;
mod containers;
pub(crate) mod copy;
#[cfg(feature = "demo")]
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod find;
pub(crate) mod forget;
pub(crate) mod import;
pub(crate) mod inspect;
mod json_pieces;
pub(crate) mod lineage;
pub(crate) mod migrate;
pub(crate) mod nightly;
pub(crate) mod parts;
pub(crate) mod pin;
pub(crate) mod plan;
pub(crate) mod postgres;
pub(crate) mod record;
pub(crate) mod redis;
pub(crate) mod rehearse;
pub(crate) mod replacing;
pub(crate) mod restore;
mod sandboxes;
pub(crate) mod series;
pub(crate) mod settings;
pub(crate) mod snapshots;
pub(crate) mod stage;
pub(crate) mod status;
pub(crate) mod temporary;
