//! A backup repository on object stores: content-addressed chunks, and one manifest for each snapshot.
//!
//! A *part* is a named stream of bytes (a table's rows, an RDB file). It is cut into chunks by content, each chunk is
//! stored once under a hash of its plain bytes, compressed by zstd and encrypted with age if that is requested. A
//! snapshot is the manifest that lists its parts and their chunks. The manifest is written last and once: a chunk without
//! a manifest is not part of any snapshot, and an interrupted backup lists nothing. `docs/repository-format.md` describes
//! the format.
//!
//! ```
//! use chrono::Utc;
//! use futures::TryStreamExt as _;
//! use repository::{
//!     InitOptions, PartHeader, Repository, SnapshotStart, SourceRecord, Store, StoreEnv,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), repository::Error> {
//! // A path, or s3://bucket/prefix with the variables of AWS in the environment.
//! let store = Store::open("memory:", &StoreEnv::from_process())?;
//! let repository = Repository::init(store, &InitOptions::default()).await?;
//!
//! let writer = repository.begin(SnapshotStart::new("nightly", Utc::now(), "example 1.0")).await?;
//! let rows = futures::stream::iter([Ok::<_, std::io::Error>("1\tone\n".into())]);
//! let part = writer.write_part(PartHeader::new("public.t", "rows"), rows).await?;
//! let source = SourceRecord {
//!     name: "shop".to_owned(),
//!     kind: "postgres".to_owned(),
//!     server: serde_json::json!({ "version": 18 }),
//!     details: serde_json::Value::Null,
//!     parts: vec![part],
//! };
//! writer.commit(vec![source], true).await?;
//!
//! let latest = repository.find("latest").await?;
//! for (_, part) in latest.parts() {
//!     let bytes: Vec<_> = repository.read_part(part).try_collect().await?;
//!     assert_eq!(bytes.concat(), b"1\tone\n");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Errors name the object they concern; [`Error::remedy`] says what a user can do, as data.

mod config;
mod crypto;
mod error;
mod format;
mod maintenance;
mod progress;
mod remedy;
mod repository;
mod size;
mod snapshot;
mod store;
mod tasks;

pub use crypto::envelope::Encryption;
pub use crypto::keys::{Access, Identity, Passphrase, Recipient, RepositoryKey};
pub use error::Error;
pub use format::FORMAT;
pub use format::chunk::{ChunkId, Chunker, CopyTag};
pub use format::manifest::{
    ChunkRef, Content, Manifest, Part, PartHeader, SnapshotId, SnapshotStats, SourceRecord,
};
pub use format::unreadable::Unreadable;
pub use maintenance::attest::{Attestation, AttestationKind};
pub use maintenance::check::CheckOptions;
pub use maintenance::check_report::{CheckReport, DataRead, Fault, FaultKind, Portion};
pub use maintenance::copy::{Copied, CopyReport, NotCopied};
pub use maintenance::forget::Forgotten;
pub use maintenance::prune::PruneOptions;
pub use maintenance::prune::report::PruneReport;
pub use maintenance::quarantine::QuarantineReport;
pub use maintenance::rotate::RotateReport;
pub use maintenance::stats::{SnapshotUsage, StatsReport};
pub use progress::{Phase, Step};
pub use remedy::Remedy;
pub use repository::{InitOptions, Repository};
pub use size::{ByteSize, Rate};
pub use snapshot::list::{Headers, Listing, SnapshotHeader};
pub use snapshot::write::{SnapshotStart, SnapshotWriter};
pub use store::env::StoreEnv;
pub use store::objects::Store;
pub use store::probe::Probe;
