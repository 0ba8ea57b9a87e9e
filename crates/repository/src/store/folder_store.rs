//! Operations that only a store in a folder supports, and the store's clock, which must work on a full disk.

use std::path::Path as FilePath;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use object_store::PutMode;

use super::failpoint::{self, Step};
use super::folder::{Folder, generic};
use super::objects::Store;
use crate::Error;
use crate::error::is_no_room;
use crate::tasks::blocking;

impl Store {
    /// The store's clock: the time of an object that was just written, or, in a folder on a full disk, of the folder
    /// itself, which is touched.
    pub(crate) async fn clock(&self) -> Result<DateTime<Utc>, Error> {
        let object = format!("clock/{}", uuid::Uuid::new_v4().simple());
        failpoint::before(Step::Put, &object);
        match self.put_as(&object, Bytes::from_static(b"0\n"), PutMode::Overwrite).await {
            Err(error) if is_no_room(&error) => match self.folder.clone() {
                Some(folder) => {
                    let touched = blocking(move || folder.touch("")).await?;
                    return touched.map_err(|e| self.failed("look at", "", generic(e)));
                }
                None => return Err(self.failed("write", &object, error)),
            },
            other => drop(other.map_err(|e| self.failed("write", &object, e))?),
        }
        failpoint::after(Step::Put, &object);
        let at = self.written_at(&object).await?;
        // If an object lock keeps it, it stays; it contains nothing.
        match self.delete(&object).await {
            Err(error) if error.is_refused_by_store() => {}
            other => other?,
        }
        at.ok_or_else(|| Error::Damaged {
            object,
            message: "the store lost what was just written to it".to_owned(),
        })
    }

    /// Renames an object, with its time set to now, without needing space. False if the store cannot.
    pub(crate) async fn retire(&self, from: &str, to: &str) -> Result<bool, Error> {
        let Some(folder) = self.folder.clone() else { return Ok(false) };
        failpoint::before(Step::Delete, from);
        let (old, new) = (from.to_owned(), to.to_owned());
        let renamed = blocking(move || folder.retire(&old, &new)).await?;
        failpoint::after(Step::Delete, from);
        renamed.map_err(|e| self.failed("rename", from, generic(e))).map(|()| true)
    }

    /// Gives an object a second name, without needing space. False if the store cannot.
    pub(crate) async fn link(&self, from: &str, to: &str) -> Result<bool, Error> {
        let Some(folder) = self.folder.clone() else { return Ok(false) };
        failpoint::before(Step::Put, to);
        let (old, new) = (from.to_owned(), to.to_owned());
        let linked = blocking(move || folder.link(&old, &new)).await?;
        failpoint::after(Step::Put, to);
        match linked {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(true),
            other => other.map_err(|e| self.failed("link", from, generic(e))).map(|()| true),
        }
    }

    /// The folder, if the store is one.
    pub(crate) fn root(&self) -> Option<&FilePath> {
        self.folder.as_deref().map(Folder::root)
    }

    /// Opens a folder, which is created if necessary, to its group: new files and folders in it are readable and
    /// writable by the group. Fails if the store is not a folder.
    pub fn share_with_group(&self) -> Result<(), Error> {
        let wrong = |message: String| Error::Url { url: self.name.clone(), message };
        let folder =
            self.folder.as_ref().ok_or_else(|| wrong("it is not a folder, and has no group".to_owned()))?;
        folder.share().map_err(|e| wrong(format!("it cannot be opened to its group: {e}")))
    }

    /// Whether the store is a folder that is open to its group.
    pub fn is_shared(&self) -> bool {
        self.folder.as_ref().is_some_and(|folder| folder.is_shared())
    }

    /// Whether the store is a folder on a file system that cannot sync folders, as far as this was noticed.
    pub fn is_unsynced(&self) -> bool {
        self.folder.as_ref().is_some_and(|folder| folder.is_unsynced())
    }

    /// Foreign files in a store that is a folder.
    pub(crate) async fn strays(&self) -> Result<Vec<String>, Error> {
        match self.folder.clone() {
            Some(folder) => blocking(move || folder.strays()).await,
            None => Ok(Vec::new()),
        }
    }

    /// Removes a file that is not an object from a store that is a folder.
    pub(crate) async fn remove_file(&self, path: &FilePath) -> Result<(), Error> {
        match tokio::fs::remove_file(path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let source = object_store::Error::Generic { store: "folder", source: Box::new(error) };
                Err(self.failed("delete", &path.display().to_string(), source))
            }
            _ => Ok(()),
        }
    }
}
