//! The store below a repository: a folder, a cloud's objects, or memory. Every call names its object in its error.

use std::collections::HashMap;
use std::fmt;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload};

use crate::Error;
use crate::Rate;
use crate::store::failpoint::{self, Step};
use crate::store::files::Files;
use crate::store::folder::Folder;
use crate::store::http::AtMost;
use crate::store::upload_limit::UploadLimit;
use crate::tasks::blocking;

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
    /// The same objects, reached by requests that carry a checksum of what they write. Object locks ask for one.
    checked: Option<Arc<dyn ObjectStore>>,
    /// The store asked for checksums.
    asks_checksums: Arc<AtomicBool>,
    /// The folder that the objects are files in.
    folder: Option<Arc<Folder>>,
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
        let Some((scheme, rest)) = url.split_once("://") else { return Store::folder(&path_of(url, env)?) };
        let wrong =
            |message: &str| Err(Error::Url { url: format!("{scheme}://…"), message: message.to_owned() });
        match scheme {
            "file" => match rest.strip_prefix("localhost").unwrap_or(rest) {
                path if path.starts_with('/') => Store::folder(FilePath::new(path)),
                _ => Err(Error::Url {
                    url: url.to_owned(),
                    message: format!(
                        "`file://` is followed by an absolute path, such as `file:///srv/backup`; a relative folder is given \
                         without it: `{rest}`"
                    ),
                }),
            },
            "s3" => crate::store::cloud::s3(url, env),
            #[cfg(feature = "gcs")]
            "gs" => crate::store::cloud::gcs(url, env),
            #[cfg(feature = "azure")]
            "az" => crate::store::cloud::azure(url, env),
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

    /// Uploads no faster than this on average, over everything that writes through this store and its clones.
    pub(crate) fn limit_uploads(&self, rate: Rate) {
        self.uploads.set(rate);
    }

    /// The same store with another way to its objects, for one that wants a checksum with each that is written.
    pub(crate) fn or_checked(self, checked: Arc<dyn ObjectStore>) -> Store {
        Store { checked: Some(checked), ..self }
    }

    /// True when what is written carries a checksum, since the store asked for one.
    pub(crate) fn sends_checksums(&self) -> bool {
        self.checked.is_some() && self.asks_checksums.load(Ordering::Relaxed)
    }

    /// Sends checksums from the first write on, where there is such a way.
    pub(crate) fn send_checksums(&self) {
        self.asks_checksums.store(true, Ordering::Relaxed);
    }

    /// Writes an object. A store that asks for a checksum gets one, then and from then on; a document for which a folder
    /// has no room gets that of the reserve.
    async fn put_as(&self, object: &str, bytes: Bytes, mode: PutMode) -> object_store::Result<()> {
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
        if self.may_use_reserve(object, &written).await {
            written = put(&self.objects).await;
        }
        written
    }

    /// A folder; it need not exist before the first object is written.
    pub fn folder(folder: &FilePath) -> Result<Store, Error> {
        let name = folder.display().to_string();
        let wrong = |message: String| Error::Url { url: name.clone(), message };
        let absolute = std::path::absolute(folder).map_err(|e| wrong(e.to_string()))?;
        // Each object is synced to disk before its name appears, and its folder after: the order of writes is then
        // the order that survives a power cut, which is what makes the manifest the commit.
        let folder = Arc::new(Folder::new(absolute));
        let store = Store::custom(Arc::new(Files(Arc::clone(&folder))), name);
        Ok(Store { folder: Some(folder), ..store })
    }

    /// Any store of the `object_store` crate.
    pub fn custom(objects: Arc<dyn ObjectStore>, name: impl Into<String>) -> Store {
        Store::of(objects, name.into(), false, Arc::default())
    }

    fn failed(&self, action: &'static str, object: &str, source: object_store::Error) -> Error {
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

    /// Gives the reserve back where a document found no room, so that it can be tried once more. Data has no part in it:
    /// it would take it at once, and what frees the disk would find none.
    async fn may_use_reserve(&self, object: &str, written: &object_store::Result<()>) -> bool {
        let (Some(folder), Err(error)) = (&self.folder, written) else { return false };
        if !is_no_room(error)
            || ["chunks/", "clock/", "quarantine/"].iter().any(|data| object.starts_with(data))
        {
            return false;
        }
        let folder = Arc::clone(folder);
        blocking(move || folder.release_reserve()).await.unwrap_or(false)
    }

    /// Sees to it that there is a reserve, where the store is a folder and there is room.
    pub(crate) async fn keep_reserve(&self) {
        if let Some(folder) = self.folder.clone() {
            let _ = blocking(move || folder.keep_reserve()).await;
        }
    }

    /// Writes an object that nobody else may have written: false if there is another one, which is left as it is.
    ///
    /// Only a store that honours conditional writes makes that one step; elsewhere it is a look and then a write.
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
        match self.put_as(object, bytes, PutMode::Create).await {
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

    /// The store's clock: what it says of an object that was just written. A folder without room for one says it of
    /// itself.
    pub(crate) async fn clock(&self) -> Result<DateTime<Utc>, Error> {
        let object = format!("clock/{}", uuid::Uuid::new_v4().simple());
        failpoint::before(Step::Put, &object);
        match self.put_as(&object, Bytes::from_static(b"0\n"), PutMode::Overwrite).await {
            Err(error) if is_no_room(&error) => match self.folder.clone() {
                Some(folder) => {
                    let touched = blocking(move || folder.touch("")).await?;
                    return touched.map_err(|e| self.failed("look at", "", crate::store::folder::generic(e)));
                }
                None => return Err(self.failed("write", &object, error)),
            },
            other => drop(other.map_err(|e| self.failed("write", &object, e))?),
        }
        failpoint::after(Step::Put, &object);
        let at = self.written_at(&object).await?;
        // One that a lock holds stays; it says nothing.
        match self.delete(&object).await {
            Err(error) if error.is_refused_by_store() => {}
            other => other?,
        }
        at.ok_or_else(|| Error::Damaged {
            object,
            message: "the store lost what was just written to it".to_owned(),
        })
    }

    /// Gives an object another name, as if it were written now, without taking any room. False if the store cannot.
    pub(crate) async fn retire(&self, from: &str, to: &str) -> Result<bool, Error> {
        let Some(folder) = self.folder.clone() else { return Ok(false) };
        failpoint::before(Step::Delete, from);
        let (old, new) = (from.to_owned(), to.to_owned());
        let renamed = blocking(move || folder.retire(&old, &new)).await?;
        failpoint::after(Step::Delete, from);
        renamed.map_err(|e| self.failed("rename", from, crate::store::folder::generic(e))).map(|()| true)
    }

    /// Gives an object a further name, without taking any room. False if the store cannot.
    pub(crate) async fn link(&self, from: &str, to: &str) -> Result<bool, Error> {
        let Some(folder) = self.folder.clone() else { return Ok(false) };
        failpoint::before(Step::Put, to);
        let (old, new) = (from.to_owned(), to.to_owned());
        let linked = blocking(move || folder.link(&old, &new)).await?;
        failpoint::after(Step::Put, to);
        match linked {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(true),
            other => {
                other.map_err(|e| self.failed("link", from, crate::store::folder::generic(e))).map(|()| true)
            }
        }
    }

    pub(crate) async fn delete(&self, object: &str) -> Result<(), Error> {
        failpoint::before(Step::Delete, object);
        let deleted = self.objects.delete(&Path::from(object)).await;
        failpoint::after(Step::Delete, object);
        match deleted {
            Ok(()) => Ok(()),
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(self.failed("delete", object, error)),
        }
    }

    /// The folder, if that is what the store is.
    pub(crate) fn root(&self) -> Option<&FilePath> {
        self.folder.as_deref().map(Folder::root)
    }

    /// Opens a folder, which is made if it is not there, to its group: files and folders that are written below it from
    /// now on may be read and written by it. An error if the store is no folder.
    pub fn share_with_group(&self) -> Result<(), Error> {
        let wrong = |message: String| Error::Url { url: self.name.clone(), message };
        let folder =
            self.folder.as_ref().ok_or_else(|| wrong("it is no folder, and has no group".to_owned()))?;
        folder.share().map_err(|e| wrong(format!("it cannot be opened to its group: {e}")))
    }

    /// True when the store is a folder that is open to its group.
    pub fn is_shared(&self) -> bool {
        self.folder.as_ref().is_some_and(|folder| folder.is_shared())
    }

    /// True when the store is a folder on a file system that cannot sync folders, as far as that was met.
    pub fn is_unsynced(&self) -> bool {
        self.folder.as_ref().is_some_and(|folder| folder.is_unsynced())
    }

    /// Files that are none of ours, of a store that is a folder.
    pub(crate) async fn strays(&self) -> Result<Vec<String>, Error> {
        match self.folder.clone() {
            Some(folder) => blocking(move || folder.strays()).await,
            None => Ok(Vec::new()),
        }
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
        match self.delete_allowed(objects).await?.into_iter().next() {
            Some((_, refused)) => Err(refused),
            None => Ok(()),
        }
    }

    /// Deletes those of these objects that the store lets go, and gives those that it holds, with its words: a lock on
    /// one is no reason to keep the others.
    pub(crate) async fn delete_allowed(&self, objects: &[String]) -> Result<Vec<(String, Error)>, Error> {
        let mut held = Vec::new();
        if !self.bulk_delete {
            let deletions =
                stream::iter(objects).map(|object| async move { (object, self.delete(object).await) });
            let mut deletions = std::pin::pin!(deletions.buffer_unordered(DELETIONS));
            while let Some((object, deleted)) = deletions.next().await {
                match deleted {
                    Err(error) if error.is_refused_by_store() => held.push((object.clone(), error)),
                    other => other?,
                }
            }
            return Ok(held);
        }
        let first = objects.first().map(String::as_str).unwrap_or_default();
        failpoint::before(Step::Delete, first);
        let paths: Vec<_> = objects.iter().map(|object| Ok(Path::from(object.as_str()))).collect();
        // Answers come in the order of the names.
        let mut deleted = self.objects.delete_stream(stream::iter(paths).boxed());
        let mut names = objects.iter();
        while let Some(result) = deleted.next().await {
            let object = names.next().map_or(first, String::as_str);
            match result {
                Ok(_) => {}
                Err(error) if is_absent(&error) => {}
                Err(error) => match self.failed("delete", object, error) {
                    refused if refused.is_refused_by_store() => held.push((object.to_owned(), refused)),
                    error => return Err(error),
                },
            }
        }
        failpoint::after(Step::Delete, first);
        Ok(held)
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
            if !is_stray(&meta) {
                visit(meta);
            }
        }
        Ok(())
    }

    /// Every object below a prefix, in no certain order.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, Error> {
        let mut objects = Vec::new();
        self.visit(prefix, |meta| objects.push(meta)).await?;
        Ok(objects)
    }

    /// True when there is any object below a prefix.
    pub(crate) async fn has_any(&self, prefix: &str) -> Result<bool, Error> {
        let path = Path::from(prefix);
        let mut listed = self.objects.list(Some(&path));
        while let Some(meta) = listed.try_next().await.map_err(|e| self.failed("list", prefix, e))? {
            if !is_stray(&meta) {
                return Ok(true);
            }
        }
        Ok(false)
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

/// What other programs put beside objects, such as `._name` and `.DS_Store`: no object of ours is called so.
fn is_stray(meta: &ObjectMeta) -> bool {
    meta.location.filename().is_some_and(|name| name.starts_with('.'))
}

/// The folder that a user means, who may have written it where no shell expands it.
fn path_of(text: &str, env: &StoreEnv) -> Result<std::path::PathBuf, Error> {
    let wrong = |message: String| Error::Url { url: text.to_owned(), message };
    if let Some((scheme, rest)) = text.split_once(':')
        && ["file", "s3", "gs", "az"].contains(&scheme)
    {
        let rest = rest.trim_start_matches('/');
        return Err(wrong(format!(
            "`{scheme}:` is followed by `//`: `{scheme}://{}{rest}`",
            if scheme == "file" { "/" } else { "" }
        )));
    }
    let Some(rest) = text.strip_prefix('~') else { return Ok(text.into()) };
    if !rest.is_empty() && !rest.starts_with('/') {
        return Err(wrong("the home of another user is not looked up: give the whole path, or begin with `./` if the folder is called so".to_owned()));
    }
    let home = env.get(HOME).ok_or_else(|| wrong("HOME is not set: give the whole path".to_owned()))?;
    Ok(FilePath::new(home).join(rest.trim_start_matches('/')))
}

/// The object is not there, and its bucket is.
fn is_absent(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotFound { .. }) && !is_no_bucket(error)
}

/// The bucket or container itself is not there, by the word that the store gives for it.
fn is_no_bucket(error: &object_store::Error) -> bool {
    let said = error.to_string();
    ["NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist"]
        .iter()
        .any(|word| said.contains(word))
}

/// The store takes nothing without a checksum: a lock or a retention rule of its bucket asks for one.
fn asks_checksum(error: &object_store::Error) -> bool {
    let said = error.to_string().to_ascii_lowercase();
    said.contains("content-md5") || said.contains("x-amz-checksum") || said.contains("missingcontentmd5")
}

/// There is no room for what was to be written.
pub(crate) fn is_no_room(error: &object_store::Error) -> bool {
    use std::io::ErrorKind;
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        let kind = current.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if matches!(kind, Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded)) {
            return true;
        }
        cause = current.source();
    }
    false
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
