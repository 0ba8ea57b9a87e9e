//! The store below a repository: a folder, S3-compatible storage, or memory. Every call names its object in its error.

use std::collections::HashMap;
use std::fmt;
use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _, PutPayload};

use crate::Error;

/// No manifest, mark or other document is larger: what a hostile store can make us allocate.
const LARGEST_DOCUMENT: u64 = 256 << 20;

/// The environment that stores take their credentials from; an argument, so that tests bring their own.
#[derive(Clone, Default)]
pub struct StoreEnv {
    variables: HashMap<String, String>,
}

impl StoreEnv {
    /// The variables that S3 clients know: `AWS_*`.
    pub fn from_process() -> StoreEnv {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("AWS_"))
            .collect();
        StoreEnv { variables }
    }

    /// These variables and no others.
    pub fn of(pairs: &[(&str, &str)]) -> StoreEnv {
        StoreEnv { variables: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect() }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
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
    /// Opens the store that `url` names: a folder (a path, or `file:///…`), `s3://bucket/prefix` with the options
    /// `endpoint`, `region` and `virtual-hosted` in its query, or `memory:`.
    ///
    /// Credentials are never part of the URL; they come from `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.
    pub fn open(url: &str, env: &StoreEnv) -> Result<Store, Error> {
        if url == "memory:" {
            return Ok(Store { objects: Arc::new(InMemory::new()), name: url.to_owned() });
        }
        if let Some(rest) = url.strip_prefix("s3://") {
            return s3(url, rest, env);
        }
        let folder = url.strip_prefix("file://").unwrap_or(url);
        if url.contains("://") && !url.starts_with("file://") {
            let scheme = url.split("://").next().unwrap_or_default();
            return Err(Error::Url {
                url: format!("{scheme}://…"),
                message: "a folder and s3:// are known".to_owned(),
            });
        }
        Store::folder(FilePath::new(folder))
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
        Ok(Store { objects: Arc::new(PrefixStore::new(files, prefix)), name })
    }

    /// Any store of the `object_store` crate.
    pub fn custom(objects: Arc<dyn ObjectStore>, name: impl Into<String>) -> Store {
        Store { objects, name: name.into() }
    }

    fn failed(&self, action: &'static str, object: &str, source: object_store::Error) -> Error {
        Error::Store { store: self.name.clone(), action, object: object.to_owned(), source: Box::new(source) }
    }

    pub(crate) async fn put(&self, object: &str, bytes: Bytes) -> Result<(), Error> {
        self.objects
            .put(&Path::from(object), PutPayload::from_bytes(bytes))
            .await
            .map_err(|e| self.failed("write", object, e))?;
        Ok(())
    }

    /// The bytes of a document, or nothing if there is none.
    pub(crate) async fn get(&self, object: &str) -> Result<Option<Bytes>, Error> {
        self.get_at_most(object, LARGEST_DOCUMENT).await
    }

    /// The object's bytes, or nothing if there is none. One that is larger than `limit` is not fetched, and damaged.
    pub(crate) async fn get_at_most(&self, object: &str, limit: u64) -> Result<Option<Bytes>, Error> {
        let got = async {
            let found = self.objects.get(&Path::from(object)).await?;
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
        match self.objects.delete(&Path::from(object)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("delete", object, error)),
        }
    }

    /// Calls `visit` for every object below a prefix, in no certain order; nothing is gathered.
    pub(crate) async fn visit(&self, prefix: &str, mut visit: impl FnMut(ObjectMeta)) -> Result<(), Error> {
        let path = Path::from(prefix);
        let mut listed = self.objects.list(Some(&path));
        while let Some(meta) = listed.try_next().await.map_err(|e| self.failed("list", prefix, e))? {
            visit(meta);
        }
        Ok(())
    }

    /// Every object below a prefix, in no certain order.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, Error> {
        self.objects
            .list(Some(&Path::from(prefix)))
            .try_collect()
            .await
            .map_err(|e| self.failed("list", prefix, e))
    }
}

fn s3(url: &str, rest: &str, env: &StoreEnv) -> Result<Store, Error> {
    let parsed = url::Url::parse(url);
    let wrong = |message: String| Error::Url {
        url: format!("s3://{}", rest.split('?').next().unwrap_or_default()),
        message,
    };
    let parsed = parsed.map_err(|e| wrong(e.to_string()))?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(Error::Url {
            url: "s3://…".to_owned(),
            message: "credentials do not belong into a URL: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                .to_owned(),
        });
    }
    let bucket = parsed
        .host_str()
        .filter(|host| !host.is_empty())
        .ok_or_else(|| wrong("it names no bucket".into()))?;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_virtual_hosted_style_request(false)
        // One request an object: deleting many in one is what S3-compatible stores most often lack.
        .with_disable_bulk_delete(true);
    let mut region =
        env.get("AWS_REGION").or(env.get("AWS_DEFAULT_REGION")).unwrap_or("us-east-1").to_owned();
    let mut endpoint = env.get("AWS_ENDPOINT_URL").map(str::to_owned);
    for (key, value) in parsed.query_pairs() {
        match key.as_ref() {
            "region" => region = value.into_owned(),
            "endpoint" => endpoint = Some(value.into_owned()),
            "virtual-hosted" => builder = builder.with_virtual_hosted_style_request(value == "true"),
            other => {
                return Err(wrong(format!(
                    "`{other}` is no option; endpoint, region and virtual-hosted are"
                )));
            }
        }
    }
    builder = builder.with_region(region);
    if let Some(endpoint) = endpoint {
        builder = builder.with_allow_http(endpoint.starts_with("http://")).with_endpoint(endpoint);
    }
    let (Some(key), Some(secret)) = (env.get("AWS_ACCESS_KEY_ID"), env.get("AWS_SECRET_ACCESS_KEY")) else {
        return Err(wrong("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set".into()));
    };
    builder = builder.with_access_key_id(key).with_secret_access_key(secret);
    if let Some(token) = env.get("AWS_SESSION_TOKEN") {
        builder = builder.with_token(token);
    }
    // The HTTP client takes whichever TLS provider the process has installed; a second installation is no fault.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let objects = builder.build().map_err(|e| wrong(e.to_string()))?;
    let name = format!("s3://{bucket}{}", parsed.path());
    let objects: Arc<dyn ObjectStore> = match parsed.path().trim_matches('/') {
        "" => Arc::new(objects),
        prefix => Arc::new(PrefixStore::new(objects, prefix)),
    };
    Ok(Store { objects, name })
}
