//! Results of jobs: data that serializes as JSON and renders as text.

pub(crate) mod backup;
pub(crate) mod baseline;
pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod copy;
#[cfg(feature = "demo")]
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod document;
pub(crate) mod forget;
pub(crate) mod html;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod inspect_redis;
pub(crate) mod nightly;
pub(crate) mod plan;
pub(crate) mod rehearsal;
pub(crate) mod restore;
pub(crate) mod resumed;
pub(crate) mod snapshots;
pub(crate) mod stats;
pub(crate) mod status;
pub(crate) mod status_html;
pub(crate) mod tables;
pub(crate) mod verify_file;

mod text;
mod time;

pub(crate) use text::Table;
pub(crate) use time::{day, time};
