//! The append-only file: a streaming reader for one file, on bytes alone, and the set of files of a multi-part AOF.
//!
//! - [`Reader`] is fed the bytes of one file as they arrive. It passes an RDB preamble to [`crate::rdb::Reader`] and
//!   then reads commands and the annotations (`#TS:…`) between them.
//! - [`Manifest`] lists the files of a multi-part AOF (7.0 and newer), [`Files`] locates them in a folder.
//! - [`TimeRange`] tells which points in time they can be read up to.
//! - [`read()`] reads all of them in order, by the server's own rules for a truncated tail: only the last file may end
//!   early, and an unfinished MULTI is dropped. The result tells the offset of the truncation.
//!
//! The rules follow `loadSingleAppendOnlyFile`, `loadAppendOnlyFiles` and `aofLoadManifestFromFile` in `aof.c` of Redis
//! 7.0 to 8.6 (before 4.0, servers execute the beginning of a truncated transaction). At most one command is in memory,
//! up to a limit; a length field alone allocates nothing.

mod command;
mod error;
mod files;
mod manifest;
mod reader;
mod sniff;
pub(crate) mod time_range;
mod visitor;

pub use command::{Command, Keep};
pub use error::FileError;
pub use files::{AofSummary, FileSummary, Files, Part, ReadOptions, TruncatedTail, read};
pub use manifest::{FileType, Manifest, ManifestError, ManifestFile};
pub use reader::Reader;
pub use time_range::TimeRange;
pub use visitor::{CutReason, End, Tail, Visitor};
