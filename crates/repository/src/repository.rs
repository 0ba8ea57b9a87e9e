//! The repository: created and opened.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::crypto::crypt::Crypt;
use crate::crypto::envelope::Encryption;
use crate::progress::{Observer, Step};
use crate::{ByteSize, Chunker, Error, Probe, Rate, Recipient, RepositoryKey, SnapshotId, Store};

/// What is fixed when a repository is created.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// How streams are cut.
    pub chunker: Chunker,
    /// How long what is no longer needed stays: `undelete` works so long, prune waits so long between marking and
    /// deleting, and a backup that runs longer is refused. At least a few hours for real use.
    pub grace: Duration,
    /// For whom everything is encrypted; `None` for no encryption.
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
    /// zstd's level for chunks that are written from here.
    pub(crate) level: i32,
    /// How large a part may be that is read into memory.
    pub(crate) most_in_memory: u64,
    /// The callback for progress.
    pub(crate) observer: Observer,
    pub(crate) id: String,
    pub(crate) probe: Option<Probe>,
    pub(crate) from_copy: bool,
}

/// Chunks of a megabyte, of rows and of RDB alike, come out as small as at zstd's own default of 3 within a few percent,
/// in two thirds of the time.
pub(crate) const LEVEL: i32 = 2;

/// A schema of a hundred thousand tables is smaller.
pub(crate) const MOST_IN_MEMORY: ByteSize = ByteSize(256 << 20);

impl Repository {
    /// The levels of compression that there are: from the fastest to the strongest.
    pub fn levels() -> std::ops::RangeInclusive<i32> {
        1..=*zstd::compression_level_range().end()
    }

    /// Compresses what is written from here on at this level of zstd, 2 by default; one that there is not is brought into
    /// [`Repository::levels`]. What is stored already stays as it is, and what is read does not depend on it.
    #[must_use]
    pub fn at_level(mut self, level: i32) -> Repository {
        self.level = level.clamp(*Repository::levels().start(), *Repository::levels().end());
        self
    }

    /// Reads no part into memory that is larger than this, 256 MiB by default. See [`Repository::read_whole`].
    #[must_use]
    pub fn at_most_in_memory(self, bytes: ByteSize) -> Repository {
        Repository { most_in_memory: bytes.0, ..self }
    }

    /// Uploads no faster than this on average, over everything that is written from here and from clones of this.
    #[must_use]
    pub fn limit_uploads(self, rate: Rate) -> Repository {
        self.store.limit_uploads(rate);
        self
    }

    /// Calls this with the progress of [`Repository::check`] and [`Repository::prune`] are. It is called on the path of the data, and
    /// must not block for long.
    #[must_use]
    pub fn observed(mut self, tell: impl Fn(Step) + Send + Sync + 'static) -> Repository {
        self.observer = Observer::new(tell);
        self
    }

    /// True when `dbhaul.json` was missing or damaged, and its copy was read. The next backup writes it anew.
    pub fn is_from_copy(&self) -> bool {
        self.from_copy
    }

    /// True when the repository lies in a folder of a file system that cannot sync folders, as far as that was met.
    pub fn is_unsynced(&self) -> bool {
        self.store.is_unsynced()
    }

    /// What the store did when the repository was created in it.
    pub fn probe(&self) -> Option<Probe> {
        self.probe
    }

    /// True when what is written is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.crypt.is_encrypted()
    }

    /// False when the repository is encrypted and was opened with the key file alone: data cannot be read.
    pub fn can_read(&self) -> bool {
        self.crypt.can_read()
    }

    /// What a backup host needs of an encrypted repository.
    pub fn key(&self) -> Option<&RepositoryKey> {
        self.crypt.key()
    }

    /// For whom new data is encrypted.
    pub fn recipients(&self) -> &[Recipient] {
        self.crypt.recipients()
    }

    /// A source's identity as [`SnapshotHeader::contents`](crate::SnapshotHeader::contents) has it: itself, or a keyed hash
    /// where the repository is encrypted, so that both can be compared by a host that can open nothing.
    pub fn identity_as_stored(&self, identity: &str) -> String {
        self.crypt.identity_as_stored(identity)
    }

    /// When a snapshot's manifest was stored, by the store's clock; `None` if it is not listed.
    pub async fn stored_at(&self, id: &SnapshotId) -> Result<Option<DateTime<Utc>>, Error> {
        self.store.written_at(&id.object()).await
    }

    /// The store's clock, which is asked by writing a small object and removing it again.
    pub async fn store_clock(&self) -> Result<DateTime<Utc>, Error> {
        self.store.clock().await
    }

    /// The repository's own id, made when it was created.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its address (URL or path), without secrets.
    pub fn address(&self) -> String {
        self.store.to_string()
    }
}
