//! Captures, restores and compares Redis and Valkey.
//!
//! - [`rdb`] reads the RDB format: a streaming codec on bytes alone; [`aof`] the append-only file in one or many parts;
//! - [`Capture`] asks a server for its RDB as a replica would, over PSYNC, and checks it while it passes;
//! - [`FolderCapture`] takes what a server keeps in its data folder, whether it runs or not;
//! - [`ClusterCapture`] takes all masters of a cluster at once, and [`merge_rdb`] reads their RDBs as one;
//! - [`restore`] puts the keys of an RDB stream into an empty server by pipelined RESTORE, with absolute expiries;
//! - [`apply_aof`] does the same with an append-only file: its base, then its commands in their order;
//! - [`prove`] looks every key of an RDB stream up on a server, and [`compare()`] compares two servers both ways;
//! - [`DigestLog`] keeps the digests of a capture's keys, by which [`prove_digests`] holds a server against it later;
//! - [`verify`] says whether a file is whole, [`inspect`] what is in it;
//! - [`export`] turns an RDB into one for an older server, commands, JSON;
//! - [`emit`] turns values into commands, for servers that cannot load their payload;
//! - [`digest`] sums keys by meaning, independent of encoding, order and version.
//!
//! The wire is spoken here directly (`wire`): a replica's handshake and pipelines whose memory is bounded need control
//! over every byte, which a client library rightly keeps to itself.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod aof;
pub mod digest;
pub mod emit;
pub mod export;
#[doc(hidden)]
pub mod hostile;
pub mod inspect;
pub mod rdb;
pub mod verify;

mod acl;
mod capture;
mod cluster;
mod compare;
mod databases;
mod digest_log;
mod duplicates;
mod error;
mod expiring;
mod identity;
mod lineage;
mod meaning;
mod names;
mod options;
mod prove;
mod report;
mod resp;
mod restore;
mod sentinel;
mod tally;
mod tls;
mod uniqueness;
mod verdict;
mod watched;
mod wire;
mod write_position;

pub use acl::{Access, AccessReport, User, apply_access, read_access, try_access};
pub use capture::{
    AofContents, Capture, CaptureMethod, CaptureOptions, ClusterCapture, Consistency, FolderCapture,
    FolderFile, FolderReport, NodeCapture, Persistence,
};
pub use cluster::{merge_rdb, wait_until_settled};
pub use compare::{CompareOptions, compare};
pub use databases::key_count;
pub use digest_log::DigestLog;
pub use error::Error;
pub use identity::ServerIdentity;
pub use lineage::refuse_shared_data;
pub use options::{ConnectOptions, Environment, TlsFiles};
pub use prove::{prove, prove_digests};
pub use report::{Comparison, Difference, DifferenceKind, Progress};
pub use restore::{
    AofReport, ClusterRestore, ExpiryBase, KeyChoice, MemoryLimit, OnExisting, ReplayOptions, RestoreOptions,
    RestoreReport, UndatedExpiries, apply_aof, memory_limit, restore, server_identity, takes_all_of,
    unsupported,
};
pub use tally::{CaptureReport, CapturedNode, DatabaseCount};
pub use write_position::{WritePosition, write_position};
