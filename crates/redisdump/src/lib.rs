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
//! - [`convert::export`] turns an RDB into one for an older server, commands, JSON;
//! - [`convert::commands`] turns values into commands, for servers that cannot load their payload;
//! - [`compare::digest`] adds up canonical digests of keys, independent of encoding, order and version.
//!
//! RESP is spoken here directly (`client`): a replica's handshake and pipelines whose memory is bounded need control
//! over every byte, which a client library rightly keeps to itself.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod aof;
pub mod compare;
pub mod convert;
#[doc(hidden)]
pub mod fuzzing;
pub mod inspect;
pub mod rdb;
pub mod verify;

mod capture;
mod client;
mod cluster;
mod display;
mod error;
mod restore;

pub use capture::stats::{CaptureReport, CapturedNode, DatabaseCount};
pub use capture::{
    AofContents, Capture, CaptureMethod, CaptureOptions, ClusterCapture, Consistency, FolderCapture,
    FolderFile, FolderReport, NodeCapture, Persistence,
};
pub use client::acl::{Access, AccessReport, User, apply_access, read_access, try_access};
pub use client::databases::{key_count, refuse_missing_databases};
pub use client::dialer::{ByteStream, Destination, Dialer, Dialing, Way};
pub use client::identity::ServerIdentity;
pub use client::lineage::refuse_shared_data;
pub use client::options::{ConnectOptions, Environment, TlsFiles};
pub use client::write_position::{WritePosition, write_position};
pub use cluster::{merge_rdb, wait_until_settled};
pub use compare::digest_log::DigestLog;
pub use compare::prove::{prove, prove_digests};
pub use compare::report::{Comparison, Difference, DifferenceKind, Progress};
pub use compare::servers::{CompareOptions, compare};
pub use error::Error;
pub use restore::{
    AofReport, ClusterRestore, Expiries, ExpiryBase, KeyChoice, MemoryLimit, OnExisting, ReplayOptions,
    RestoreOptions, RestoreReport, UndatedExpiries, apply_aof, data_size, mebibytes, memory_limit, restore,
    server_identity, takes_all_of, unsupported,
};
