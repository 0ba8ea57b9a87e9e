//! Extracts the data folder of a Redis server from a tar archive into a private temporary folder. An archive may
//! contain any path and file type; only regular files below the folder are extracted.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use anyhow::Context as _;

/// More than a data folder ever contains.
const MOST_ENTRIES: usize = 10_000;

/// Unpacks an archive and finds the data folder in it. Blocking.
///
/// # Errors
/// The outer one if this host fails; the inner one says what the archive contains instead.
pub(super) fn unpack(path: &Path, into: &Path) -> anyhow::Result<Result<PathBuf, String>> {
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let plain = flate2::read::MultiGzDecoder::new(std::io::BufReader::with_capacity(1 << 18, file));
    let mut archive = tar::Archive::new(plain);
    let entries = match archive.entries() {
        Ok(entries) => entries,
        Err(error) => return Ok(Err(format!("it is not a tar archive: {error}"))),
    };
    for (at, entry) in entries.enumerate() {
        if at >= MOST_ENTRIES {
            return Ok(Err(format!("it holds more than {MOST_ENTRIES} files")));
        }
        let mut entry = match entry {
            Ok(entry) => entry,
            Err(error) => return Ok(Err(format!("it is not an intact tar archive: {error}"))),
        };
        let named = match entry.path() {
            Ok(named) => named.into_owned(),
            Err(error) => return Ok(Err(format!("it holds a file whose name cannot be read: {error}"))),
        };
        let Some(inside) = inside(&named) else {
            return Ok(Err(format!("it holds `{}`, which is a path outside the archive", named.display())));
        };
        let target = into.join(inside);
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            std::fs::create_dir_all(&target).with_context(|| cannot_write(&target))?;
        } else if kind.is_file() {
            if let Some(folder) = target.parent() {
                std::fs::create_dir_all(folder).with_context(|| cannot_write(folder))?;
            }
            let mut options = std::fs::OpenOptions::new();
            let mut file = match options.write(true).create_new(true).mode(0o600).open(&target) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    return Ok(Err(format!("it holds `{}` twice", named.display())));
                }
                opened => opened.with_context(|| cannot_write(&target))?,
            };
            let size = entry.size();
            if std::io::copy(&mut entry, &mut file).with_context(|| cannot_write(&target))? != size {
                return Ok(Err(format!("it ends within `{}`", named.display())));
            }
        } else if !kind.is_pax_global_extensions() {
            return Ok(Err(format!("it holds `{}`, which is neither a file nor a folder", named.display())));
        }
    }
    Ok(data_folder(into).ok_or_else(|| {
        "it holds neither an RDB file nor an append-only file of Redis (dump.rdb, appendonlydir)".to_owned()
    }))
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

/// The path of an archive member below the folder; `None` for one outside it.
fn inside(named: &Path) -> Option<PathBuf> {
    named
        .components()
        .filter(|component| *component != Component::CurDir)
        .map(|component| match component {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect()
}

/// The nearest folder with files that a server loads.
fn data_folder(root: &Path) -> Option<PathBuf> {
    let mut level = vec![root.to_owned()];
    while !level.is_empty() {
        let mut next = Vec::new();
        for folder in level {
            let entries: Vec<PathBuf> =
                std::fs::read_dir(&folder).ok()?.flatten().map(|entry| entry.path()).collect();
            let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
            let is_data = |path: &PathBuf| {
                name(path).is_some_and(|name| match path.is_dir() {
                    true => name == "appendonlydir",
                    false => name.ends_with(".rdb") || name == "appendonly.aof",
                })
            };
            if entries.iter().any(is_data) {
                return Some(folder);
            }
            next.extend(entries.into_iter().filter(|path| path.is_dir()));
        }
        next.sort();
        level = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_folder_are_foreign() {
        for (named, expected) in [
            ("./data/dump.rdb", Some("data/dump.rdb")),
            ("data/./x", Some("data/x")),
            ("/etc/passwd", None),
            ("../x", None),
            ("data/../../x", None),
        ] {
            assert_eq!(inside(Path::new(named)).as_deref(), expected.map(Path::new), "{named}");
        }
    }
}
