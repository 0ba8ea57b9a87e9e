//! The repository: created and opened.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::crypt::Crypt;
use crate::document;
use crate::envelope::{Encryption, Envelope};
use crate::progress::Observer;
use crate::{
    Access, ByteSize, Chunker, Error, Manifest, Passphrase, Probe, Rate, Recipient, RepositoryKey, Store,
};

/// The version of the format that is written and read.
pub const FORMAT: u64 = 1;

const CONFIG: &str = "dbhaul.json";
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

    /// Creates a repository in an empty store; one that is there already is left alone, and an error.
    pub async fn init(store: Store, options: &InitOptions) -> Result<Repository, Error> {
        if store.get(CONFIG).await?.is_some() {
            return Err(Error::AlreadyExists { store: store.to_string() });
        }
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
        if !store.put_new(CONFIG, crypt.seal(CONFIG, &config).into(), probe.conditional_put).await? {
            return Err(Error::AlreadyExists { store: store.to_string() });
        }
        Repository::of(store, &config, crypt)
    }

    /// Opens a repository that is not encrypted.
    pub async fn open(store: Store) -> Result<Repository, Error> {
        Repository::open_with(store, &Access::default()).await
    }

    /// Opens a repository with what is held of its keys.
    pub async fn open_with(store: Store, access: &Access) -> Result<Repository, Error> {
        let (config, bytes) = Repository::config(&store).await?;
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
        Repository::of(store, &config, crypt)
    }

    async fn config(store: &Store) -> Result<(Config, bytes::Bytes), Error> {
        let bytes =
            store.get(CONFIG).await?.ok_or_else(|| Error::NotARepository { store: store.to_string() })?;
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

    fn of(store: Store, config: &Config, crypt: Crypt) -> Result<Repository, Error> {
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
        })
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

    /// The store's clock, which is asked by writing a small object and removing it again.
    pub async fn store_clock(&self) -> Result<DateTime<Utc>, Error> {
        self.store.clock().await
    }

    /// True when `dbhaul.json` holds an identity that a passphrase opens.
    pub async fn has_passphrase(&self) -> Result<bool, Error> {
        let (config, _) = Repository::config(&self.store).await?;
        Ok(config.encryption.is_some_and(|envelope| envelope.has_passphrase()))
    }

    /// Whether the identity that this passphrase opens belongs to a recipient of what is written now; false if its
    /// recipient was removed. Nothing if no passphrase opens any.
    pub async fn passphrase_is_current(&self, passphrase: &Passphrase) -> Result<Option<bool>, Error> {
        let (config, _) = Repository::config(&self.store).await?;
        let Some(envelope) = config.encryption else { return Ok(None) };
        let found = envelope.passphrase_recipients(passphrase).await?;
        Ok(found.map(|found| found.iter().any(|recipient| self.recipients().contains(recipient))))
    }

    /// Encrypts to these from now on. What is stored already stays as it is: who could read it still can, and who could
    /// not still cannot: an identity behind a passphrase stays in `dbhaul.json` for that, also without its recipient.
    /// Writers that run at this moment go on with the recipients they began with.
    pub async fn set_recipients(&mut self, recipients: Vec<Recipient>) -> Result<(), Error> {
        let (mut config, bytes) = Repository::config(&self.store).await?;
        self.crypt.unseal(CONFIG, &bytes)?;
        let envelope = config.encryption.take().ok_or_else(|| Error::Key {
            what: "the list of recipients".to_owned(),
            message: format!("{} is not encrypted, which is decided when it is created", self.store),
        })?;
        // Of what another host has changed since this one opened the repository, the document tells.
        let crypt = self.crypt.clone().with_history(&config.recipient_sets).with_recipients(recipients);
        config.encryption = Some(envelope.rewrap(&crypt)?);
        config.recipient_sets = crypt.sets().history();
        self.store.put(CONFIG, crypt.seal(CONFIG, &config).into()).await?;
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
        if self.store.put_new(&object, bytes.into(), conditional).await? {
            Ok(())
        } else {
            Err(Error::NameTaken { id: manifest.id.to_string() })
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
