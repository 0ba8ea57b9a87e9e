//! The append-only file: a streaming reader of one file, on bytes alone, and the files that belong together.
//!
//! - [`Reader`] is fed the bytes of one file as they arrive. A preamble in RDB is handed to [`crate::rdb::Reader`]; then
//!   come commands, with annotations (`#TS:…`) between them.
//! - [`Manifest`] says which files make a multi-part AOF (7.0 and newer), [`Files`] finds them in a folder.
//! - [`Moments`] says which points in time they can be read up to.
//! - [`read()`] goes over all of them in order, by the server's own rules for a truncated tail: only the last file may
//!   end early, and an unfinished MULTI counts as not there. What was cut off is told with its offset.
//!
//! The rules follow `loadSingleAppendOnlyFile`, `loadAppendOnlyFiles` and `aofLoadManifestFromFile` in `aof.c` of Redis
//! 7.0 to 8.6 (before 4.0, a server runs what it has of a cut transaction). A command is held once, up to a limit; a length that the file merely claims allocates nothing.

mod command;
mod error;
mod files;
mod manifest;
pub(crate) mod moments;
mod reader;
mod sniff;

pub use command::{Command, Keep};
pub use error::FileError;
pub use files::{AofSummary, Cut, FileSummary, Files, Part, ReadOptions, read};
pub use manifest::{FileType, Manifest, ManifestError, ManifestFile};
pub use moments::Moments;
pub use reader::{CutReason, End, Reader, Tail, Visitor};
