//! The files of an AOF on disk: locating, opening, reading in order.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Keep;
use super::error::FileError;
use super::manifest::{FileType, Manifest};
use super::reader::Reader;
use super::visitor::{CutReason, End, Tail, Visitor};
use crate::rdb::Checksum;

/// A file of an AOF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its path.
    pub path: PathBuf,
    /// Its type; a single file is base and increments in one.
    pub file_type: Option<FileType>,
}

impl Part {
    /// True for an RDB base: servers name it so, and never leave it empty.
    pub(crate) fn is_rdb_base(&self) -> bool {
        self.file_type == Some(FileType::Base)
            && self.path.extension().is_some_and(|extension| extension == "rdb")
    }
}

/// The files of an AOF in the order in which they are loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The path of the manifest, if any.
    pub manifest: Option<(PathBuf, Manifest)>,
    /// The files.
    pub parts: Vec<Part>,
}

impl Files {
    /// Locates the AOF at a path: a file, a manifest, the folder of a multi-part AOF, or a server's data folder that
    /// contains such a folder (`appendonlydir`), `appendonly.aof` or, if there is no AOF, `dump.rdb`: an RDB is read as
    /// an AOF that consists of a preamble only.
    ///
    /// # Errors
    /// If something is unreadable, missing or ambiguous, or a single file is neither an RDB nor an AOF.
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
                message: "found no manifest (*.manifest), appendonly.aof or dump.rdb".to_owned(),
            }),
            several => Err(FileError::NotFound {
                path: path.to_owned(),
                message: format!("found {} AOF manifests: give the path of one of them", several.len()),
            }),
        }
    }

    /// Whether it is an AOF rather than only an RDB. A single file is recognized by its beginning: an AOF begins with a
    /// command, an annotation, or an RDB whose metadata says that commands follow (`aof-preamble`, 4.0; `aof-base`,
    /// 7.0).
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn is_aof(&self) -> Result<bool, FileError> {
        // The metadata of an RDB precedes everything else.
        const MAX_METADATA: u64 = 64 << 10;
        let [Part { path, file_type: None }] = self.parts.as_slice() else { return Ok(true) };
        let io = |source| FileError::Io { path: path.clone(), source };
        let mut front = Vec::new();
        File::open(path).and_then(|file| file.take(MAX_METADATA).read_to_end(&mut front)).map_err(io)?;
        if !front.starts_with(b"REDIS") && !front.starts_with(b"VALKEY") {
            return Ok(matches!(front.first(), None | Some(b'*' | b'#')));
        }
        let mut aux = AofBase(false);
        // Faults are reported when the file is read completely.
        let _ = crate::rdb::Reader::new().try_newer(true).feed(&front, &mut aux);
        Ok(aux.0)
    }

    /// Reports a missing file that a manifest lists as a fault of the folder.
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
        // A line is at most 1 KiB, and a manifest has only a few.
        const MAX_MANIFEST: u64 = 16 << 20;
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_MANIFEST).read_to_end(&mut bytes))
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

/// Whether the metadata of an RDB says that it is the base of an AOF.
struct AofBase(bool);

impl crate::rdb::Elements for AofBase {}

impl crate::rdb::Visitor for AofBase {
    fn aux(&mut self, name: &[u8], value: &[u8]) {
        self.0 |= matches!(name, b"aof-preamble" | b"aof-base") && value == b"1";
    }
}

fn manifests_in(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let io = |source| FileError::Io { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        // A temporary manifest belongs to an interrupted rewrite.
        let temporary = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("temp"));
        if path.extension().is_some_and(|extension| extension == "manifest") && !temporary && path.is_file() {
            found.push(path);
        }
    }
    Ok(found)
}

/// What one file contained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FileSummary {
    /// Its path.
    pub path: PathBuf,
    /// Its type; `None` for a single file.
    pub file_type: Option<FileType>,
    /// Its size in bytes.
    pub bytes: u64,
    /// The size of its RDB preamble in bytes.
    pub preamble_bytes: Option<u64>,
    /// The result of the preamble's checksum.
    pub checksum: Option<Checksum>,
    /// Number of commands that take effect.
    pub commands: u64,
    /// Bytes after the end of an RDB, which servers ignore.
    pub trailing_bytes: u64,
}

/// The part of an AOF that was cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TruncatedTail {
    /// The file.
    pub path: PathBuf,
    /// Position, size and reason.
    #[serde(flatten)]
    pub tail: Tail,
    /// Later files, which are ignored too (only when reading up to a point in time).
    pub files_after: Vec<PathBuf>,
}

impl FileSummary {
    /// True when the file is an RDB without effective commands.
    pub fn is_rdb(&self) -> bool {
        self.preamble_bytes.is_some_and(|preamble| preamble + self.trailing_bytes == self.bytes)
    }
}

/// What an AOF contained.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AofSummary {
    /// Its files, in the order in which they are loaded.
    pub files: Vec<FileSummary>,
    /// The last `#TS:` annotation, in seconds since the epoch.
    pub timestamp: Option<i64>,
    /// The truncated tail, which servers drop on loading.
    pub cut: Option<TruncatedTail>,
}

/// How to read an AOF.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadOptions {
    /// How much of each command to keep in memory.
    pub keep: Keep,
    /// Stop before the first annotation later than this, in seconds since the epoch, as `redis-check-aof
    /// --truncate-to-timestamp` does.
    pub until: Option<i64>,
    /// Try to read RDB versions newer than the known ones.
    pub try_newer: bool,
}

/// Reads a whole AOF. `on_progress` is called with each file and the number of bytes read of it.
///
/// # Errors
/// The first fault that prevents servers from loading it, with its file and offset.
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
            summary.cut = Some(TruncatedTail { path: part.path.clone(), tail, files_after });
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
