//! A folder as a store: one file per object, synced before its name appears, and accessible only to its owner, or to
//! its group if the folder is shared.
//!
//! `files.rs` implements `ObjectStore` for it. `object_store` has such a store too. This one differs where a backup
//! requires it: modes do not depend on the umask, file systems that cannot sync a folder are tolerated, foreign names
//! do not end a listing, and a full disk can be freed, for which see [`Folder::release_reserve`], [`Folder::touch`]
//! and [`Folder::retire`].

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};
use object_store::path::Path;
use object_store::{Error, ObjectMeta, PutPayload, Result};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};

/// Maximum depth of a listing: objects are three levels deep, and a symbolic link to a parent must not loop forever.
pub(crate) const DEPTH: usize = 6;
/// A file that reserves space for what must be written before anything can be freed.
const RESERVE: &str = "reserve";
/// Its size: enough for a few thousand tombstones of small manifests, or a mark of 10,000 chunks.
const RESERVE_BYTES: usize = 1 << 20;

/// The folder with the files.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    /// The group may read and write too.
    shared: AtomicBool,
    /// A folder could not be synced: after a power failure its newest names may be missing.
    unsynced: AtomicBool,
}

pub(crate) fn generic(source: io::Error) -> Error {
    Error::Generic { store: "folder", source: Box::new(source) }
}

impl Folder {
    /// A folder, which need not exist. One that is group-writable and setgid (mode 2770) is shared.
    pub(crate) fn new(root: PathBuf) -> Folder {
        let shared =
            std::fs::metadata(&root).is_ok_and(|meta| meta.is_dir() && meta.mode() & 0o2070 == 0o2070);
        Folder { root, shared: AtomicBool::new(shared), unsynced: AtomicBool::new(false) }
    }

    pub(crate) fn root(&self) -> &FilePath {
        &self.root
    }

    /// Whether new files are accessible to the folder's group.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }

    /// Whether some folder could not be synced since this was opened.
    pub(crate) fn is_unsynced(&self) -> bool {
        self.unsynced.load(Ordering::Relaxed)
    }

    /// Creates the folder if it does not exist, and opens it to its group.
    pub(crate) fn share(&self) -> io::Result<()> {
        self.shared.store(true, Ordering::Relaxed);
        self.create_folders(&self.root)?;
        std::fs::set_permissions(&self.root, Permissions::from_mode(self.folder_mode()))?;
        let mode = std::fs::metadata(&self.root)?.mode();
        // The kernel silently drops the setgid bit for a group that the user is not in.
        if mode & 0o2070 == 0o2070 {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "{} has mode {:o} after it was set to {:o}: this user must be its owner and in its group",
            self.root.display(),
            mode & 0o7777,
            self.folder_mode()
        )))
    }

    fn folder_mode(&self) -> u32 {
        if self.is_shared() { 0o2770 } else { 0o700 }
    }

    fn file_mode(&self) -> u32 {
        if self.is_shared() { 0o660 } else { 0o600 }
    }

    pub(crate) fn path(&self, object: &str) -> PathBuf {
        self.root.join(object)
    }

    /// Restores mode bits that the umask removed. A file system without modes rejects that; its mount options decide
    /// then.
    fn open_up(path: &FilePath, is: u32, wanted: u32) -> io::Result<()> {
        if is & 0o7777 & wanted == wanted {
            return Ok(());
        }
        match std::fs::set_permissions(path, Permissions::from_mode(wanted)) {
            Err(error) if is_unsupported(&error) || error.kind() == ErrorKind::PermissionDenied => Ok(()),
            other => other,
        }
    }

    /// Creates a folder with its parents, each synced into the one above.
    fn create_folders(&self, folder: &FilePath) -> io::Result<()> {
        if folder.as_os_str().is_empty() || folder.is_dir() {
            return Ok(());
        }
        if let Some(above) = folder.parent() {
            self.create_folders(above)?;
        }
        let mode = self.folder_mode();
        match DirBuilder::new().mode(mode).create(folder) {
            // Another process was faster.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => return Ok(()),
            other => other?,
        }
        Folder::open_up(folder, std::fs::metadata(folder)?.mode(), mode)?;
        folder.parent().map_or(Ok(()), |above| self.sync(above))
    }

    /// Syncs a folder, so that its names survive a power failure.
    fn sync(&self, folder: &FilePath) -> io::Result<()> {
        match File::open(folder).and_then(|folder| folder.sync_all()) {
            // Such as CIFS.
            Err(error) if is_unsupported(&error) => {
                self.unsynced.store(true, Ordering::Relaxed);
                Ok(())
            }
            other => other,
        }
    }

    fn sync_above(&self, path: &FilePath) -> io::Result<()> {
        path.parent().map_or(Ok(()), |folder| self.sync(folder))
    }

    /// A new file next to its final name. Listings skip such names, and prune removes old ones.
    fn stage(&self, path: &FilePath) -> io::Result<(File, PathBuf)> {
        let mut number = 1_u64;
        let mut made = false;
        loop {
            let mut staged = path.as_os_str().to_owned();
            staged.push(format!("#{number}"));
            let staged = PathBuf::from(staged);
            let opened = OpenOptions::new().write(true).create_new(true).mode(self.file_mode()).open(&staged);
            match opened {
                Ok(file) => return Ok((file, staged)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
                Err(error) if error.kind() == ErrorKind::NotFound && !made => {
                    made = true;
                    if let Some(folder) = path.parent() {
                        self.create_folders(folder)?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn write(&self, object: &str, payload: &PutPayload, create: bool) -> io::Result<()> {
        let path = self.path(object);
        let (mut file, staged) = self.stage(&path)?;
        let written = (|| {
            payload.iter().try_for_each(|piece| file.write_all(piece))?;
            Folder::open_up(&staged, file.metadata()?.mode(), self.file_mode())?;
            file.sync_all()?;
            drop(file);
            if create {
                std::fs::hard_link(&staged, &path)?;
                std::fs::remove_file(&staged)?;
            } else {
                std::fs::rename(&staged, &path)?;
            }
            self.sync_above(&path)
        })();
        if written.is_err() {
            let _ = std::fs::remove_file(&staged);
        }
        written
    }

    /// Creates the reserve for [`Folder::release_reserve`], unless it exists. On a full disk there is none.
    pub(crate) fn keep_reserve(&self) {
        if self.path(RESERVE).exists() || !self.root.is_dir() {
            return;
        }
        // Not zeros: a compressing file system would reserve no space for them.
        let mut state = uuid::Uuid::new_v4().as_u128() as u64 | 1;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .take(RESERVE_BYTES / 8)
        .flatten()
        .collect();
        let _ = self.write(RESERVE, &PutPayload::from(bytes), false);
    }

    /// Releases the reserve; false if there was none.
    pub(crate) fn release_reserve(&self) -> bool {
        std::fs::remove_file(self.path(RESERVE)).is_ok()
    }

    /// Sets an object's modification time to now, by the file system's own clock, and returns it. Needs no space.
    pub(crate) fn touch(&self, object: &str) -> io::Result<DateTime<Utc>> {
        let path = self.path(object);
        let at = |nsec| Timespec { tv_sec: 0, tv_nsec: nsec };
        let times = Timestamps { last_access: at(UTIME_OMIT), last_modification: at(UTIME_NOW) };
        utimensat(CWD, &path, &times, AtFlags::empty())?;
        Ok(std::fs::metadata(&path)?.modified()?.into())
    }

    /// Renames an object, with its modification time set to now. Needs no space. Replaces an existing object.
    pub(crate) fn retire(&self, from: &str, to: &str) -> io::Result<()> {
        let (old, new) = (self.path(from), self.path(to));
        if let Some(folder) = new.parent() {
            self.create_folders(folder)?;
        }
        // First, because a tombstone with an older time would count as expired.
        self.touch(from)?;
        std::fs::rename(&old, &new)?;
        // Both are names of one file: then a rename does nothing.
        if old.exists() {
            std::fs::remove_file(&old)?;
        }
        self.sync_above(&new)?;
        self.sync_above(&old)
    }

    /// Gives an object a second name, unless that exists. Needs no space.
    pub(crate) fn link(&self, from: &str, to: &str) -> io::Result<()> {
        let new = self.path(to);
        std::fs::hard_link(self.path(from), &new)?;
        self.sync_above(&new)
    }

    /// The objects in a folder, and its subfolders.
    pub(crate) fn read(&self, folder: &str) -> Result<(Vec<ObjectMeta>, Vec<String>)> {
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        let entries = match std::fs::read_dir(self.path(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok((files, folders)),
            Err(error) => return Err(generic(error)),
        };
        for entry in entries {
            let entry = entry.map_err(generic)?;
            // Other names are not objects.
            let Ok(name) = entry.file_name().into_string() else { continue };
            if is_partial(&name) {
                continue;
            }
            let meta = match std::fs::metadata(entry.path()) {
                Ok(meta) => meta,
                // Removed in the meantime, or a dangling link.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(generic(error)),
            };
            let object = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            if meta.is_dir() {
                folders.push(object);
            } else if meta.is_file() {
                // A name that `Path` would encode differently does not belong to the repository either.
                let location = Path::from(object.as_str());
                if location.as_ref() == object {
                    files.push(describe(location, &meta)?);
                }
            }
        }
        Ok((files, folders))
    }

    /// Files whose names are not those of objects, written by other programs.
    pub(crate) fn strays(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![(self.root.clone(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                let named = entry.file_name().to_str().is_some_and(|name| !name.starts_with('.'));
                if !named {
                    let path = entry.path();
                    found.push(path.strip_prefix(&self.root).unwrap_or(&path).display().to_string());
                } else if is_folder && depth < DEPTH {
                    folders.push((entry.path(), depth + 1));
                }
            }
        }
        found.sort();
        found
    }
}

/// Whether the file system does not support this operation.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::InvalidInput)
}

pub(crate) fn describe(location: Path, meta: &std::fs::Metadata) -> Result<ObjectMeta> {
    let modified = meta.modified().map_err(generic)?;
    let e_tag = format!("{:x}-{:x}-{:x}", meta.ino(), meta.mtime_nsec(), meta.len());
    Ok(ObjectMeta {
        location,
        last_modified: modified.into(),
        size: meta.len(),
        e_tag: Some(e_tag),
        version: None,
    })
}

/// `name#digits`: a file that is being written.
pub(crate) fn is_partial(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(name, number)| {
        !name.is_empty() && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_synced_is_tolerated_and_noted() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().to_owned());
        folder.sync(dir.path()).unwrap();
        assert!(!folder.is_unsynced());
        // procfs cannot sync folders either: EINVAL, as from CIFS.
        folder.sync(FilePath::new("/proc/self")).unwrap();
        assert!(folder.is_unsynced());
        assert!(folder.sync(&dir.path().join("nowhere")).is_err());
    }

    #[test]
    fn only_what_is_half_written_is_called_so() {
        for name in ["x#1", "ab34-1f00#27"] {
            assert!(is_partial(name), "{name}");
        }
        for name in ["x", "#1", "x#", "x#a", "x#1b"] {
            assert!(!is_partial(name), "{name}");
        }
    }
}
