//! The repository: created, opened, listed.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt as _};
use serde::{Deserialize, Serialize};

use crate::crypt::Crypt;
use crate::document;
use crate::envelope::{Encryption, Envelope};
use crate::write::blocking;
use crate::{Access, Chunker, Error, Manifest, Recipient, RepositoryKey, SnapshotId, Store};

/// The version of the format that is written and read.
pub const FORMAT: u64 = 1;

/// Manifests that are fetched at the same time.
const FETCHES: usize = 8;

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
}

/// An open repository. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repository {
    pub(crate) store: Store,
    pub(crate) chunker: Chunker,
    pub(crate) grace: Duration,
    pub(crate) crypt: Crypt,
    id: String,
}

/// A manifest that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Unreadable {
    /// The object.
    pub name: String,
    /// Why.
    pub error: String,
}

/// All snapshots.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Oldest first.
    pub manifests: Vec<Manifest>,
    /// What could not be read.
    pub unreadable: Vec<Unreadable>,
}

impl Repository {
    /// Creates a repository in an empty store; one that is there already is left alone, and an error.
    pub async fn init(store: Store, options: &InitOptions) -> Result<Repository, Error> {
        if store.get(CONFIG).await?.is_some() {
            return Err(Error::AlreadyExists { store: store.to_string() });
        }
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
        };
        store.put(CONFIG, crypt.seal(CONFIG, &config).into()).await?;
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
        Ok(Repository { store, chunker: config.chunker.check()?, grace, crypt, id: config.id.clone() })
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

    /// True when `dbhaul.json` holds an identity that a passphrase opens.
    pub async fn has_passphrase(&self) -> Result<bool, Error> {
        let (config, _) = Repository::config(&self.store).await?;
        Ok(config.encryption.is_some_and(|envelope| envelope.has_passphrase()))
    }

    /// Encrypts to these from now on. What is stored already stays as it is: who could read it still can, and who could
    /// not still cannot. Writers that run at this moment go on with the recipients they began with.
    pub async fn set_recipients(&mut self, recipients: Vec<Recipient>) -> Result<(), Error> {
        let (mut config, bytes) = Repository::config(&self.store).await?;
        self.crypt.unseal(CONFIG, &bytes)?;
        let envelope = config.encryption.take().ok_or_else(|| Error::Key {
            what: "the list of recipients".to_owned(),
            message: format!("{} is not encrypted, which is decided when it is created", self.store),
        })?;
        let crypt = self.crypt.with_recipients(recipients);
        config.encryption = Some(envelope.rewrap(&crypt)?);
        self.store.put(CONFIG, crypt.seal(CONFIG, &config).into()).await?;
        self.crypt = crypt;
        Ok(())
    }

    pub(crate) async fn put_manifest(&self, manifest: &Manifest) -> Result<(), Error> {
        let object = manifest.id.object();
        let bytes = if self.crypt.is_encrypted() && !manifest.is_sealed() {
            self.crypt.seal(&object, &manifest.seal(&self.crypt)?)
        } else {
            self.crypt.seal(&object, manifest)
        };
        self.store.put(&object, bytes.into()).await
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

    /// Every snapshot, oldest first; a manifest that cannot be read is named beside them, and hides no other. Without an
    /// identity, those of an encrypted repository stay sealed: see [`Manifest::is_sealed`].
    pub async fn snapshots(&self) -> Result<Listing, Error> {
        let mut listing = self.manifests("snapshots").await?;
        if self.crypt.is_encrypted() && self.crypt.can_read() {
            for manifest in std::mem::take(&mut listing.manifests) {
                let (name, crypt) = (manifest.id.object(), self.crypt.clone());
                match blocking(move || manifest.open(&crypt)).await? {
                    Ok(manifest) => listing.manifests.push(manifest),
                    Err(error) => listing.unreadable.push(Unreadable { name, error: error.to_string() }),
                }
            }
            listing.unreadable.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Ok(listing)
    }

    /// The same, with what is sealed left so.
    pub(crate) async fn manifests(&self, prefix: &str) -> Result<Listing, Error> {
        let objects = self.store.list(prefix).await?;
        let names =
            objects.into_iter().map(|meta| meta.location.to_string()).filter(|name| name.ends_with(".json"));
        let mut read = stream::iter(names)
            .map(|name| async move {
                let result = match self.store.get(&name).await {
                    // Forgotten between listing and reading: as if it had never been listed.
                    Ok(None) => None,
                    Ok(Some(bytes)) => Some(Manifest::parse(&self.crypt, &name, &bytes)),
                    Err(error) => Some(Err(error)),
                };
                (name, result)
            })
            .buffer_unordered(FETCHES);
        let mut listing = Listing::default();
        while let Some((name, result)) = read.next().await {
            match result {
                None => {}
                Some(Ok(manifest)) => listing.manifests.push(manifest),
                // A store that does not answer is no damaged manifest: the whole listing would be wrong.
                Some(Err(error @ Error::Store { .. })) => return Err(error),
                Some(Err(error)) => listing.unreadable.push(Unreadable { name, error: error.to_string() }),
            }
        }
        listing.manifests.sort_by(|a, b| (a.taken_at, &a.id).cmp(&(b.taken_at, &b.id)));
        listing.unreadable.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listing)
    }

    /// One snapshot: by its id, by the beginning of its id, or `latest`, the newest complete one.
    pub async fn find(&self, wanted: &str) -> Result<Manifest, Error> {
        let missing = |hint: String| Error::NoSnapshot { wanted: wanted.to_owned(), hint };
        if wanted != "latest"
            && let Some(id) = SnapshotId::parse(wanted)
            && let Some(bytes) = self.store.get(&id.object()).await?
        {
            return self.opened(Manifest::parse(&self.crypt, &id.object(), &bytes)?).await;
        }
        let listing = self.manifests("snapshots").await?;
        let unreadable = match listing.unreadable.first() {
            Some(first) => format!("; {} cannot be read: {}", first.name, first.error),
            None => String::new(),
        };
        if wanted == "latest" {
            // A newer snapshot that cannot be read must not make an older one pass for the latest in silence.
            if let Some(damaged) = listing.unreadable.first() {
                return Err(Error::Damaged {
                    object: damaged.name.clone(),
                    message: format!(
                        "{}; name the snapshot you want by its id instead of `latest`",
                        damaged.error
                    ),
                });
            }
            let latest = listing.manifests.into_iter().rev().find(|manifest| manifest.complete);
            let latest =
                latest.ok_or_else(|| missing("the repository holds no complete snapshot".to_owned()))?;
            return self.opened(latest).await;
        }
        let mut matching = listing.manifests.into_iter().filter(|m| m.id.as_str().starts_with(wanted));
        match (matching.next(), matching.next()) {
            (Some(only), None) => self.opened(only).await,
            (Some(_), Some(_)) => Err(missing("several begin so: give more of the id".to_owned())),
            (None, _) => Err(missing(format!("`dbhaul snapshots` lists what there is{unreadable}"))),
        }
    }

    async fn opened(&self, manifest: Manifest) -> Result<Manifest, Error> {
        let crypt = self.crypt.clone();
        blocking(move || manifest.open(&crypt)).await?
    }
}
