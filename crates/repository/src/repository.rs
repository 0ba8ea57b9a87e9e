//! The repository: created and opened.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::crypto::crypt::Crypt;
use crate::crypto::envelope::{Encryption, Envelope};
use crate::format::document;
use crate::maintenance::forget::snapshot_of;
use crate::progress::Observer;
use crate::snapshot::list::is_manifest;
use crate::{
    Access, ByteSize, Chunker, Error, Manifest, Passphrase, Probe, Rate, Recipient, RepositoryKey, Store,
    Unreadable,
};

/// The version of the format that is written and read.
pub const FORMAT: u64 = 1;

const CONFIG: &str = "dbhaul.json";
/// The same bytes once more: without them nothing in an encrypted repository can be read.
const COPY: &str = "dbhaul.json.copy";
/// How chunk ids are made: without encryption, and with it.
const PLAIN: &str = "sha256";
const KEYED: &str = "hmac-sha256";

/// What is fixed when a repository is created.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// How streams are cut.
    pub chunker: Chunker,
    /// How long what is no longer needed stays: `undelete` works so long, prune waits so long between marking and
    /// deleting, and a backup that runs longer is refused. At least a few hours for real use.
    pub grace: Duration,
    /// Whom everything is encrypted to; nothing is where there is nobody.
    pub encryption: Option<Encryption>,
}

impl Default for InitOptions {
    fn default() -> Self {
        InitOptions { chunker: Chunker::default(), grace: Duration::from_secs(72 * 3600), encryption: None }
    }
}

fn default_grace() -> u64 {
    InitOptions::default().grace.as_millis() as u64
}

/// No grace is longer: what a damaged `dbhaul.json` could ask for, kept within what times can be added to.
const LONGEST_GRACE: Duration = Duration::from_secs(3650 * 86_400);

/// `dbhaul.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    format: u64,
    id: String,
    created_at: DateTime<Utc>,
    chunker: Chunker,
    /// Milliseconds.
    #[serde(default = "default_grace")]
    grace_ms: u64,
    hash: String,
    compression: String,
    /// The key envelope.
    #[serde(default)]
    encryption: Option<Envelope>,
    /// What the store did when the repository was created in it. For information only.
    #[serde(default)]
    store: Option<Probe>,
    /// Every set of recipients so far, the first one first; only once they have changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recipient_sets: Vec<Vec<String>>,
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
    /// Who is told how far long work is.
    pub(crate) observer: Observer,
    pub(crate) id: String,
    pub(crate) probe: Option<Probe>,
    pub(crate) from_copy: bool,
}

/// A document, its bytes, and whether they are those of its copy.
struct Found {
    config: Config,
    bytes: bytes::Bytes,
    from_copy: bool,
}

/// Chunks of a megabyte, of rows and of RDB alike, come out as small as at zstd's own default of 3 within a few percent,
/// in two thirds of the time.
const LEVEL: i32 = 2;

/// A schema of a hundred thousand tables is smaller.
const MOST_IN_MEMORY: ByteSize = ByteSize(256 << 20);

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

    /// Has this told how far [`Repository::check`] and [`Repository::prune`] are. It is called on the path of the data, and
    /// must not block for long.
    #[must_use]
    pub fn observed(mut self, tell: impl Fn(crate::Step) + Send + Sync + 'static) -> Repository {
        self.observer = Observer::new(tell);
        self
    }

    /// Creates a repository in an empty store. One that is there already is left alone, and an error; so is what is left
    /// of one that has lost its `dbhaul.json`.
    pub async fn init(store: Store, options: &InitOptions) -> Result<Repository, Error> {
        for object in [CONFIG, COPY] {
            if store.get(object).await?.is_some() {
                return Err(Error::AlreadyExists { store: store.to_string() });
            }
        }
        Repository::refuse_orphans(&store).await?;
        let probe = store.probe().await?;
        let id = uuid::Uuid::new_v4().simple().to_string();
        let (envelope, crypt) = match &options.encryption {
            Some(wanted) => {
                Envelope::new(&id, wanted).await.map(|(envelope, crypt)| (Some(envelope), crypt))?
            }
            None => (None, Crypt::default()),
        };
        let config = Config {
            format: FORMAT,
            id,
            created_at: Utc::now(),
            chunker: options.chunker.check()?,
            grace_ms: options.grace.min(LONGEST_GRACE).as_millis() as u64,
            hash: if crypt.is_encrypted() { KEYED } else { PLAIN }.to_owned(),
            compression: "zstd".to_owned(),
            encryption: envelope,
            store: Some(probe),
            recipient_sets: Vec::new(),
        };
        // Another host may have had the same thought since we looked.
        let bytes = bytes::Bytes::from(crypt.seal(CONFIG, &config));
        if !store.put_new(CONFIG, bytes.clone(), probe.conditional_put).await? {
            return Err(Error::AlreadyExists { store: store.to_string() });
        }
        store.put(COPY, bytes).await?;
        store.keep_reserve().await;
        Repository::of(store, &config, crypt, false)
    }

    /// An error if there is what only a repository leaves, or no bucket at all.
    async fn refuse_orphans(store: &Store) -> Result<(), Error> {
        let (listed, forgotten) = (store.list("snapshots").await?, store.list("tombstones").await?);
        let snapshots = listed.iter().filter(|meta| is_manifest(meta.location.as_ref())).count()
            + forgotten.iter().filter(|meta| snapshot_of(meta.location.as_ref()).is_some()).count();
        let chunks = store.has_any("chunks").await?;
        if snapshots > 0 || chunks {
            return Err(Error::Orphaned { store: store.to_string(), snapshots, chunks });
        }
        Ok(())
    }

    /// Opens a repository that is not encrypted.
    pub async fn open(store: Store) -> Result<Repository, Error> {
        Repository::open_with(store, &Access::default()).await
    }

    /// Opens a repository with what is held of its keys.
    pub async fn open_with(store: Store, access: &Access) -> Result<Repository, Error> {
        let found = match Repository::config(&store).await {
            Err(error @ Error::NotARepository { .. }) => {
                Repository::refuse_orphans(&store).await?;
                return Err(error);
            }
            other => other?,
        };
        let Found { config, bytes, from_copy } = found;
        let crypt = match &config.encryption {
            Some(envelope) => envelope.open(&config.id, access).await?,
            // Whoever can write to the store could otherwise have the next backup written in the open.
            None if access.key.is_some() => {
                return Err(Error::Key {
                    what: "the key file".to_owned(),
                    message: format!("{store} is not encrypted, and a key file says that it should be"),
                });
            }
            None => Crypt::default(),
        };
        crypt.unseal(CONFIG, &bytes)?;
        let crypt = crypt.with_history(&config.recipient_sets);
        Repository::of(store, &config, crypt, from_copy)
    }

    /// Reads the document, or its copy where it is missing or damaged.
    async fn config(store: &Store) -> Result<Found, Error> {
        let error = match Repository::config_at(store, CONFIG).await {
            Ok((config, bytes)) => return Ok(Found { config, bytes, from_copy: false }),
            Err(error @ (Error::NotARepository { .. } | Error::Damaged { .. })) => error,
            Err(other) => return Err(other),
        };
        match Repository::config_at(store, COPY).await {
            Ok((config, bytes)) => Ok(Found { config, bytes, from_copy: true }),
            Err(Error::NotARepository { .. } | Error::Damaged { .. }) => Err(error),
            Err(other) => Err(other),
        }
    }

    async fn config_at(store: &Store, object: &str) -> Result<(Config, bytes::Bytes), Error> {
        let bytes =
            store.get(object).await?.ok_or_else(|| Error::NotARepository { store: store.to_string() })?;
        let damaged = |message: String| Error::Damaged { object: CONFIG.to_owned(), message };
        let config: Config = document::parse(CONFIG, document::unseal_unsigned(CONFIG, &bytes)?)?;
        let hash = if config.encryption.is_some() { KEYED } else { PLAIN };
        if config.hash != hash || config.compression != "zstd" {
            return Err(damaged(
                "it asks for a hash or a compression that this version does not know".into(),
            ));
        }
        Ok((config, bytes))
    }

    /// Writes the document, or its copy, where it is missing or is not what the other says. A store that holds on to what
    /// it has is left with that.
    pub(crate) async fn keep_config(&self) -> Result<(), Error> {
        let Found { bytes, .. } = Repository::config(&self.store).await?;
        self.crypt.unseal(CONFIG, &bytes)?;
        for object in [CONFIG, COPY] {
            match self.store.get(object).await {
                Ok(Some(there)) if there == bytes => continue,
                // Larger than any document is.
                Ok(_) | Err(Error::Damaged { .. }) => {}
                Err(other) => return Err(other),
            }
            match self.store.put(object, bytes.clone()).await {
                Err(error) if error.is_refused_by_store() => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// What is wrong with the document or with its copy. That there is none of a copy is no fault: repositories were made
    /// without, and the next backup writes it.
    pub(crate) async fn look_at_config(&self) -> Result<Vec<Unreadable>, Error> {
        let mut wrong = Vec::new();
        let mut sound: Option<bytes::Bytes> = None;
        for (object, consequence) in [
            (CONFIG, "dbhaul.json.copy is read in its place, and the next backup writes it anew"),
            (COPY, "the next backup writes it anew"),
        ] {
            let said = match self.store.get(object).await {
                Ok(None) if object == COPY => continue,
                Ok(None) => "it is missing".to_owned(),
                Ok(Some(bytes)) => match self.crypt.unseal(CONFIG, &bytes) {
                    Ok(_) if sound.as_ref().is_none_or(|sound| *sound == bytes) => {
                        sound = Some(bytes);
                        continue;
                    }
                    Ok(_) => "it is not what dbhaul.json is".to_owned(),
                    Err(Error::Damaged { message, .. }) => message,
                    Err(other) => other.to_string(),
                },
                Err(Error::Damaged { message, .. }) => message,
                Err(other) => return Err(other),
            };
            wrong.push(Unreadable {
                name: object.to_owned(),
                error: format!("{said}; {consequence}"),
                other_format: None,
            });
        }
        Ok(wrong)
    }

    fn of(store: Store, config: &Config, crypt: Crypt, from_copy: bool) -> Result<Repository, Error> {
        if config.store.is_some_and(|probe| probe.checksums) {
            store.send_checksums();
        }
        let grace = Duration::from_millis(config.grace_ms).min(LONGEST_GRACE);
        Ok(Repository {
            store,
            chunker: config.chunker.check()?,
            grace,
            level: LEVEL,
            most_in_memory: MOST_IN_MEMORY.0,
            observer: Observer::default(),
            crypt,
            id: config.id.clone(),
            probe: config.store,
            from_copy,
        })
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

    /// Whom new data is encrypted to.
    pub fn recipients(&self) -> &[Recipient] {
        self.crypt.recipients()
    }

    /// A source's identity as [`SnapshotHeader::contents`](crate::SnapshotHeader::contents) has it: itself, or a keyed hash
    /// where the repository is encrypted, so that both can be compared by a host that can open nothing.
    pub fn identity_as_stored(&self, identity: &str) -> String {
        self.crypt.identity_as_stored(identity)
    }

    /// When a snapshot's manifest was stored, by the store's clock; nothing if it is not listed.
    pub async fn stored_at(&self, id: &crate::SnapshotId) -> Result<Option<DateTime<Utc>>, Error> {
        self.store.written_at(&id.object()).await
    }

    /// The store's clock, which is asked by writing a small object and removing it again.
    pub async fn store_clock(&self) -> Result<DateTime<Utc>, Error> {
        self.store.clock().await
    }

    /// True when `dbhaul.json` holds an identity that a passphrase opens.
    pub async fn has_passphrase(&self) -> Result<bool, Error> {
        let Found { config, .. } = Repository::config(&self.store).await?;
        Ok(config.encryption.is_some_and(|envelope| envelope.has_passphrase()))
    }

    /// Whether the identity that this passphrase opens belongs to a recipient of what is written now; false if its
    /// recipient was removed. Nothing if no passphrase opens any.
    pub async fn passphrase_is_current(&self, passphrase: &Passphrase) -> Result<Option<bool>, Error> {
        let Found { config, .. } = Repository::config(&self.store).await?;
        let Some(envelope) = config.encryption else { return Ok(None) };
        let found = envelope.passphrase_recipients(passphrase).await?;
        Ok(found.map(|found| found.iter().any(|recipient| self.recipients().contains(recipient))))
    }

    /// Encrypts to these from now on. What is stored already stays as it is: who could read it still can, and who could
    /// not still cannot: an identity behind a passphrase stays in `dbhaul.json` for that, also without its recipient.
    /// Writers that run at this moment go on with the recipients they began with.
    pub async fn set_recipients(&mut self, recipients: Vec<Recipient>) -> Result<(), Error> {
        let Found { mut config, bytes, .. } = Repository::config(&self.store).await?;
        self.crypt.unseal(CONFIG, &bytes)?;
        let envelope = config.encryption.take().ok_or_else(|| Error::Key {
            what: "the list of recipients".to_owned(),
            message: format!("{} is not encrypted, which is decided when it is created", self.store),
        })?;
        // Of what another host has changed since this one opened the repository, the document tells.
        let crypt = self.crypt.clone().with_history(&config.recipient_sets).with_recipients(recipients);
        config.encryption = Some(envelope.rewrap(&crypt)?);
        config.recipient_sets = crypt.sets().history();
        let bytes = bytes::Bytes::from(crypt.seal(CONFIG, &config));
        // In this order: of two that differ the first counts.
        self.store.put(CONFIG, bytes.clone()).await?;
        self.store.put(COPY, bytes).await?;
        self.crypt = crypt;
        Ok(())
    }

    /// Writes a manifest, once: the name has few random digits, and another snapshot's is never written over.
    pub(crate) async fn put_manifest(&self, manifest: &Manifest) -> Result<(), Error> {
        let object = manifest.id.object();
        let bytes = if self.crypt.is_encrypted() && !manifest.is_sealed() {
            self.crypt.seal(&object, &manifest.seal(&self.crypt)?)
        } else {
            self.crypt.seal(&object, manifest)
        };
        let conditional = self.probe.is_some_and(|probe| probe.conditional_put);
        let bytes = bytes::Bytes::from(bytes);
        if !self.store.put_new(&object, bytes.clone(), conditional).await? {
            return Err(Error::NameTaken { id: manifest.id.to_string() });
        }
        self.look_back(manifest, &object, &bytes).await
    }

    /// Reads a manifest back that the store has acknowledged: it is the one object that nobody would miss until it is
    /// needed.
    async fn look_back(&self, manifest: &Manifest, object: &str, bytes: &[u8]) -> Result<(), Error> {
        let not_kept = |found: &'static str| Error::NotKept {
            store: self.store.to_string(),
            object: object.to_owned(),
            found,
        };
        match self.store.get(object).await? {
            Some(there) if there == bytes => Ok(()),
            // Another host copied the same snapshot at this moment.
            Some(there) if Manifest::parse(&self.crypt, object, &there).is_ok() => Ok(()),
            Some(_) => Err(not_kept("it gives other bytes back")),
            // Another host forgot it at this moment.
            None if self.store.written_at(&manifest.id.tombstone()).await?.is_some() => Ok(()),
            None => Err(not_kept("there is no such object")),
        }
    }

    /// What is left of the grace for slow requests: writers, `undelete` and prune all stop this much earlier.
    pub(crate) fn margin(&self) -> Duration {
        Duration::from_secs(3600).min(self.grace / 4)
    }

    /// The repository's own id, made when it was created.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where it is, without secrets.
    pub fn place(&self) -> String {
        self.store.to_string()
    }
}
