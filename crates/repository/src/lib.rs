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

mod attest;
mod aws_files;
mod check;
mod check_report;
mod chunk;
mod cloud;
mod copy;
mod crypt;
mod document;
mod envelope;
mod error;
mod failpoint;
mod fetch;
mod files;
mod folder;
mod forget;
mod gather;
mod http;
mod in_time;
mod journal;
mod keys;
mod known;
mod known_bad;
mod leftovers;
mod list;
mod manifest;
mod mend;
mod packers;
mod patience;
mod pins;
mod presence;
mod probe;
mod progress;
mod prune;
mod prune_now;
mod quarantine;
mod read;
mod recipient_sets;
mod repo;
mod rotate;
mod size;
mod stats;
mod store;
mod tasks;
mod upload_limit;
mod write;

pub use attest::{Attestation, AttestationKind};
pub use check::CheckOptions;
pub use check_report::{CheckReport, DataRead, Fault, FaultKind, Portion};
pub use chunk::{ChunkId, Chunker, CopyTag};
pub use copy::{Copied, CopyReport, NotCopied};
pub use envelope::Encryption;
pub use error::Error;
pub use forget::Forgotten;
pub use keys::{Access, Identity, Passphrase, Recipient, RepositoryKey};
pub use list::{Headers, Listing, SnapshotHeader, Unreadable};
pub use manifest::{ChunkRef, Content, Manifest, Part, PartHeader, SnapshotId, SnapshotStats, SourceRecord};
pub use probe::Probe;
pub use progress::{Phase, Step};
pub use prune::{PruneOptions, PruneReport};
pub use quarantine::QuarantineReport;
pub use repo::{FORMAT, InitOptions, Repository};
pub use rotate::RotateReport;
pub use size::{ByteSize, Rate};
pub use stats::{SnapshotUsage, StatsReport};
pub use store::{Store, StoreEnv};
pub use write::{SnapshotStart, SnapshotWriter};
