//! Errors in files on disk.

use std::path::{Path, PathBuf};

use super::manifest::ManifestError;
use super::visitor::Tail;
use crate::rdb::Corrupt;

/// Why an RDB or AOF on disk cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A file or folder cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A folder contains no AOF, or several.
    #[error("{path}: {message}")]
    NotFound {
        /// The folder.
        path: PathBuf,
        /// What was expected.
        message: String,
    },
    /// An empty file.
    #[error(
        "{path}: the file is empty (0 bytes): an RDB has at least a header and an end; no server loads this"
    )]
    Empty {
        /// The path.
        path: PathBuf,
    },
    /// A file that ends within the header of an RDB.
    #[error(
        "{path}: the file has only {bytes} bytes and ends within the header of an RDB; no server loads this"
    )]
    TooShort {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        bytes: u64,
    },
    /// A file that begins like neither an RDB nor an AOF.
    #[error("{path}: not an RDB or append-only file: {what}")]
    Foreign {
        /// The path.
        path: PathBuf,
        /// What it is, or how it begins.
        what: String,
    },
    /// A duplicate key, member or field.
    #[error("{path}: {what}: servers do not load this file; it is not used")]
    Duplicate {
        /// The path.
        path: PathBuf,
        /// The key.
        what: String,
    },
    /// An invalid manifest.
    #[error("{path}: {source}")]
    Manifest {
        /// The path.
        path: PathBuf,
        /// The invalid line.
        source: ManifestError,
    },
    /// A file listed in the manifest is missing.
    #[error(
        "{path}: the file does not exist, but the manifest {} lists it: no server loads that (copy the whole folder \
         while no rewrite runs)", manifest.display()
    )]
    Missing {
        /// The path.
        path: PathBuf,
        /// The manifest.
        manifest: PathBuf,
    },
    /// A damaged file.
    #[error("{path}: {source}")]
    Corrupt {
        /// The path.
        path: PathBuf,
        /// Position and kind of the damage.
        source: Corrupt,
    },
    /// A file other than the last ends early, so that a server does not load the AOF.
    #[error(
        "{path}: byte {}: the file is truncated here ({} bytes are unusable), and it is not the last of the AOF: no \
         server loads that", tail.offset, tail.bytes
    )]
    CutInside {
        /// The path.
        path: PathBuf,
        /// What is cut off.
        tail: Tail,
    },
}

impl FileError {
    /// The byte offset of the fault in the file, if known.
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

    /// The faulty file or folder.
    pub fn path(&self) -> &Path {
        match self {
            FileError::Io { path, .. }
            | FileError::NotFound { path, .. }
            | FileError::Empty { path }
            | FileError::TooShort { path, .. }
            | FileError::Foreign { path, .. }
            | FileError::Duplicate { path, .. }
            | FileError::Manifest { path, .. }
            | FileError::Missing { path, .. }
            | FileError::Corrupt { path, .. }
            | FileError::CutInside { path, .. } => path,
        }
    }
}
