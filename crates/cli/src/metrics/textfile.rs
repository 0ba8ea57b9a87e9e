//! The node exporter's textfile: one file for all jobs of a state folder, replaced atomically, and readable by the
//! exporter's user.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::{Sample, render};

/// The configured path, if its name is that of a textfile; otherwise `dbhaul.prom` in that folder.
pub(crate) fn path(configured: &Path) -> PathBuf {
    match configured.extension().is_some_and(|extension| extension == "prom") {
        true => configured.to_owned(),
        false => configured.join("dbhaul.prom"),
    }
}

/// Replaces the file.
pub(crate) fn write(path: &Path, samples: &[Sample]) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = || format!("cannot write the metrics to {}", path.display());
    // The exporter reads every `.prom` file, so the temporary file has another suffix.
    let mut file = tempfile::Builder::new()
        .prefix(".dbhaul-")
        .suffix(".tmp")
        .tempfile_in(folder)
        .with_context(failed)?;
    file.write_all(render(samples).as_bytes()).with_context(failed)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).with_context(failed)?;
    file.persist(path).with_context(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_readable_by_the_exporter() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(path(Path::new("/t/x.prom")), Path::new("/t/x.prom"));
        let path = path(folder.path());
        write(&path, &[]).unwrap();
        write(&path, &[]).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o644);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let error = write(&folder.path().join("no/dbhaul.prom"), &[]).unwrap_err();
        assert!(error.to_string().contains("cannot write the metrics"), "{error}");
    }
}
