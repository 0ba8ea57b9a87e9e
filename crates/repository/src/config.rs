//! `dbhaul.json`, the document that makes a store a repository: created, opened, kept in two copies.

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
/// The same bytes once more: without them nothing in an encrypted repository can be read.
const COPY: &str = "dbhaul.json.copy";
/// How chunk ids are made: without encryption, and with it.
const PLAIN: &str = "sha256";
const KEYED: &str = "hmac-sha256";

fn default_grace() -> u64 {
    InitOptions::default().grace.as_millis() as u64
}

/// No grace period is longer: what a damaged `dbhaul.json` could ask for, kept within what times can be added to.
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

/// A document, its bytes, and whether they are those of its copy.
struct Found {
    config: Config,
    bytes: bytes::Bytes,
    from_copy: bool,
}

impl Repository {
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
        // Another host may have created it since we checked.
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
    pub(crate) async fn restore_config(&self) -> Result<(), Error> {
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
    pub(crate) async fn check_config(&self) -> Result<Vec<Unreadable>, Error> {
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
}
