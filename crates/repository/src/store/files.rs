//! Implements `ObjectStore` for a folder.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::store::folder::{DEPTH, Folder, describe, generic};

fn failed(location: &Path, source: io::Error) -> Error {
    let path = location.to_string();
    match source.kind() {
        ErrorKind::NotFound => Error::NotFound { path, source: source.into() },
        ErrorKind::AlreadyExists => Error::AlreadyExists { path, source: source.into() },
        _ => generic(source),
    }
}

fn unsupported(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.to_owned(), implementer: "folder".to_owned() }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|source| Error::JoinError { source })?
}

/// The files of a folder as objects.
#[derive(Debug, Clone)]
pub(crate) struct Files(pub(crate) Arc<Folder>);

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "folder {}", self.0.root().display())
    }
}

#[async_trait::async_trait]
impl ObjectStore for Files {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if matches!(options.mode, PutMode::Update(_)) {
            return Err(unsupported("update"));
        }
        let (folder, location) = (Arc::clone(&self.0), location.clone());
        let create = matches!(options.mode, PutMode::Create);
        blocking(move || {
            folder.write(location.as_ref(), &payload, create).map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => failed(&location, error),
                _ => generic(error),
            })?;
            Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
        })
        .await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(unsupported("multipart"))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (folder, location) = (Arc::clone(&self.0), location.clone());
        blocking(move || {
            let path = folder.path(location.as_ref());
            let file = File::open(&path).map_err(|error| failed(&location, error))?;
            let found = file.metadata().map_err(generic)?;
            if found.is_dir() {
                return Err(failed(&location, ErrorKind::NotFound.into()));
            }
            let meta = describe(location, &found)?;
            options.check_preconditions(&meta)?;
            let range = match options.range {
                Some(range) => range.as_range(meta.size).map_err(|error| generic(io::Error::other(error)))?,
                None => 0..meta.size,
            };
            Ok(GetResult {
                payload: GetResultPayload::File(file, path),
                meta,
                range,
                attributes: Default::default(),
                extensions: Default::default(),
            })
        })
        .await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let folder = Arc::clone(&self.0);
        locations
            .then(move |location| {
                let folder = Arc::clone(&folder);
                blocking(move || {
                    let location = location?;
                    let path = folder.path(location.as_ref());
                    std::fs::remove_file(path).map_err(|error| failed(&location, error))?;
                    Ok(location)
                })
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let folder = Arc::clone(&self.0);
        let first = prefix.map(ToString::to_string).unwrap_or_default();
        // One folder at a time: the next one is read while the previous one is processed.
        stream::try_unfold(vec![(first, 0)], move |mut left| {
            let folder = Arc::clone(&folder);
            async move {
                let Some((next, depth)) = left.pop() else { return Ok::<_, Error>(None) };
                let (files, folders) = blocking(move || folder.read(&next)).await?;
                if depth < DEPTH {
                    left.extend(folders.into_iter().map(|folder| (folder, depth + 1)));
                }
                Ok(Some((stream::iter(files.into_iter().map(Ok)), left)))
            }
        })
        .try_flatten()
        .boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(unsupported("list with a delimiter"))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(unsupported("copy"))
    }
}
