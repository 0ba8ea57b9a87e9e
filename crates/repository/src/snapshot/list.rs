//! Lists snapshots. Manifests are visited one by one, and only a few are held at a time: all manifests of a large
//! repository may exceed memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt as _};
use object_store::ObjectMeta;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::error::NOT_LISTED;
use crate::format::unreadable::Unreadable;
use crate::store::failure_budget::FailureBudget;
use crate::tasks::blocking;
use crate::{Content, Error, Manifest, Repository, SnapshotId, SnapshotStats};

/// Number of manifests to fetch and parse in parallel,
const FETCHES: usize = 8;
/// and their maximum total size. A larger one is fetched alone.
const BUDGET: u32 = 32 << 20;

/// All snapshots.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Oldest first.
    pub manifests: Vec<Manifest>,
    /// Manifests that cannot be read.
    pub unreadable: Vec<Unreadable>,
}

/// The header of a snapshot: small, whatever the snapshot's size, and never encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SnapshotHeader {
    /// Id.
    pub id: SnapshotId,
    /// Series.
    pub job: String,
    /// When it was begun.
    pub taken_at: DateTime<Utc>,
    /// When the last part was written.
    pub finished_at: DateTime<Utc>,
    /// Program that wrote it.
    pub tool: String,
    /// False if a requested source is missing.
    pub complete: bool,
    /// Sources that it contains completely; `None` if that is unknown without decrypting it, in an encrypted
    /// repository of the first versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<Vec<Content>>,
    /// From this snapshot on the series may have other sources.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub new_lineage: bool,
    /// Tags given by the user.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    /// When its manifest was stored, by the store's clock; not part of the stored header.
    #[serde(default, skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub stored_at: Option<DateTime<Utc>>,
    /// Sizes.
    #[serde(default)]
    pub stats: SnapshotStats,
}

/// The sources, for manifests that do not list their contents.
#[derive(Deserialize)]
struct OpenSources {
    #[serde(default)]
    sources: Vec<OpenSource>,
}

#[derive(Deserialize)]
struct OpenSource {
    name: String,
    kind: String,
}

impl SnapshotHeader {
    fn read(repository: &Repository, object: &str, bytes: &[u8]) -> Result<SnapshotHeader, Error> {
        let mut header: SnapshotHeader = repository.crypt.read(object, bytes)?;
        header.id.check_object(object)?;
        if header.contents.is_none() && !repository.crypt.is_encrypted() {
            let open: OpenSources = repository.crypt.read(object, bytes)?;
            let content =
                |source: OpenSource| Content { name: source.name, kind: source.kind, identity: None };
            header.contents = Some(open.sources.into_iter().map(content).collect());
        }
        Ok(header)
    }

    /// Whether it contains a complete source of this name; `None` if that is unknown without decrypting it.
    pub fn holds(&self, source: &str) -> Option<bool> {
        self.contents.as_ref().map(|contents| contents.iter().any(|content| content.name == source))
    }

    /// Whether both are headers of the same snapshot: a copy keeps all of this.
    pub(crate) fn is_copy_of(&self, other: &SnapshotHeader) -> bool {
        let known = |header: &SnapshotHeader| {
            let SnapshotHeader { id, job, taken_at, finished_at, tool, complete, stats, .. } = header.clone();
            (id, job, taken_at, finished_at, tool, complete, stats.plain_bytes)
        };
        known(self) == known(other)
    }

    pub(crate) fn of(manifest: &Manifest) -> SnapshotHeader {
        SnapshotHeader {
            id: manifest.id.clone(),
            job: manifest.job.clone(),
            taken_at: manifest.taken_at,
            finished_at: manifest.finished_at,
            tool: manifest.tool.clone(),
            complete: manifest.complete,
            contents: Some(manifest.contents.clone()).filter(|contents| !contents.is_empty()),
            new_lineage: manifest.new_lineage,
            tags: manifest.tags.clone(),
            stored_at: None,
            stats: manifest.stats.clone(),
        }
    }
}

/// The headers of all snapshots.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    /// Oldest first.
    pub headers: Vec<SnapshotHeader>,
    /// Manifests that cannot be read.
    pub unreadable: Vec<Unreadable>,
}

impl Headers {
    /// The headers, if all could be read; otherwise the error of the first unreadable one, with this consequence.
    pub fn readable(self, consequence: &'static str) -> Result<Vec<SnapshotHeader>, Error> {
        match self.unreadable.into_iter().next() {
            Some(unreadable) => Err(unreadable.into_error(consequence)),
            None => Ok(self.headers),
        }
    }
}

impl Repository {
    /// Every snapshot with all its contents, oldest first; manifests that cannot be read are listed separately.
    /// Without a matching identity, those of an encrypted repository stay sealed: see [`Manifest::is_sealed`]. Holds
    /// all manifests in memory: [`Repository::headers`] needs less.
    pub async fn snapshots(&self) -> Result<Listing, Error> {
        let mut manifests = Vec::new();
        let unreadable = self.visit_manifests(true, |manifest| manifests.push(manifest)).await?;
        manifests.sort_by(|a, b| (a.taken_at, &a.id).cmp(&(b.taken_at, &b.id)));
        Ok(Listing { manifests, unreadable })
    }

    /// The header of every snapshot, oldest first.
    pub async fn headers(&self) -> Result<Headers, Error> {
        let mut headers = Vec::new();
        let read = |repository: Repository, meta: ObjectMeta, bytes: bytes::Bytes| {
            let header = SnapshotHeader::read(&repository, meta.location.as_ref(), &bytes)?;
            Ok(SnapshotHeader { stored_at: Some(meta.last_modified), ..header })
        };
        let unreadable = self
            .visit_documents("snapshots", FailureBudget::strict(), read, |header| headers.push(header))
            .await?;
        headers.sort_by(|a, b| (a.taken_at, &a.id).cmp(&(b.taken_at, &b.id)));
        Ok(Headers { headers, unreadable })
    }

    /// The header of one snapshot; `None` if it is not listed.
    pub(crate) async fn header(&self, id: &SnapshotId) -> Result<Option<SnapshotHeader>, Error> {
        let object = id.object();
        let bytes = self.store.get(&object).await?;
        bytes.map(|bytes| SnapshotHeader::read(self, &object, &bytes)).transpose()
    }

    /// Calls `visit` for every snapshot, opened as by [`Repository::snapshots`], with the store's time of its
    /// manifest; in any order, holding only a few at a time. Returns the unreadable ones.
    pub async fn visit_snapshots(
        &self,
        mut visit: impl FnMut(Manifest, DateTime<Utc>),
    ) -> Result<Vec<Unreadable>, Error> {
        let open = self.crypt.can_read();
        let read = move |repository: Repository, meta: ObjectMeta, bytes: bytes::Bytes| {
            let manifest = Manifest::parse(&repository.crypt, meta.location.as_ref(), &bytes)?;
            let manifest = if open { manifest.open_if_possible(&repository.crypt)? } else { manifest };
            Ok((manifest, meta.last_modified))
        };
        self.visit_documents("snapshots", FailureBudget::strict(), read, |(manifest, at)| visit(manifest, at))
            .await
    }

    /// Calls `visit` for every manifest, in any order; if `open`, decrypts those that it can. Returns the unreadable
    /// ones. A failing store ends it: the list would be incomplete.
    pub(crate) async fn visit_manifests(
        &self,
        open: bool,
        visit: impl FnMut(Manifest),
    ) -> Result<Vec<Unreadable>, Error> {
        self.visit_manifests_with(FailureBudget::strict(), open, visit).await
    }

    /// The same but tolerates some failures of the store; those manifests are then among the unreadable ones.
    pub(crate) async fn visit_manifests_with(
        &self,
        failures: FailureBudget,
        open: bool,
        visit: impl FnMut(Manifest),
    ) -> Result<Vec<Unreadable>, Error> {
        let open = open && self.crypt.can_read();
        let read = move |repository: Repository, meta: ObjectMeta, bytes: bytes::Bytes| {
            let manifest = Manifest::parse(&repository.crypt, meta.location.as_ref(), &bytes)?;
            if open { manifest.open_if_possible(&repository.crypt) } else { Ok(manifest) }
        };
        self.visit_documents("snapshots", failures, read, visit).await
    }

    async fn visit_documents<T: Send + 'static>(
        &self,
        prefix: &str,
        mut failures: FailureBudget,
        read: impl Fn(Repository, ObjectMeta, bytes::Bytes) -> Result<T, Error> + Clone + Send + 'static,
        mut visit: impl FnMut(T),
    ) -> Result<Vec<Unreadable>, Error> {
        let documents = self.store.list(prefix).await?.into_iter();
        let documents = documents.filter(|meta| SnapshotId::of_manifest(meta.location.as_ref()).is_some());
        let budget = Arc::new(Semaphore::new(BUDGET as usize));
        let mut reads = stream::iter(documents)
            .map(|meta| {
                let name = meta.location.to_string();
                let (read, budget) = (read.clone(), Arc::clone(&budget));
                async move {
                    let share = u32::try_from(meta.size).unwrap_or(BUDGET).min(BUDGET);
                    // Held until the document has been visited. The semaphore is never closed.
                    let permit = budget.acquire_many_owned(share).await.ok();
                    let result = match self.store.get(&name).await {
                        // Forgotten between listing and reading: as if never listed.
                        Ok(None) => None,
                        Ok(Some(bytes)) => {
                            let repository = self.clone();
                            let read = blocking(move || read(repository, meta, bytes)).await;
                            Some(read.unwrap_or_else(Err))
                        }
                        Err(error) => Some(Err(error)),
                    };
                    (name, result, permit)
                }
            })
            .buffer_unordered(FETCHES);
        let mut unreadable = Vec::new();
        while let Some((name, result, _permit)) = reads.next().await {
            match result {
                None => {}
                Some(Ok(document)) => {
                    failures.reset();
                    visit(document);
                }
                Some(Err(error @ Error::Store { .. })) => {
                    unreadable.push(Unreadable { name, error: failures.spend(error)?, other_format: None });
                }
                Some(Err(error)) => unreadable.push(Unreadable::new(name, &error)),
            }
        }
        unreadable.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(unreadable)
    }

    async fn document_names(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let objects = self.store.list(prefix).await?;
        let names = objects.into_iter().map(|meta| meta.location.to_string());
        Ok(names.filter(|name| name.ends_with(".json")).collect())
    }

    /// Objects among the manifests whose names are not those of manifests.
    pub(crate) async fn stray_manifests(&self) -> Result<Vec<String>, Error> {
        let mut names = self.document_names("snapshots").await?;
        names.retain(|name| SnapshotId::of_manifest(name).is_none());
        Ok(names)
    }

    /// A snapshot by its id, by the beginning of its id, or `latest`, the newest complete one.
    pub async fn find(&self, wanted: &str) -> Result<Manifest, Error> {
        let id = if wanted == "latest" { self.latest().await? } else { self.id_of(wanted).await? };
        let manifest = self.manifest(&id).await?.ok_or_else(|| Error::NoSnapshot {
            wanted: wanted.to_owned(),
            hint: "it was just forgotten".to_owned(),
        })?;
        let crypt = self.crypt.clone();
        blocking(move || manifest.open(&crypt)).await?
    }

    /// A listed manifest, possibly sealed; `None` if it is not listed.
    pub(crate) async fn manifest(&self, id: &SnapshotId) -> Result<Option<Manifest>, Error> {
        let object = id.object();
        let bytes = self.store.get(&object).await?;
        bytes.map(|bytes| Manifest::parse(&self.crypt, &object, &bytes)).transpose()
    }

    async fn latest(&self) -> Result<SnapshotId, Error> {
        // If a newer snapshot cannot be read, do not silently take an older one for the latest.
        let headers = self.headers().await?;
        let headers = headers.readable("name the snapshot you want by its id instead of `latest`")?;
        let latest = headers.into_iter().rev().find(|header| header.complete);
        latest.map(|header| header.id).ok_or_else(|| Error::NoSnapshot {
            wanted: "latest".to_owned(),
            hint: "the repository holds no complete snapshot".to_owned(),
        })
    }

    /// The only id that is, or begins with, this text.
    pub(crate) async fn id_of(&self, wanted: &str) -> Result<SnapshotId, Error> {
        let missing = |hint: &str| Error::NoSnapshot { wanted: wanted.to_owned(), hint: hint.to_owned() };
        let names = self.document_names("snapshots").await?;
        let ids = names.iter().filter_map(|name| SnapshotId::of_manifest(name));
        let mut matching = ids.filter(|id| id.as_str().starts_with(wanted) && !wanted.is_empty());
        match (matching.next(), matching.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(missing("several snapshot ids begin with it: use more characters")),
            (None, _) => Err(missing(NOT_LISTED)),
        }
    }
}
