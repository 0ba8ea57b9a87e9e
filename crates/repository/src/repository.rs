//! Creating and opening repositories.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::crypto::crypt::Crypt;
use crate::crypto::envelope::Encryption;
use crate::progress::{Observer, Step};
use crate::{ByteSize, Chunker, Error, Probe, Rate, Recipient, RepositoryKey, SnapshotId, Store};

/// Properties that are fixed when a repository is created.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// Parameters of the chunker.
    pub chunker: Chunker,
    /// The grace period: how long `undelete` works, how long prune waits between marking and deleting, and how long a
    /// backup may run. At least a few hours in practice.
    pub grace: Duration,
    /// Recipients; `None` for no encryption.
    pub encryption: Option<Encryption>,
}

impl Default for InitOptions {
    fn default() -> Self {
        InitOptions { chunker: Chunker::default(), grace: Duration::from_secs(72 * 3600), encryption: None }
    }
}

/// An open repository. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repository {
    pub(crate) store: Store,
    pub(crate) chunker: Chunker,
    pub(crate) grace: Duration,
    pub(crate) crypt: Crypt,
    /// zstd level of chunks written through this handle.
    pub(crate) level: i32,
    /// Maximum size of a part that is read into memory.
    pub(crate) most_in_memory: u64,
    /// Callback for progress.
    pub(crate) observer: Observer,
    pub(crate) id: String,
    pub(crate) probe: Option<Probe>,
    pub(crate) from_copy: bool,
}

/// Chunks of 1 MiB, of rows as of RDB, compress within a few percent of zstd's default level 3, in two thirds of the
/// time.
pub(crate) const LEVEL: i32 = 2;

/// Larger than the schema of a hundred thousand tables.
pub(crate) const MOST_IN_MEMORY: ByteSize = ByteSize(256 << 20);

impl Repository {
    /// The available compression levels, from the fastest to the strongest.
    pub fn levels() -> std::ops::RangeInclusive<i32> {
        1..=*zstd::compression_level_range().end()
    }

    /// Compresses new data at this zstd level, 2 by default; other values are clamped to [`Repository::levels`].
    /// Stored data does not change, and reading does not depend on it.
    #[must_use]
    pub fn at_level(mut self, level: i32) -> Repository {
        self.level = level.clamp(*Repository::levels().start(), *Repository::levels().end());
        self
    }

    /// Limits the size of parts read into memory, 256 MiB by default. See [`Repository::read_whole`].
    #[must_use]
    pub fn at_most_in_memory(self, bytes: ByteSize) -> Repository {
        Repository { most_in_memory: bytes.0, ..self }
    }

    /// Limits the average upload rate of this handle and its clones.
    #[must_use]
    pub fn limit_uploads(self, rate: Rate) -> Repository {
        self.store.limit_uploads(rate);
        self
    }

    /// Calls this with the progress of [`Repository::check`] and [`Repository::prune`]. It is called while data is
    /// processed, and must not block for long.
    #[must_use]
    pub fn observed(mut self, tell: impl Fn(Step) + Send + Sync + 'static) -> Repository {
        self.observer = Observer::new(tell);
        self
    }

    /// Whether `dbhaul.json` was missing or damaged, so that its copy was read. The next backup writes it again.
    pub fn is_from_copy(&self) -> bool {
        self.from_copy
    }

    /// Whether the repository is in a folder of a file system that cannot sync folders, as far as this was noticed.
    pub fn is_unsynced(&self) -> bool {
        self.store.is_unsynced()
    }

    /// Capabilities of the store when the repository was created.
    pub fn probe(&self) -> Option<Probe> {
        self.probe
    }

    /// Whether new data is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.crypt.is_encrypted()
    }

    /// False if the repository is encrypted and was opened with the key file alone, so that data cannot be read.
    pub fn can_read(&self) -> bool {
        self.crypt.can_read()
    }

    /// The key for a backup host, if the repository is encrypted.
    pub fn key(&self) -> Option<&RepositoryKey> {
        self.crypt.key()
    }

    /// The recipients of new data.
    pub fn recipients(&self) -> &[Recipient] {
        self.crypt.recipients()
    }

    /// The identity of a source as in [`SnapshotHeader::contents`](crate::SnapshotHeader::contents): itself, or a
    /// keyed hash if the repository is encrypted, so that a host that cannot decrypt can compare both.
    pub fn identity_as_stored(&self, identity: &str) -> String {
        self.crypt.identity_as_stored(identity)
    }

    /// When a snapshot's manifest was stored, by the store's clock; `None` if it is not listed.
    pub async fn stored_at(&self, id: &SnapshotId) -> Result<Option<DateTime<Utc>>, Error> {
        self.store.written_at(&id.object()).await
    }

    /// The store's clock, read by writing a small object and removing it again.
    pub async fn store_clock(&self) -> Result<DateTime<Utc>, Error> {
        self.store.clock().await
    }

    /// Id of the repository, generated when it was created.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its address (URL or path), without secrets.
    pub fn address(&self) -> String {
        self.store.to_string()
    }
}
