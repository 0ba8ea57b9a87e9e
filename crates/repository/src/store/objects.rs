//! The store of a repository: a folder, a cloud bucket, or memory. Every error names the object.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload};

use super::response::{asks_checksum, is_absent, is_no_bucket};
use crate::Error;
use crate::Rate;
use crate::error::is_no_room;
use crate::store::failpoint::{self, Step};
use crate::store::folder::Folder;
use crate::store::http::SizeLimit;
use crate::store::upload_limit::UploadLimit;
use crate::tasks::blocking;

/// Size limit for manifests, marks and other documents: bounds the memory that a malicious store can make us
/// allocate.
const LARGEST_DOCUMENT: u64 = 256 << 20;

/// A store of objects by name.
#[derive(Clone)]
pub struct Store {
    pub(super) objects: Arc<dyn ObjectStore>,
    pub(super) name: String,
    /// Many objects are deleted in one request.
    pub(super) bulk_delete: bool,
    /// The same objects, written with checksums, which object locks require.
    checked: Option<Arc<dyn ObjectStore>>,
    /// The store requires checksums.
    asks_checksums: Arc<AtomicBool>,
    /// The folder, if the objects are its files.
    pub(super) folder: Option<Arc<Folder>>,
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
    /// The same store, whose objects are the files of this folder.
    pub(super) fn in_folder(self, folder: Arc<Folder>) -> Store {
        Store { folder: Some(folder), ..self }
    }

    pub(crate) fn of(
        objects: Arc<dyn ObjectStore>,
        name: String,
        bulk_delete: bool,
        uploads: Arc<UploadLimit>,
    ) -> Store {
        Store {
            objects,
            name,
            bulk_delete,
            checked: None,
            asks_checksums: Arc::default(),
            folder: None,
            uploads,
        }
    }

    /// Limits the average upload rate of this store and its clones.
    pub(crate) fn limit_uploads(&self, rate: Rate) {
        self.uploads.set(rate);
    }

    /// The same store with an alternative that sends checksums, for stores that require them.
    pub(crate) fn or_checked(self, checked: Arc<dyn ObjectStore>) -> Store {
        Store { checked: Some(checked), ..self }
    }

    /// Whether writes carry checksums because the store requires them.
    pub(crate) fn sends_checksums(&self) -> bool {
        self.checked.is_some() && self.asks_checksums.load(Ordering::Relaxed)
    }

    /// Sends checksums from the first write on, if there is such an alternative.
    pub(crate) fn send_checksums(&self) {
        self.asks_checksums.store(true, Ordering::Relaxed);
    }

    /// Writes an object. If the store requires a checksum, it is sent from then on; if a folder has no space for a
    /// document, the reserve is used.
    pub(super) async fn put_as(&self, object: &str, bytes: Bytes, mode: PutMode) -> object_store::Result<()> {
        let written = self.put_once(object, bytes.clone(), mode.clone()).await;
        match self.release_reserve_for(object, &written).await {
            true => self.put_once(object, bytes, mode).await,
            false => written,
        }
    }

    /// The same, with the available space.
    async fn put_once(&self, object: &str, bytes: Bytes, mode: PutMode) -> object_store::Result<()> {
        let path = Path::from(object);
        let put = async |objects: &Arc<dyn ObjectStore>| {
            let payload = PutPayload::from_bytes(bytes.clone());
            objects.put_opts(&path, payload, mode.clone().into()).await.map(drop)
        };
        let checked = self.checked.as_ref();
        let mut written = match checked.filter(|_| self.sends_checksums()) {
            Some(checked) => return put(checked).await,
            None => put(&self.objects).await,
        };
        if let (Err(error), Some(checked)) = (&written, checked)
            && asks_checksum(error)
        {
            self.send_checksums();
            written = put(checked).await;
        }
        written
    }

    /// Any store of the `object_store` crate.
    pub fn custom(objects: Arc<dyn ObjectStore>, name: impl Into<String>) -> Store {
        Store::of(objects, name.into(), false, Arc::default())
    }

    pub(super) fn failed(&self, action: &'static str, object: &str, source: object_store::Error) -> Error {
        if is_no_bucket(&source) {
            return Error::NoBucket { store: self.name.clone(), source: Box::new(source) };
        }
        Error::Store { store: self.name.clone(), action, object: object.to_owned(), source: Box::new(source) }
    }

    pub(crate) async fn put(&self, object: &str, bytes: Bytes) -> Result<(), Error> {
        self.uploads.take(bytes.len() as u64).await;
        failpoint::before(Step::Put, object);
        let written = self.put_as(object, bytes, PutMode::Overwrite).await;
        written.map_err(|e| self.failed("write", object, e))?;
        failpoint::after(Step::Put, object);
        Ok(())
    }

    /// Writes a document without using the reserve, which would go to the data that is being written.
    pub(crate) async fn put_outside_reserve(&self, object: &str, bytes: Bytes) -> Result<(), Error> {
        self.uploads.take(bytes.len() as u64).await;
        failpoint::before(Step::Put, object);
        let written = self.put_once(object, bytes, PutMode::Overwrite).await;
        written.map_err(|e| self.failed("write", object, e))?;
        failpoint::after(Step::Put, object);
        Ok(())
    }

    /// Releases the reserve if a document found no space, so that it can be retried. Data does not get it: it would
    /// use it up, and operations that free space would find none.
    async fn release_reserve_for(&self, object: &str, written: &object_store::Result<()>) -> bool {
        let (Some(folder), Err(error)) = (&self.folder, written) else { return false };
        if !is_no_room(error)
            || ["chunks/", "clock/", "quarantine/"].iter().any(|data| object.starts_with(data))
        {
            return false;
        }
        let folder = Arc::clone(folder);
        blocking(move || folder.release_reserve()).await.unwrap_or(false)
    }

    /// Creates the reserve, if the store is a folder and there is space.
    pub(crate) async fn keep_reserve(&self) {
        if let Some(folder) = self.folder.clone() {
            let _ = blocking(move || folder.keep_reserve()).await;
        }
    }

    /// Creates an object: false if another one exists, which is left unchanged.
    ///
    /// This is atomic only in a store that supports conditional writes; elsewhere it is a read and then a write.
    pub(crate) async fn put_new(&self, object: &str, bytes: Bytes, conditional: bool) -> Result<bool, Error> {
        let mut refused = None;
        if conditional {
            self.uploads.take(bytes.len() as u64).await;
            failpoint::before(Step::Put, object);
            match self.put_as(object, bytes.clone(), PutMode::Create).await {
                Ok(()) => {
                    failpoint::after(Step::Put, object);
                    return Ok(true);
                }
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                }
                Err(error) => refused = Some(error),
            }
        }
        // The response may have been lost, so that a retry met its own object. Or the repository was moved to a store
        // without conditional writes.
        match (self.get(object).await?, refused) {
            (Some(there), _) if there == bytes => Ok(true),
            (Some(_), Some(error)) => Err(self.failed("write", object, error)),
            (Some(_), None) => Ok(false),
            (None, _) => self.put(object, bytes).await.map(|()| true),
        }
    }

    /// Tries to create an object that exists: true if that is refused, as it should be.
    pub(crate) async fn create(&self, object: &str, bytes: Bytes) -> Result<bool, Error> {
        match self.put_as(object, bytes, PutMode::Create).await {
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(true)
            }
            // A store that does not support the header may reject the request, or overwrite the object silently.
            Ok(_) | Err(_) => Ok(false),
        }
    }

    /// The bytes of a document; `None` if it does not exist.
    pub(crate) async fn get(&self, object: &str) -> Result<Option<Bytes>, Error> {
        self.get_at_most(object, LARGEST_DOCUMENT).await
    }

    /// The bytes of an object; `None` if it does not exist. One larger than `limit` is not fetched, and is treated as
    /// damaged.
    pub(crate) async fn get_at_most(&self, object: &str, limit: u64) -> Result<Option<Bytes>, Error> {
        let got = async {
            let mut options = GetOptions::default();
            options.extensions.insert(SizeLimit(limit));
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
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.failed("read", object, error)),
        }
    }

    /// When the object was last written, by the store's own clock.
    pub(crate) async fn written_at(&self, object: &str) -> Result<Option<DateTime<Utc>>, Error> {
        match self.objects.head(&Path::from(object)).await {
            Ok(meta) => Ok(Some(meta.last_modified)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(self.failed("look at", object, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreEnv;

    /// Many hosts want the same name at once.
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
        // A repeated write of the same bytes succeeds; any other write is refused.
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
            // Without conditional writes it is a read and then a write, and several may believe that they won.
            let store = Store::open("memory:", &StoreEnv::default()).unwrap();
            assert!(race(store, false).await.0 >= 1);
        }
    }
}
