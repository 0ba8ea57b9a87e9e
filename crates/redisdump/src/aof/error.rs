//! What can be wrong with files on disk.

use std::path::{Path, PathBuf};

use super::manifest::ManifestError;
use super::reader::Tail;
use crate::rdb::Corrupt;

/// Why an RDB or AOF on disk cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A file or folder cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// A folder holds no AOF, or several.
    #[error("{path}: {message}")]
    NotFound {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        message: String,
    },
    /// A file without a single byte.
    #[error(
        "{path}: the file is empty (0 bytes): an RDB has at least a header and an end, and no server loads this"
    )]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// A file that ends within the header of an RDB.
    #[error(
        "{path}: the file has only {bytes} bytes, and ends within the header of an RDB: no server loads this"
    )]
    TooShort {
        /// Which.
        path: PathBuf,
        /// How long it is.
        bytes: u64,
    },
    /// A file that begins neither like an RDB nor like an AOF.
    #[error("{path}: this is neither an RDB nor an append-only file: {what}")]
    Foreign {
        /// Which.
        path: PathBuf,
        /// What it is, or how it begins.
        what: String,
    },
    /// A key, or a member or field of one, stands there twice.
    #[error("{path}: {what}: servers do not load this file, and it is not used")]
    Twice {
        /// Which.
        path: PathBuf,
        /// Which key.
        what: String,
    },
    /// The manifest makes no sense.
    #[error("{path}: {source}")]
    Manifest {
        /// Which.
        path: PathBuf,
        /// The line at fault.
        source: ManifestError,
    },
    /// A file that the manifest lists is not there.
    #[error(
        "{path}: there is no such file, and the manifest {} lists it: no server loads that (a copy of the whole folder, \
         made while no rewrite ran, has it)", manifest.display()
    )]
    Missing {
        /// Which.
        path: PathBuf,
        /// The manifest.
        manifest: PathBuf,
    },
    /// A file is damaged.
    #[error("{path}: {source}")]
    Corrupt {
        /// Which.
        path: PathBuf,
        /// Where and how.
        source: Corrupt,
    },
    /// A file that is not the last one ends early: a server loads none of it.
    #[error(
        "{path}: byte {}: the file is cut off here ({} bytes do not count), and it is not the last of the AOF: no server \
         loads that", tail.offset, tail.bytes
    )]
    CutInside {
        /// Which.
        path: PathBuf,
        /// What is cut off.
        tail: Tail,
    },
}

impl FileError {
    /// Where in a file the fault is, if it is in one.
    pub fn offset(&self) -> Option<u64> {
        match self {
            FileError::Corrupt { source, .. } => Some(source.offset),
            FileError::Manifest { source, .. } => Some(source.offset),
            FileError::CutInside { tail, .. } => Some(tail.offset),
            FileError::Empty { .. } | FileError::Foreign { .. } => Some(0),
            FileError::TooShort { bytes, .. } => Some(*bytes),
            _ => None,
        }
    }

    /// The file or folder at fault.
    pub fn path(&self) -> &Path {
        match self {
            FileError::Io { path, .. }
            | FileError::NotFound { path, .. }
            | FileError::Empty { path }
            | FileError::TooShort { path, .. }
            | FileError::Foreign { path, .. }
            | FileError::Twice { path, .. }
            | FileError::Manifest { path, .. }
            | FileError::Missing { path, .. }
            | FileError::Corrupt { path, .. }
            | FileError::CutInside { path, .. } => path,
        }
    }
}
