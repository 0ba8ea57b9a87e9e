//! The temporary folder of a private server, accessible only to its user.

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Error;
use crate::process::User;

/// A temporary folder that only its owner can enter. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Creates a folder with a short path, because the path of a Unix socket is limited to 107 bytes, which `user` can
    /// reach: below the temporary folder of the environment if that works, or else below `/tmp`.
    pub(crate) fn new(prefix: &str, user: Option<User>) -> Result<Folder, Error> {
        let usual = std::env::temp_dir();
        let short = usual.as_os_str().len() <= 60;
        let reachable = user.is_none() || usual.ancestors().all(is_world_accessible);
        let base = if short && reachable { usual } else { PathBuf::from("/tmp") };
        // Set from the beginning: a process that has opened a folder keeps access to it.
        let folder = tempfile::Builder::new()
            .prefix(prefix)
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in(&base)
            .map_err(|source| Error::Folder { path: base, source })?;
        let folder = Folder(folder.keep());
        User::own(user, folder.path())?;
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Copies the files and folders of another folder, without sockets, accessible to the current user only.
    pub(crate) fn copy_from(&self, from: &Path) -> std::io::Result<()> {
        copy_folder(from, self.path())
    }

    /// Copies one file, accessible to the current user only.
    pub(crate) fn copy_file(&self, from: &Path, name: &str) -> std::io::Result<()> {
        copy_file(from, &self.0.join(name))
    }

    /// Writes a file that only `user` can read.
    pub(crate) fn write(&self, name: &str, content: &[u8], user: Option<User>) -> Result<PathBuf, Error> {
        let path = self.0.join(name);
        let write = || {
            use std::io::Write as _;
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600).open(&path)?.write_all(content)
        };
        write().map_err(|source| Error::Folder { path: path.clone(), source })?;
        User::own(user, &path)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // After a crash of PostgreSQL its children need a moment to notice, and may still write.
        for _ in 0..40 {
            match std::fs::remove_dir_all(&self.0) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                _ => return,
            }
        }
    }
}

fn is_world_accessible(folder: &Path) -> bool {
    folder.as_os_str().is_empty() || folder.metadata().is_ok_and(|metadata| metadata.mode() & 0o001 != 0)
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let to = to.join(entry.file_name());
        if kind.is_dir() {
            match std::fs::DirBuilder::new().mode(0o700).create(&to) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            copy_folder(&entry.path(), &to)?;
        } else if kind.is_file() {
            copy_file(&entry.path(), &to)?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(to)?;
    std::io::copy(&mut std::fs::File::open(from)?, &mut file).map(drop)
}
