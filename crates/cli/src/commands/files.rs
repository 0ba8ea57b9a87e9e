//! Output files of commands. Existing files are never overwritten, and secrets are readable only by the owner.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;

use crate::exit;

/// Writes a new file with default permissions.
pub(super) fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    write(path, text, &mut OpenOptions::new())
}

/// Writes a new file that only its owner can read.
pub(super) fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    write(path, text, &mut options)
}

/// Fails if the path exists, so that a command can stop before it has done half of its work.
pub(super) fn refuse_existing(path: &Path) -> anyhow::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Err(exit::refused(format!("{} exists and is not overwritten", path.display()))),
        Err(_) => Ok(()),
    }
}

fn write(path: &Path, text: &str, options: &mut OpenOptions) -> anyhow::Result<()> {
    let mut file = match options.write(true).create_new(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return refuse_existing(path),
        Err(error) => {
            return Err(anyhow::Error::new(error).context(format!("cannot write {}", path.display())));
        }
    };
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write {}", path.display()))
}
