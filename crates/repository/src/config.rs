//! `dbhaul.json`, the document that makes a store a repository: creating and opening it, and its second copy.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::crypto::crypt::Crypt;
use crate::crypto::envelope::Envelope;
use crate::format::document;
use crate::format::unreadable::Unreadable;
use crate::progress::Observer;
use crate::repository::{InitOptions, LEVEL, MOST_IN_MEMORY, Repository};
use crate::{Access, Chunker, Error, FORMAT, Passphrase, Probe, Recipient, SnapshotId, Store};

const CONFIG: &str = "dbhaul.json";
/// A second copy: without its contents, nothing in an encrypted repository can be read.
const COPY: &str = "dbhaul.json.copy";
/// How chunk ids are computed, without and with encryption.
const PLAIN: &str = "sha256";
const KEYED: &str = "hmac-sha256";

fn default_grace() -> u64 {
    InitOptions::default().grace.as_millis() as u64
}

/// Upper limit for the grace period, so that a damaged `dbhaul.json` cannot cause overflow in time calculations.
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
    /// Capabilities of the store when the repository was created. Informational.
    #[serde(default)]
    store: Option<Probe>,
    /// All sets of recipients so far, oldest first; only if they ever changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recipient_sets: Vec<Vec<String>>,
}

/// A document with its bytes, and whether they are those of the copy.
struct LoadedConfig {
    config: Config,
    bytes: bytes::Bytes,
    from_copy: bool,
}

impl Repository {
    /// Creates a repository in an empty store. Fails if the store contains a repository, or remains of one without
    /// its `dbhaul.json`.
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
        // Another host may have created it since the check.
        let bytes = bytes::Bytes::from(crypt.seal(CONFIG, &config));
        if !store.put_new(CONFIG, bytes.clone(), probe.conditional_put).await? {
            return Err(Error::AlreadyExists { store: store.to_string() });
        }
        store.put(COPY, bytes).await?;
        store.keep_reserve().await;
        Repository::of(store, &config, crypt, false)
    }

    /// Fails if the store contains objects that only a repository leaves, or if the bucket does not exist.
    async fn refuse_orphans(store: &Store) -> Result<(), Error> {
        let (listed, forgotten) = (store.list("snapshots").await?, store.list("tombstones").await?);
        let snapshots =
            listed.iter().filter(|meta| SnapshotId::of_manifest(meta.location.as_ref()).is_some()).count()
                + forgotten
                    .iter()
                    .filter(|meta| SnapshotId::of_tombstone(meta.location.as_ref()).is_some())
                    .count();
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

    /// Opens a repository with the available keys.
    pub async fn open_with(store: Store, access: &Access) -> Result<Repository, Error> {
        let found = match Repository::config(&store).await {
            Err(error @ Error::NotARepository { .. }) => {
                Repository::refuse_orphans(&store).await?;
                return Err(error);
            }
            other => other?,
        };
        let LoadedConfig { config, bytes, from_copy } = found;
        let crypt = match &config.encryption {
            Some(envelope) => envelope.open(&config.id, access).await?,
            // Otherwise, anyone who can write to the store could make the next backup unencrypted.
            None if access.key.is_some() => {
                return Err(Error::Key {
                    what: "the key file".to_owned(),
                    message: format!("{store} is not encrypted, but a key file was given"),
                });
            }
            None => Crypt::default(),
        };
        crypt.unseal(CONFIG, &bytes)?;
        let crypt = crypt.with_history(&config.recipient_sets);
        Repository::of(store, &config, crypt, from_copy)
    }

    /// Reads the document, or its copy if the document is missing or damaged.
    async fn config(store: &Store) -> Result<LoadedConfig, Error> {
        let error = match Repository::config_at(store, CONFIG).await {
            Ok((config, bytes)) => return Ok(LoadedConfig { config, bytes, from_copy: false }),
            Err(error @ (Error::NotARepository { .. } | Error::Damaged { .. })) => error,
            Err(other) => return Err(other),
        };
        match Repository::config_at(store, COPY).await {
            Ok((config, bytes)) => Ok(LoadedConfig { config, bytes, from_copy: true }),
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
                "it requires a hash or a compression that this version does not support".into(),
            ));
        }
        Ok((config, bytes))
    }

    /// Writes the document or its copy again, if either is missing or they differ. A store that does not allow
    /// overwriting is left as it is.
    pub(crate) async fn restore_config(&self) -> Result<(), Error> {
        let LoadedConfig { bytes, .. } = Repository::config(&self.store).await?;
        self.crypt.unseal(CONFIG, &bytes)?;
        for object in [CONFIG, COPY] {
            match self.store.get(object).await {
                Ok(Some(there)) if there == bytes => continue,
                // Larger than any document.
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

    /// Faults in the document or its copy. A missing copy is not a fault: early versions wrote none, and the next
    /// backup creates it.
    pub(crate) async fn check_config(&self) -> Result<Vec<Unreadable>, Error> {
        let mut wrong = Vec::new();
        let mut sound: Option<bytes::Bytes> = None;
        for (object, consequence) in [
            (CONFIG, "dbhaul.json.copy is used instead; the next backup writes dbhaul.json again"),
            (COPY, "the next backup writes it again"),
        ] {
            let said = match self.store.get(object).await {
                Ok(None) if object == COPY => continue,
                Ok(None) => "it is missing".to_owned(),
                Ok(Some(bytes)) => match self.crypt.unseal(CONFIG, &bytes) {
                    Ok(_) if sound.as_ref().is_none_or(|sound| *sound == bytes) => {
                        sound = Some(bytes);
                        continue;
                    }
                    Ok(_) => "it differs from dbhaul.json".to_owned(),
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

    /// Whether `dbhaul.json` contains an identity encrypted with a passphrase.
    pub async fn has_passphrase(&self) -> Result<bool, Error> {
        let LoadedConfig { config, .. } = Repository::config(&self.store).await?;
        Ok(config.encryption.is_some_and(|envelope| envelope.has_passphrase()))
    }

    /// Whether the identity that this passphrase decrypts belongs to a current recipient; `None` if there is no such
    /// identity.
    pub async fn passphrase_is_current(&self, passphrase: &Passphrase) -> Result<Option<bool>, Error> {
        let LoadedConfig { config, .. } = Repository::config(&self.store).await?;
        let Some(envelope) = config.encryption else { return Ok(None) };
        let found = envelope.passphrase_recipients(passphrase).await?;
        Ok(found.map(|found| found.iter().any(|recipient| self.recipients().contains(recipient))))
    }

    /// Sets the recipients of new data. Stored data is unchanged: added recipients cannot decrypt it, and removed
    /// ones still can. An identity behind a passphrase therefore stays in `dbhaul.json` even without its recipient.
    /// Writers that are running continue with the recipients they started with.
    pub async fn set_recipients(&mut self, recipients: Vec<Recipient>) -> Result<(), Error> {
        let LoadedConfig { mut config, bytes, .. } = Repository::config(&self.store).await?;
        self.crypt.unseal(CONFIG, &bytes)?;
        let envelope = config.encryption.take().ok_or_else(|| Error::Key {
            what: "the list of recipients".to_owned(),
            message: format!("{} is not encrypted, which is decided when it is created", self.store),
        })?;
        // The document contains changes that another host made since this one opened the repository.
        let crypt = self.crypt.clone().with_history(&config.recipient_sets).with_recipients(recipients);
        config.encryption = Some(envelope.rewrap(&crypt)?);
        config.recipient_sets = crypt.sets().history();
        let bytes = bytes::Bytes::from(crypt.seal(CONFIG, &config));
        // In this order: if the two differ, the first one counts.
        self.store.put(CONFIG, bytes.clone()).await?;
        self.store.put(COPY, bytes).await?;
        self.crypt = crypt;
        Ok(())
    }
}
