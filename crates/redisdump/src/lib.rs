//! Captures, restores, converts and compares Redis and Valkey.
//!
//! - [`rdb`] reads the RDB format: a streaming codec on bytes alone; [`aof`] reads append-only files;
//! - [`Capture`] requests an RDB from a server as a replica would (PSYNC) and verifies it while it passes;
//! - [`FolderCapture`] reads the data folder of a server, running or not;
//! - [`ClusterCapture`] captures all masters of a cluster, and [`merge_rdb`] reads their RDBs as one;
//! - [`restore`] loads the keys of an RDB stream by pipelined RESTORE, with absolute expiries;
//! - [`apply_aof`] does so with an append-only file: its base, then its commands in order;
//! - [`prove`] looks up every key of an RDB stream on a server, and [`compare()`] compares two servers;
//! - [`DigestLog`] stores the digests of a capture's keys, which [`prove_digests`] compares with a server later;
//! - [`verify`] checks the integrity of a file, [`inspect`] reports its contents;
//! - [`convert::export`] converts an RDB to one for an older server, to commands, or to JSON;
//! - [`convert::commands`] converts values to commands, for servers that cannot load their payload;
//! - [`compare::digest`] computes digests of keys, independent of encoding, order and version.
//!
//! ```
//! use redisdump::inspect::{InspectOptions, inspect_stream};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), redisdump::Error> {
//! // SET key value, as an RDB whose checksum is off.
//! let rdb = b"REDIS0009\xfe\x00\x00\x03key\x05value\xff\0\0\0\0\0\0\0\0";
//! let stream = futures::stream::iter([Ok::<_, std::io::Error>(rdb.as_slice().into())]);
//! let mut names = Vec::new();
//! let found = inspect_stream(stream, InspectOptions::default(), &mut |key| names.push(key.name.clone()), &|_| ()).await?;
//! assert_eq!((found.sizes.keys, names), (1, vec![b"key".to_vec()]));
//! # Ok(())
//! # }
//! ```
//!
//! RESP is implemented here (`client`): the replication handshake, and pipelines with bounded memory, need control over
//! every byte, which client libraries do not give.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod aof;
pub mod compare;
pub mod convert;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod inspect;
pub mod rdb;
pub mod verify;

mod capture;
mod client;
mod cluster;
mod conflict;
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
pub use client::dialer::{ByteStream, Destination, Dialer, Dialing, Route};
pub use client::identity::ServerIdentity;
pub use client::lineage::refuse_shared_data;
pub use client::options::{ConnectOptions, Environment, TlsFiles};
pub use client::preflight::{BufferLimit, Preflight, preflight};
pub use client::write_position::{WritePosition, write_position};
pub use cluster::{merge_rdb, wait_until_settled};
pub use compare::digest_log::DigestLog;
pub use compare::prove::{prove, prove_digests};
pub use compare::report::{Comparison, Difference, DifferenceKind, Progress};
pub use compare::servers::{CompareOptions, compare};
pub use conflict::{Conflict, Remedy};
pub use error::Error;
pub use restore::{
    AofReport, ClusterRestore, Expiries, ExpiryBase, KeyChoice, MemoryLimit, OnExisting, ReplayOptions,
    RestoreOptions, RestoreReport, UndatedExpiries, apply_aof, data_size, mebibytes, memory_limit, restore,
    server_identity, takes_all_of, unsupported,
};
