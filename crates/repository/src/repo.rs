//! The repository: created, opened, listed.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt as _};
use serde::{Deserialize, Serialize};

use crate::document::{self, seal};
use crate::{Chunker, Error, Manifest, SnapshotId, Store};

/// The version of the format that is written, and the newest that is read.
pub const FORMAT: u64 = 0;

/// Manifests that are fetched at the same time.
const FETCHES: usize = 8;

const CONFIG: &str = "dbhaul.json";

/// What is fixed when a repository is created.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// How streams are cut.
    pub chunker: Chunker,
    /// How long what is no longer needed stays: `undelete` works so long, prune waits so long between marking and
    /// deleting, and a backup that runs longer is refused. At least a few hours for real use.
    pub grace: Duration,
}

impl Default for InitOptions {
    fn default() -> Self {
        InitOptions { chunker: Chunker::default(), grace: Duration::from_secs(72 * 3600) }
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
    /// Nothing in format 0; the key envelope's place.
    #[serde(default)]
    encryption: Option<serde_json::Value>,
}

/// An open repository. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repository {
    pub(crate) store: Store,
    pub(crate) chunker: Chunker,
    pub(crate) grace: Duration,
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
        let config = Config {
            format: FORMAT,
            id: uuid::Uuid::new_v4().simple().to_string(),
            created_at: Utc::now(),
            chunker: options.chunker.check()?,
            grace_ms: options.grace.min(LONGEST_GRACE).as_millis() as u64,
            hash: "sha256".to_owned(),
            compression: "zstd".to_owned(),
            encryption: None,
        };
        store.put(CONFIG, seal(&config).into()).await?;
        Repository::open(store).await
    }

    /// Opens a repository.
    pub async fn open(store: Store) -> Result<Repository, Error> {
        let bytes =
            store.get(CONFIG).await?.ok_or_else(|| Error::NotARepository { store: store.to_string() })?;
        let damaged = |message: String| Error::Damaged { object: CONFIG.to_owned(), message };
        let config: Config = document::read(CONFIG, &bytes)?;
        if config.hash != "sha256" || config.compression != "zstd" || config.encryption.is_some() {
            return Err(damaged(
                "it asks for a hash, compression or encryption that this version does not know".into(),
            ));
        }
        let grace = Duration::from_millis(config.grace_ms).min(LONGEST_GRACE);
        Ok(Repository { store, chunker: config.chunker.check()?, grace, id: config.id })
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

    /// Every snapshot, oldest first; a manifest that cannot be read is named beside them, and hides no other.
    pub async fn snapshots(&self) -> Result<Listing, Error> {
        self.manifests("snapshots").await
    }

    pub(crate) async fn manifests(&self, prefix: &str) -> Result<Listing, Error> {
        let objects = self.store.list(prefix).await?;
        let names =
            objects.into_iter().map(|meta| meta.location.to_string()).filter(|name| name.ends_with(".json"));
        let mut read = stream::iter(names)
            .map(|name| async move {
                let result = match self.store.get(&name).await {
                    // Forgotten between listing and reading: as if it had never been listed.
                    Ok(None) => None,
                    Ok(Some(bytes)) => Some(Manifest::parse(&name, &bytes)),
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
            return Manifest::parse(&id.object(), &bytes);
        }
        let listing = self.snapshots().await?;
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
            return latest.ok_or_else(|| missing("the repository holds no complete snapshot".to_owned()));
        }
        let mut matching = listing.manifests.into_iter().filter(|m| m.id.as_str().starts_with(wanted));
        match (matching.next(), matching.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(missing("several begin so: give more of the id".to_owned())),
            (None, _) => Err(missing(format!("`dbhaul snapshots` lists what there is{unreadable}"))),
        }
    }
}
