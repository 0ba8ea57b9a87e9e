//! Writes a copy of an append-only file without its damaged tail, with the contents that `redis-check-aof --fix`
//! produces. The original is unchanged.
//!
//! The copy contains everything that a server runs: complete commands and complete transactions. Only the end of the
//! last file can be cut off: faults before it, in an RDB preamble or in another file, are not a tail.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::aof::{self, FileError, Files, Keep, Part, ReadOptions, Reader, TruncatedTail};

/// The result of a repair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Repaired {
    /// The path of the copy: a file, or the folder of an AOF with a manifest.
    pub to: PathBuf,
    /// The file whose tail was cut off.
    pub file: PathBuf,
    /// The length of its copy in bytes.
    pub offset: u64,
    /// Number of omitted bytes.
    pub bytes_dropped: u64,
    /// Number of commands in the copy after its base.
    pub commands: u64,
    /// The fault in the tail.
    pub reason: String,
}

/// The offset of the damaged tail of the last file.
#[derive(Debug)]
struct DamagedTail {
    file: PathBuf,
    offset: u64,
    reason: String,
}

/// Copies an AOF without its damaged tail to a path that does not exist: a single file to a file, an AOF with a
/// manifest to a folder. Returns `None`, with nothing written, if nothing is damaged. Blocks on disk I/O.
///
/// # Errors
/// A fault that is not in the tail of the last file, and files that cannot be read or written.
pub fn repair(path: &Path, to: &Path) -> Result<Option<Repaired>, FileError> {
    let files = Files::locate(path)?;
    let Some(broken) = broken(&files)? else { return Ok(None) };
    let size = |path: &Path| std::fs::metadata(path).map_err(io_of(path)).map(|metadata| metadata.len());
    let dropped = size(&broken.file)?.saturating_sub(broken.offset);
    match &files.manifest {
        None => copy(&broken.file, to, broken.offset)?,
        Some((manifest, _)) => {
            let mut folder = std::fs::DirBuilder::new();
            folder.mode(0o700).create(to).map_err(io_of(to))?;
            for from in std::iter::once(manifest).chain(files.parts.iter().map(|part| &part.path)) {
                let length = if *from == broken.file { broken.offset } else { size(from)? };
                copy(from, &to.join(from.file_name().unwrap_or_default()), length)?;
            }
        }
    }
    // Read the copy again, as a server would.
    let summary = aof::read(&Files::locate(to)?, ReadOptions::default(), &mut (), &mut |_, _| ())?;
    if let Some(TruncatedTail { path, tail, .. }) = summary.cut {
        return Err(FileError::CutInside { path, tail });
    }
    Ok(Some(Repaired {
        to: to.to_owned(),
        file: broken.file,
        offset: broken.offset,
        bytes_dropped: dropped,
        commands: summary.files.iter().map(|file| file.commands).sum(),
        reason: broken.reason,
    }))
}

fn broken(files: &Files) -> Result<Option<DamagedTail>, FileError> {
    let fault = match aof::read(files, ReadOptions::default(), &mut (), &mut |_, _| ()) {
        Ok(summary) => {
            return Ok(summary.cut.map(|TruncatedTail { path, tail, .. }| DamagedTail {
                file: path,
                offset: tail.offset,
                reason: tail.reason.to_string(),
            }));
        }
        Err(fault) => fault,
    };
    match (&fault, files.parts.last()) {
        (FileError::Corrupt { path, source }, Some(last)) if *path == last.path => {
            match whole_before_fault(last)? {
                Some(offset) => {
                    Ok(Some(DamagedTail { file: path.clone(), offset, reason: source.problem.to_string() }))
                }
                // The fault is in the RDB preamble.
                None => Err(fault),
            }
        }
        _ => Err(fault),
    }
}

/// The end of the last complete command or transaction before the first fault; `None` if that is in an RDB preamble.
fn whole_before_fault(part: &Part) -> Result<Option<u64>, FileError> {
    let mut file = File::open(&part.path).map_err(io_of(&part.path))?;
    let mut reader = Reader::new(Keep::default());
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(reader.whole()),
            Ok(n) => {
                if reader.feed(buffer.get(..n).unwrap_or_default(), &mut ()).is_err() {
                    return Ok(reader.whole());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io_of(&part.path)(error)),
        }
    }
}

/// Copies the first bytes of a file to a new one, accessible only to its owner.
fn copy(from: &Path, to: &Path, length: u64) -> Result<(), FileError> {
    let source = File::open(from).map_err(io_of(from))?;
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(io_of(to))?;
    io::copy(&mut source.take(length), &mut out).map_err(io_of(to))?;
    out.flush().and_then(|()| out.sync_all()).map_err(io_of(to))
}

fn io_of(path: &Path) -> impl Fn(io::Error) -> FileError + use<> {
    let path = path.to_owned();
    move |source| FileError::Io { path: path.clone(), source }
}
