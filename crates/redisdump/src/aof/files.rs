//! The files of an AOF on disk: found, opened, read in order.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Keep;
use super::error::FileError;
use super::manifest::{FileType, Manifest};
use super::reader::{CutReason, End, Reader, Tail, Visitor};
use crate::rdb::Checksum;

/// One file of an AOF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Where it is.
    pub path: PathBuf,
    /// What it is for; a single file is a base and increments in one.
    pub file_type: Option<FileType>,
}

impl Part {
    /// True for a base that is an RDB: servers name it so, and never leave it empty.
    pub(crate) fn is_rdb_base(&self) -> bool {
        self.file_type == Some(FileType::Base)
            && self.path.extension().is_some_and(|extension| extension == "rdb")
    }
}

/// The files that make an AOF, in the order in which they are loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The manifest, where there is one.
    pub manifest: Option<(PathBuf, Manifest)>,
    /// The files.
    pub parts: Vec<Part>,
}

impl Files {
    /// Finds the AOF that a path means: a file, a manifest, the folder of a multi-part AOF, or a server's data folder with
    /// such a folder in it (`appendonlydir`), with `appendonly.aof`, or, where there is no AOF, with `dump.rdb`: an RDB is
    /// read as an AOF that has only a preamble.
    ///
    /// # Errors
    /// What cannot be read, is not there, or is there twice; a single file that is neither an RDB nor an AOF.
    pub fn locate(path: &Path) -> Result<Files, FileError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| FileError::Io { path, source }
        };
        if !std::fs::metadata(path).map_err(io(path))?.is_dir() {
            if path.extension().is_some_and(|extension| extension == "manifest") {
                return Files::of_manifest(path);
            }
            super::sniff::check(path)?;
            return Ok(Files {
                manifest: None,
                parts: vec![Part { path: path.to_owned(), file_type: None }],
            });
        }
        let mut manifests = manifests_in(path)?;
        if manifests.is_empty() {
            for entry in std::fs::read_dir(path).map_err(io(path))? {
                let entry = entry.map_err(io(path))?.path();
                if entry.is_dir() {
                    manifests.extend(manifests_in(&entry)?);
                }
            }
        }
        let (single, dump) = (path.join("appendonly.aof"), path.join("dump.rdb"));
        match manifests.as_slice() {
            [manifest] => Files::of_manifest(manifest),
            [] if single.is_file() => Files::locate(&single),
            [] if dump.is_file() => Files::locate(&dump),
            [] => Err(FileError::NotFound {
                path: path.to_owned(),
                message: "nothing is here: neither a manifest (*.manifest) nor appendonly.aof nor dump.rdb"
                    .to_owned(),
            }),
            several => Err(FileError::NotFound {
                path: path.to_owned(),
                message: format!("{} AOF manifests are here: name the one that is meant", several.len()),
            }),
        }
    }

    /// Whether it is an AOF, and not an RDB alone. A single file is told by its beginning: an AOF begins with a command or
    /// an annotation, or with an RDB that says of itself that commands follow (`aof-preamble`, 4.0; `aof-base`, 7.0).
    ///
    /// # Errors
    /// What cannot be read.
    pub fn is_aof(&self) -> Result<bool, FileError> {
        // What an RDB says of itself stands before everything else.
        const FRONT: u64 = 64 << 10;
        let [Part { path, file_type: None }] = self.parts.as_slice() else { return Ok(true) };
        let io = |source| FileError::Io { path: path.clone(), source };
        let mut front = Vec::new();
        File::open(path).and_then(|file| file.take(FRONT).read_to_end(&mut front)).map_err(io)?;
        if !front.starts_with(b"REDIS") && !front.starts_with(b"VALKEY") {
            return Ok(matches!(front.first(), None | Some(b'*' | b'#')));
        }
        let mut says = SaysBase(false);
        // What is wrong with it is told when it is read whole.
        let _ = crate::rdb::Reader::new().try_newer(true).feed(&front, &mut says);
        Ok(says.0)
    }

    /// A file that cannot be read because it is not there is the folder's fault, where a manifest lists it.
    fn as_missing(&self, error: FileError) -> FileError {
        match (error, &self.manifest) {
            (FileError::Io { path, source }, Some((manifest, _)))
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                FileError::Missing { path, manifest: manifest.clone() }
            }
            (error, _) => error,
        }
    }

    fn of_manifest(path: &Path) -> Result<Files, FileError> {
        // A line is at most 1 KiB; a manifest has a handful of them.
        const MOST: u64 = 16 << 20;
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MOST).read_to_end(&mut bytes))
            .map_err(|source| FileError::Io { path: path.to_owned(), source })?;
        let manifest = Manifest::parse(&bytes)
            .map_err(|source| FileError::Manifest { path: path.to_owned(), source })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let parts = manifest
            .loaded()
            .map(|file| Part { path: folder.join(&file.name), file_type: Some(file.file_type) })
            .collect();
        Ok(Files { manifest: Some((path.to_owned(), manifest)), parts })
    }
}

/// Whether the front of an RDB says that it belongs to an AOF.
struct SaysBase(bool);

impl crate::rdb::Elements for SaysBase {}

impl crate::rdb::Visitor for SaysBase {
    fn aux(&mut self, name: &[u8], value: &[u8]) {
        self.0 |= matches!(name, b"aof-preamble" | b"aof-base") && value == b"1";
    }
}

fn manifests_in(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let io = |source| FileError::Io { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        // A temporary one is that of a rewrite which did not come to its end.
        let temporary = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("temp"));
        if path.extension().is_some_and(|extension| extension == "manifest") && !temporary && path.is_file() {
            found.push(path);
        }
    }
    Ok(found)
}

/// What one file was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FileSummary {
    /// Where it is.
    pub path: PathBuf,
    /// What it is for; nothing for a single file.
    pub file_type: Option<FileType>,
    /// Its size.
    pub bytes: u64,
    /// The size of its RDB preamble.
    pub preamble_bytes: Option<u64>,
    /// What the preamble's checksum said.
    pub checksum: Option<Checksum>,
    /// Commands that count.
    pub commands: u64,
    /// Bytes behind the end of an RDB that belong to nothing: a server does not look at them.
    pub trailing_bytes: u64,
}

/// What is cut off from an AOF.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cut {
    /// In which file.
    pub path: PathBuf,
    /// Where, how much, why.
    #[serde(flatten)]
    pub tail: Tail,
    /// Files after it that do not count either (only where a point in time was asked for).
    pub files_after: Vec<PathBuf>,
}

impl FileSummary {
    /// True when the file is an RDB and nothing more that counts.
    pub fn is_rdb(&self) -> bool {
        self.preamble_bytes.is_some_and(|preamble| preamble + self.trailing_bytes == self.bytes)
    }
}

/// What an AOF was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AofSummary {
    /// Its files, in the order in which they are loaded.
    pub files: Vec<FileSummary>,
    /// The last `#TS:` annotation, in seconds since the epoch.
    pub timestamp: Option<i64>,
    /// The tail that a server drops when it loads it.
    pub cut: Option<Cut>,
}

/// How an AOF is read.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadOptions {
    /// How much of each command is held.
    pub keep: Keep,
    /// Stops before the first annotation later than this (seconds since the epoch), as `redis-check-aof
    /// --truncate-to-timestamp` does.
    pub until: Option<i64>,
    /// Tries RDB versions that are newer than those known here.
    pub try_newer: bool,
}

/// Reads an AOF whole. `on_progress` is told of each file and how many of its bytes were read.
///
/// # Errors
/// The first fault, with its file and offset: what no server loads.
pub fn read<V: Visitor>(
    files: &Files,
    options: ReadOptions,
    visitor: &mut V,
    on_progress: &mut dyn FnMut(&Part, u64),
) -> Result<AofSummary, FileError> {
    let mut summary = AofSummary::default();
    let mut buffer = vec![0; 256 << 10];
    for (at, part) in files.parts.iter().enumerate() {
        let may_be_rdb = part.file_type.is_none() && part.path.extension().is_none_or(|e| e != "aof");
        let reader = Reader::new(options.keep)
            .rdb_may_trail(may_be_rdb)
            .until(options.until)
            .try_newer(options.try_newer);
        let end = read_part(part, reader, visitor, &mut buffer, on_progress)
            .map_err(|error| files.as_missing(error))?;
        if end.bytes == 0 && part.is_rdb_base() {
            return Err(FileError::Empty { path: part.path.clone() });
        }
        summary.timestamp = end.timestamp.or(summary.timestamp);
        summary.files.push(FileSummary {
            path: part.path.clone(),
            file_type: part.file_type,
            bytes: end.bytes,
            preamble_bytes: end.preamble.map(|(bytes, _)| bytes),
            checksum: end.preamble.map(|(_, checksum)| checksum),
            commands: end.commands,
            trailing_bytes: end.trailing,
        });
        let after = files.parts.get(at + 1..).unwrap_or_default();
        if let Some(tail) = end.tail {
            if !after.is_empty() && tail.reason != CutReason::LaterThanAsked {
                return Err(FileError::CutInside { path: part.path.clone(), tail });
            }
            let files_after = after.iter().map(|part| part.path.clone()).collect();
            summary.cut = Some(Cut { path: part.path.clone(), tail, files_after });
            break;
        }
    }
    Ok(summary)
}

fn read_part<V: Visitor>(
    part: &Part,
    mut reader: Reader,
    visitor: &mut V,
    buffer: &mut [u8],
    on_progress: &mut dyn FnMut(&Part, u64),
) -> Result<End, FileError> {
    let io = |source| FileError::Io { path: part.path.clone(), source };
    let corrupt = |source| FileError::Corrupt { path: part.path.clone(), source };
    let mut file = File::open(&part.path).map_err(io)?;
    loop {
        on_progress(part, reader.offset());
        match file.read(buffer) {
            Ok(0) => return reader.finish(visitor).map_err(corrupt),
            Ok(n) => reader.feed(buffer.get(..n).unwrap_or_default(), visitor).map_err(corrupt)?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io(error)),
        }
    }
}
