//! The files of a data folder, opened together: later reads return their contents at that time.
//!
//! A server replaces its RDB and rewrites its AOF by new files and renames, and only ever appends to the last file of
//! an AOF. An open file keeps its contents through all of that; its length, taken once all files are open, fixes the
//! point in time.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::Error;
use crate::aof::{FileError, FileType, Files, Part};

/// An open file.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) path: PathBuf,
    pub(super) file_type: Option<FileType>,
    pub(super) sequence: Option<i64>,
    pub(super) file: File,
    pub(super) bytes: u64,
    pub(super) modified: Option<SystemTime>,
    /// A server may be appending to it.
    pub(super) may_grow: bool,
}

/// The opened files.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) files: Vec<OpenFile>,
    pub(super) is_aof: bool,
    pub(super) not_taken: Vec<String>,
}

/// Number of attempts while a server changes its files.
const MAX_ATTEMPTS: u32 = 20;

/// Opens the files that a path denotes. `appendonly` is the server's setting if it could be queried, and `names` its
/// file names. Otherwise an existing AOF is used, as by a server that is configured to keep one.
pub(super) fn open(
    path: &Path,
    appendonly: Option<bool>,
    names: &BTreeMap<String, String>,
) -> Result<Opened, Error> {
    let mut last = None;
    for attempt in 0..MAX_ATTEMPTS {
        if attempt > 0 {
            std::thread::sleep(Duration::from_millis(50));
        }
        let files = locate(path, appendonly, names)?;
        let held: Result<Vec<OpenFile>, FileError> =
            files.parts.iter().map(|part| hold(part, &files)).collect();
        let mut held = match held {
            Ok(held) => held,
            // A rewrite has just deleted it: read the current manifest again.
            Err(error) => {
                last = Some(error);
                continue;
            }
        };
        // The same files under the same names, after all were opened and their lengths taken: they belong together.
        if locate(path, appendonly, names)? != files || !held.iter().all(still_exists) {
            continue;
        }
        if let Some((_, part)) =
            held.iter().zip(&files.parts).find(|(held, part)| held.bytes == 0 && part.is_rdb_base())
        {
            return Err(FileError::Empty { path: part.path.clone() }.into());
        }
        let is_aof = files.is_aof()? && !is_base_alone(&held);
        if !is_aof {
            held.truncate(1);
        }
        let last = held.len().saturating_sub(1);
        for (at, file) in held.iter_mut().enumerate() {
            file.may_grow = is_aof && at == last;
        }
        let not_taken = others(path, &files);
        return Ok(Opened { files: held, is_aof, not_taken });
    }
    Err(last.map_or_else(
        || {
            Error::File(FileError::NotFound {
                path: path.to_owned(),
                message: "its files kept being replaced while they were opened; nothing was read".to_owned(),
            })
        },
        Error::File,
    ))
}

fn locate(
    path: &Path,
    appendonly: Option<bool>,
    names: &BTreeMap<String, String>,
) -> Result<Files, FileError> {
    let name = |key: &str| names.get(key).filter(|name| !name.is_empty() && !name.contains('/'));
    if path.is_dir() {
        if appendonly != Some(false)
            && let (Some(folder), Some(file)) = (name("appenddirname"), name("appendfilename"))
        {
            let manifest = path.join(folder).join(format!("{file}.manifest"));
            if manifest.is_file() {
                return Files::locate(&manifest);
            }
        }
        let single = name("appendfilename").map(|file| path.join(file)).filter(|file| file.is_file());
        match (appendonly, single) {
            (Some(true), Some(single)) if !names.contains_key("appenddirname") => {
                return Files::locate(&single);
            }
            (Some(true), _) => {
                let files = Files::locate(path)?;
                if !files.is_aof()? {
                    return Err(FileError::NotFound {
                        path: path.to_owned(),
                        message:
                            "the server keeps an append-only file, but it is not in this folder: is this the \
                                  server's folder (CONFIG GET dir), as mounted on this host?"
                                .to_owned(),
                    });
                }
                return Ok(files);
            }
            (Some(false), _) => {
                let dump = path.join(name("dbfilename").map_or("dump.rdb", String::as_str));
                return Files::locate(&dump);
            }
            (None, _) => {}
        }
    }
    Files::locate(path)
}

fn hold(part: &Part, files: &Files) -> Result<OpenFile, FileError> {
    let io = |source| FileError::Io { path: part.path.clone(), source };
    let file = File::open(&part.path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(FileError::NotFound {
            path: part.path.clone(),
            message: "it is not a regular file".to_owned(),
        });
    }
    let listed = files.manifest.iter().flat_map(|(_, manifest)| manifest.loaded());
    let sequence = listed
        .filter(|file| part.path.file_name().is_some_and(|name| name == file.name.as_str()))
        .map(|file| file.sequence)
        .next();
    Ok(OpenFile {
        path: part.path.clone(),
        file_type: part.file_type,
        sequence,
        bytes: metadata.len(),
        modified: metadata.modified().ok(),
        file,
        may_grow: false,
    })
}

/// An AOF with empty increments is an RDB.
fn is_base_alone(held: &[OpenFile]) -> bool {
    match held {
        [base, rest @ ..] => {
            base.file_type == Some(FileType::Base)
                && base.path.extension().is_some_and(|extension| extension == "rdb")
                && rest.iter().all(|file| file.bytes == 0)
        }
        [] => false,
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Whether the name still refers to the open file.
fn still_exists(held: &OpenFile) -> bool {
    match (std::fs::metadata(&held.path), held.file.metadata()) {
        (Ok(named), Ok(open)) => identity(&named) == identity(&open),
        _ => false,
    }
}

impl OpenFile {
    /// Number of bytes appended since; an error if it is no longer the file that was opened.
    pub(super) fn settled(&self) -> Result<u64, Error> {
        let changed = |message: &str| {
            Error::File(FileError::NotFound { path: self.path.clone(), message: message.to_owned() })
        };
        let metadata =
            self.file.metadata().map_err(|source| FileError::Io { path: self.path.clone(), source })?;
        if metadata.len() < self.bytes {
            return Err(changed("it was truncated while it was read; the data is not used"));
        }
        let same = metadata.len() == self.bytes && metadata.modified().ok() == self.modified;
        if !self.may_grow && !same {
            return Err(changed(
                "it was written to while it was read, which no server does with such a file; the data is not used",
            ));
        }
        Ok(metadata.len() - self.bytes)
    }
}

/// Other files of a server that exist and were not used.
fn others(path: &Path, taken: &Files) -> Vec<String> {
    let mut found = Vec::new();
    let folder = if path.is_dir() { path.to_owned() } else { return found };
    let mut look = |folder: &Path| {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for entry in entries.flatten().take(10_000) {
            let file = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let manifest = taken.manifest.as_ref().is_some_and(|(path, _)| *path == file);
            if !file.is_file() || manifest || taken.parts.iter().any(|part| part.path == file) {
                continue;
            }
            if [".rdb", ".aof", ".manifest"].iter().any(|end| name.ends_with(end)) {
                found.push(file.display().to_string());
            }
        }
    };
    look(&folder);
    for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten().take(10_000) {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name.to_string_lossy().contains("appendonly"))
        {
            look(&path);
        }
    }
    let manifest = taken.manifest.as_ref().map(|(path, _)| path.parent().unwrap_or(path));
    if let Some(inner) = manifest.filter(|inner| *inner != folder) {
        look(inner);
    }
    found.sort();
    found.dedup();
    found
}

/// Processes that have one of these files open, as far as this user may see them: `redis-server (process 17)`.
pub(super) fn users_of(held: &[OpenFile]) -> Vec<String> {
    let wanted: Vec<(u64, u64)> = held
        .iter()
        .filter_map(|file| file.file.metadata().ok())
        .map(|metadata| identity(&metadata))
        .collect();
    let own = std::process::id();
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if id == own {
            continue;
        }
        let open = std::fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let has = open
            .filter_map(|descriptor| std::fs::metadata(descriptor.path()).ok())
            .any(|metadata| metadata.is_file() && wanted.contains(&identity(&metadata)));
        if has {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            found.push(format!("{} (process {id})", name.trim()));
        }
    }
    found
}
