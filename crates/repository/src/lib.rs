//! A backup repository on object stores: content-addressed chunks, and one manifest for each snapshot.
//!
//! A *part* is a named stream of bytes (a table's rows, an RDB file). It is cut into chunks where its content says so,
//! each chunk is stored once under a hash of its plain bytes, compressed by zstd and encrypted with age if that is
//! asked for, and a snapshot is the manifest
//! that lists its parts and their chunks. The manifest is written last and once: what has no manifest does not exist,
//! so that a killed backup lists nothing. The format is described in `docs/repository-format.md`.
//!
//! ```no_run
//! # async fn example() -> Result<(), repository::Error> {
//! use repository::{InitOptions, PartHeader, Repository, SnapshotStart, Store, StoreEnv};
//!
//! let store = Store::open("backup", &StoreEnv::from_process())?;
//! let repository = Repository::init(store, &InitOptions::default()).await?;
//! let writer = repository.begin(SnapshotStart::new("nightly", chrono::Utc::now(), "example 1.0")).await?;
//! let rows = futures::stream::iter([Ok::<_, std::io::Error>("1\tone\n".into())]);
//! let part = writer.write_part(PartHeader::new("public.t", "rows"), rows).await?;
//! # let _ = part;
//! # Ok(())
//! # }
//! ```

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
