//! Temporary folders and files with database content, readable only by the current user, whatever the umask.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context as _;

/// A folder that is removed when dropped.
pub(crate) fn folder(prefix: &str) -> anyhow::Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix(prefix)
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir()
        .with_context(|| format!("cannot create a folder in {}", std::env::temp_dir().display()))
}

/// Creates a file for writing.
pub(crate) async fn file(path: &Path) -> std::io::Result<tokio::fs::File> {
    tokio::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn other_users_cannot_enter_or_read() {
        let folder = folder("dbhaul-unit-").unwrap();
        let path = folder.path().join("file");
        drop(file(&path).await.unwrap());
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(folder.path()), mode(&path)), (0o700, 0o600));
        assert!(file(&path).await.is_err(), "what is there is not written over");
    }
}
