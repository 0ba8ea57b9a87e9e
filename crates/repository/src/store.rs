//! The store below a repository: a folder, a cloud's objects, or memory. Every call names its object in its error.

use std::collections::HashMap;
use std::fmt;
use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutPayload};

use crate::Error;
use crate::Rate;
use crate::failpoint::{self, Step};
use crate::http::AtMost;
use crate::upload_limit::UploadLimit;

/// No manifest, mark or other document is larger: what a hostile store can make us allocate.
const LARGEST_DOCUMENT: u64 = 256 << 20;

/// Deletions at the same time, where each is a request.
const DELETIONS: usize = 8;
/// What the variables begin with that stores take their settings from,
const CLOUDS: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];
/// and the one below whose folder a cloud's tools keep files.
const HOME: &str = "HOME";

/// The environment that stores take their credentials from; an argument, so that tests bring their own.
#[derive(Clone, Default)]
pub struct StoreEnv {
    variables: HashMap<String, String>,
}

impl StoreEnv {
    /// The variables that the clouds' own clients know: `AWS_*`, `GOOGLE_*` and `AZURE_*`, and `HOME`, below which AWS's
    /// keep files.
    pub fn from_process() -> StoreEnv {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name == HOME || CLOUDS.iter().any(|prefix| name.starts_with(prefix)))
            .collect();
        StoreEnv { variables }
    }

    /// These variables and no others: no file is read but what they name.
    pub fn of(pairs: &[(&str, &str)]) -> StoreEnv {
        StoreEnv { variables: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect() }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Names only: the values are secrets.
impl fmt::Debug for StoreEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

/// Objects by name, somewhere.
#[derive(Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    name: String,
    /// Many objects are deleted in one request.
    bulk_delete: bool,
    /// The folder that the objects are files in.
    root: Option<Arc<FilePath>>,
    uploads: Arc<UploadLimit>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.name).finish()
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Store {
    /// Opens the store that `url` names: a folder (a path, or `file:///…`), `memory:`, or a cloud's.
    ///
    /// `s3://bucket/prefix` knows these options in its query: `endpoint`; `region`; `virtual-hosted=true` for servers
    /// that want the bucket in the host's name; `retry-timeout` for how long a failing request is tried again; `bulk-delete=true` to delete many objects in one request, which not
    /// every compatible store can; `credentials=instance` to ask the machine's own role. `gs://bucket/prefix` and
    /// `az://container/prefix` are there if the crate was built with the features `gcs` and `azure`.
    ///
    /// Credentials are never part of the URL; they come from the variables that each cloud's own clients read, and for S3
    /// from the files of AWS's too.
    pub fn open(url: &str, env: &StoreEnv) -> Result<Store, Error> {
        if url == "memory:" {
            return Ok(Store::custom(Arc::new(InMemory::new()), url));
        }
        let Some((scheme, rest)) = url.split_once("://") else { return Store::folder(FilePath::new(url)) };
        let wrong =
            |message: &str| Err(Error::Url { url: format!("{scheme}://…"), message: message.to_owned() });
        match scheme {
            "file" => Store::folder(FilePath::new(rest)),
            "s3" => crate::cloud::s3(url, env),
            #[cfg(feature = "gcs")]
            "gs" => crate::cloud::gcs(url, env),
            #[cfg(feature = "azure")]
            "az" => crate::cloud::azure(url, env),
            #[cfg(not(all(feature = "gcs", feature = "azure")))]
            "gs" | "az" => wrong("this build has no part for this cloud (the features `gcs` and `azure`)"),
            _ => wrong("a folder, s3://, gs:// and az:// are known"),
        }
    }

    pub(crate) fn of(
        objects: Arc<dyn ObjectStore>,
        name: String,
        bulk_delete: bool,
        uploads: Arc<UploadLimit>,
    ) -> Store {
        Store { objects, name, bulk_delete, root: None, uploads }
    }

    /// Uploads no faster than this on average, over everything that writes through this store and its clones.
    pub(crate) fn limit_uploads(&self, rate: Rate) {
        self.uploads.set(rate);
    }

    /// A folder; it need not exist before the first object is written.
    pub fn folder(folder: &FilePath) -> Result<Store, Error> {
        let name = folder.display().to_string();
        let wrong = |message: String| Error::Url { url: name.clone(), message };
        let absolute = std::path::absolute(folder).map_err(|e| wrong(e.to_string()))?;
        let prefix = Path::from_absolute_path(&absolute).map_err(|e| wrong(e.to_string()))?;
        // Each object is synced to disk before its name appears, and its folder after: the order of writes is then
        // the order that survives a power cut, which is what makes the manifest the commit.
        let files = LocalFileSystem::new().with_fsync(true);
        let store = Store::custom(Arc::new(PrefixStore::new(files, prefix)), name);
        Ok(Store { root: Some(absolute.into()), ..store })
    }

    /// Any store of the `object_store` crate.
    pub fn custom(objects: Arc<dyn ObjectStore>, name: impl Into<String>) -> Store {
        Store::of(objects, name.into(), false, Arc::default())
    }

    fn failed(&self, action: &'static str, object: &str, source: object_store::Error) -> Error {
        Error::Store { store: self.name.clone(), action, object: object.to_owned(), source: Box::new(source) }
    }

    pub(crate) async fn put(&self, object: &str, bytes: Bytes) -> Result<(), Error> {
        self.uploads.take(bytes.len() as u64).await;
        failpoint::before(Step::Put, object);
        self.objects
            .put(&Path::from(object), PutPayload::from_bytes(bytes))
            .await
            .map_err(|e| self.failed("write", object, e))?;
        failpoint::after(Step::Put, object);
        Ok(())
    }

    /// Writes an object that nobody else may have written: false if there is another one, which is left as it is.
    ///
    /// Only a store that honours conditional writes makes that one step; elsewhere it is a look and then a write.
    pub(crate) async fn put_new(&self, object: &str, bytes: Bytes, conditional: bool) -> Result<bool, Error> {
        let mut refused = None;
        if conditional {
            self.uploads.take(bytes.len() as u64).await;
            failpoint::before(Step::Put, object);
            let mode = object_store::PutMode::Create.into();
            match self
                .objects
                .put_opts(&Path::from(object), PutPayload::from_bytes(bytes.clone()), mode)
                .await
            {
                Ok(_) => {
                    failpoint::after(Step::Put, object);
                    return Ok(true);
                }
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                }
                Err(error) => refused = Some(error),
            }
        }
        // An answer may have been lost, the client asked again, and met its own object. Or the repository was moved to a
        // store that does not know the condition.
        match (self.get(object).await?, refused) {
            (Some(there), _) if there == bytes => Ok(true),
            (Some(_), Some(error)) => Err(self.failed("write", object, error)),
            (Some(_), None) => Ok(false),
            (None, _) => self.put(object, bytes).await.map(|()| true),
        }
    }

    /// Tries to create an object that exists: true if that was refused, as it should be.
    pub(crate) async fn create(&self, object: &str, bytes: Bytes) -> Result<bool, Error> {
        let mode = object_store::PutMode::Create.into();
        match self.objects.put_opts(&Path::from(object), PutPayload::from_bytes(bytes), mode).await {
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(true)
            }
            // One that does not know the header may refuse the request, or write over the object in silence.
            Ok(_) | Err(_) => Ok(false),
        }
    }

    /// The bytes of a document, or nothing if there is none.
    pub(crate) async fn get(&self, object: &str) -> Result<Option<Bytes>, Error> {
        self.get_at_most(object, LARGEST_DOCUMENT).await
    }

    /// The object's bytes, or nothing if there is none. One that is larger than `limit` is not fetched, and damaged.
    pub(crate) async fn get_at_most(&self, object: &str, limit: u64) -> Result<Option<Bytes>, Error> {
        let got = async {
            let mut options = GetOptions::default();
            options.extensions.insert(AtMost(limit));
            let found = self.objects.get_opts(&Path::from(object), options).await?;
            let size = found.meta.size;
            if size > limit { Ok(Err(size)) } else { found.bytes().await.map(Ok) }
        };
        match got.await {
            Ok(Ok(bytes)) => Ok(Some(bytes)),
            Ok(Err(size)) => Err(Error::Damaged {
                object: object.to_owned(),
                message: format!("it has {size} bytes, and at most {limit} are plausible"),
            }),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("read", object, error)),
        }
    }

    /// When the object was last written, by the store's own clock.
    pub(crate) async fn written_at(&self, object: &str) -> Result<Option<DateTime<Utc>>, Error> {
        match self.objects.head(&Path::from(object)).await {
            Ok(meta) => Ok(Some(meta.last_modified)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("look at", object, error)),
        }
    }

    /// The store's clock: what it says of an object that was just written.
    pub(crate) async fn clock(&self) -> Result<DateTime<Utc>, Error> {
        let object = format!("clock/{}", uuid::Uuid::new_v4().simple());
        self.put(&object, Bytes::from_static(b"0\n")).await?;
        let at = self.written_at(&object).await?;
        self.delete(&object).await?;
        at.ok_or_else(|| Error::Damaged {
            object,
            message: "the store lost what was just written to it".to_owned(),
        })
    }

    pub(crate) async fn delete(&self, object: &str) -> Result<(), Error> {
        failpoint::before(Step::Delete, object);
        let deleted = self.objects.delete(&Path::from(object)).await;
        failpoint::after(Step::Delete, object);
        match deleted {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("delete", object, error)),
        }
    }

    /// The folder, if that is what the store is.
    pub(crate) fn root(&self) -> Option<&FilePath> {
        self.root.as_deref()
    }

    /// Removes a file that is no object, from a store that is a folder.
    pub(crate) async fn remove_file(&self, path: &FilePath) -> Result<(), Error> {
        match tokio::fs::remove_file(path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let source = object_store::Error::Generic { store: "folder", source: Box::new(error) };
                Err(self.failed("delete", &path.display().to_string(), source))
            }
            _ => Ok(()),
        }
    }

    /// How many deletions are given to [`Store::delete_all`] at a time.
    pub(crate) fn deletions_at_once(&self) -> usize {
        if self.bulk_delete { 1000 } else { DELETIONS }
    }

    /// Deletes these objects, in one request where the store is known to be able to.
    pub(crate) async fn delete_all(&self, objects: &[String]) -> Result<(), Error> {
        if !self.bulk_delete {
            let deletions = stream::iter(objects).map(|object| self.delete(object));
            return deletions.buffer_unordered(DELETIONS).try_collect::<()>().await;
        }
        let first = objects.first().map(String::as_str).unwrap_or_default();
        failpoint::before(Step::Delete, first);
        let paths: Vec<_> = objects.iter().map(|object| Ok(Path::from(object.as_str()))).collect();
        let mut deleted = self.objects.delete_stream(stream::iter(paths).boxed());
        while let Some(result) = deleted.next().await {
            match result {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.failed("delete objects such as", first, error)),
            }
        }
        failpoint::after(Step::Delete, first);
        Ok(())
    }

    /// Calls `visit` for every object below a prefix, in no certain order; nothing is gathered.
    pub(crate) async fn visit(&self, prefix: &str, mut visit: impl FnMut(ObjectMeta)) -> Result<(), Error> {
        let path = Path::from(prefix);
        let mut listed = self.objects.list(Some(&path));
        let mut repetition = Repetition::default();
        while let Some(meta) = listed.try_next().await.map_err(|e| self.failed("list", prefix, e))? {
            if repetition.is(&meta.location) {
                let source = format!(
                    "{} was listed twice: the server repeats pages, as one that ignores continuation tokens does",
                    meta.location
                );
                let source = object_store::Error::Generic { store: "listing", source: source.into() };
                return Err(self.failed("list", prefix, source));
            }
            visit(meta);
        }
        Ok(())
    }

    /// Every object below a prefix, in no certain order.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, Error> {
        let mut objects = Vec::new();
        self.visit(prefix, |meta| objects.push(meta)).await?;
        Ok(objects)
    }
}

/// Finds a listing that goes round in circles, by Brent's method: one name is remembered, and replaced by a later one at
/// each power of two. No listing that ends names an object twice.
#[derive(Debug, Default)]
struct Repetition {
    seen: u64,
    replace_at: u64,
    remembered: Option<Path>,
}

impl Repetition {
    fn is(&mut self, name: &Path) -> bool {
        if self.remembered.as_ref() == Some(name) {
            return true;
        }
        if self.seen >= self.replace_at {
            self.remembered = Some(name.clone());
            self.replace_at = (self.seen + 1).saturating_mul(2);
        }
        self.seen += 1;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_that_goes_round_is_found_wherever_the_circle_begins() {
        let name = |n: u64| Path::from(format!("chunks/{n}"));
        for (before, round) in [(0, 1), (0, 1000), (5, 3), (1000, 1), (2000, 777)] {
            let endless = (0..before).chain((before..before + round).cycle());
            let mut repetition = Repetition::default();
            let found = endless.take(20_000).position(|n| repetition.is(&name(n)));
            assert!(found.is_some_and(|at| at as u64 >= before + round), "{before} {round}: {found:?}");
        }
        let mut repetition = Repetition::default();
        assert!(!(0..100_000).any(|n| repetition.is(&name(n))));
    }

    /// Many hosts at once want the same name.
    async fn race(store: Store, conditional: bool) -> (usize, Bytes) {
        let bytes = |host: u8| Bytes::from(vec![host; 10_000]);
        let hosts = (0..16).map(|host| {
            let store = store.clone();
            tokio::spawn(
                async move { store.put_new("snapshots/x.json", bytes(host), conditional).await.unwrap() },
            )
        });
        let won =
            futures::future::join_all(hosts).await.into_iter().filter(|won| *won.as_ref().unwrap()).count();
        let there = store.get("snapshots/x.json").await.unwrap().unwrap();
        assert!(there.len() == 10_000 && there.iter().all(|byte| *byte == there[0]), "torn");
        // Who is asked again about what it has written already is told that it is its own; nobody else is.
        assert!(store.put_new("snapshots/x.json", there.clone(), conditional).await.unwrap());
        assert!(!store.put_new("snapshots/x.json", bytes(99), conditional).await.unwrap());
        (won, there)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn one_of_many_gets_a_name() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::folder(folder.path()).unwrap();
            assert_eq!(race(store, true).await.0, 1);
            let store = Store::open("memory:", &StoreEnv::default()).unwrap();
            assert_eq!(race(store, true).await.0, 1);
            // Without the condition it is a look and then a write, and several may believe that it is theirs.
            let store = Store::open("memory:", &StoreEnv::default()).unwrap();
            assert!(race(store, false).await.0 >= 1);
        }
    }
}
