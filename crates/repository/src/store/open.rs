//! Opens the store of a URL or a path.

use std::path::Path as FilePath;
use std::sync::Arc;

use object_store::memory::InMemory;

use super::env::{HOME, StoreEnv};
use super::files::Files;
use super::folder::Folder;
use super::objects::Store;
use crate::Error;

impl Store {
    /// Opens a store: a folder (a path, or `file:///…`), `memory:`, or a cloud bucket.
    ///
    /// `s3://bucket/prefix` has these query options: `endpoint`; `region`; `virtual-hosted=true` for servers that
    /// expect the bucket in the host name; `retry-timeout` for how long a failing request is retried;
    /// `bulk-delete=true` to delete many objects in one request, which not every compatible store supports;
    /// `credentials=instance` to use the machine's own role. `gs://bucket/prefix` and `az://container/prefix` require
    /// the features `gcs` and `azure`.
    ///
    /// Credentials are never part of the URL; they come from the variables of each cloud's own clients, and for S3
    /// also from AWS's files.
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
            "gs" | "az" => wrong("this build does not support this cloud (the features `gcs` and `azure`)"),
            _ => wrong("a folder, s3://, gs:// and az:// are known"),
        }
    }

    /// A folder; it is created with the first object.
    pub fn folder(folder: &FilePath) -> Result<Store, Error> {
        let name = folder.display().to_string();
        let wrong = |message: String| Error::Url { url: name.clone(), message };
        let absolute = std::path::absolute(folder).map_err(|e| wrong(e.to_string()))?;
        // Each object is synced to disk before its name appears, and its folder afterwards: the order of writes then
        // survives a power failure, which makes the manifest the commit.
        let folder = Arc::new(Folder::new(absolute));
        let store = Store::custom(Arc::new(Files(Arc::clone(&folder))), name);
        Ok(store.in_folder(folder))
    }
}

/// The folder for a path as typed by a user, possibly where no shell expands it.
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
