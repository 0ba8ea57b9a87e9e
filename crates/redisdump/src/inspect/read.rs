//! Inspections of files and streams.

use std::path::Path;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};

use super::inspection::Inspection;
use super::inspector::Inspector;
use super::record::KeyRecord;
use crate::Error;
use crate::aof::{self, FileError, Files, ReadOptions};
use crate::compare::report::Progress;
use crate::rdb::Reader;

/// Options of an inspection.
#[derive(Debug, Clone, Copy)]
pub struct InspectOptions {
    /// Number of largest keys to list.
    pub top: usize,
    /// The separator in names of keys.
    pub separator: u8,
    /// Maximum depth of the prefix tree.
    pub prefix_depth: usize,
    /// Maximum number of prefixes in memory.
    pub prefixes: usize,
    /// The reference time for expiries, in milliseconds since the epoch.
    pub now_ms: Option<i64>,
    /// Try to read RDB versions newer than the known ones.
    pub try_newer: bool,
}

impl Default for InspectOptions {
    fn default() -> Self {
        InspectOptions {
            top: 10,
            separator: b':',
            prefix_depth: 6,
            prefixes: 20_000,
            now_ms: None,
            try_newer: false,
        }
    }
}

/// Inspects an RDB file, an AOF file, or an AOF folder (see [`Files::locate`] for paths). Blocks on disk I/O. `on_key`
/// is called for every key of the RDB, or of the preamble.
///
/// # Errors
/// The first fault, with its file and offset.
pub fn inspect_path(
    path: &Path,
    options: InspectOptions,
    on_key: &mut dyn FnMut(&KeyRecord),
    on_progress: &mut dyn FnMut(u64),
) -> Result<Inspection, FileError> {
    let files = Files::locate(path)?;
    let mut inspector = Inspector::new(options, on_key);
    let read = ReadOptions { try_newer: options.try_newer, ..ReadOptions::default() };
    let summary = aof::read(&files, read, &mut inspector, &mut |_, bytes| on_progress(bytes))?;
    let bytes = summary.files.iter().map(|file| file.bytes).sum();
    let mut found = inspector.finish(bytes);
    // A single RDB is read as an AOF that consists of a preamble only.
    let rdb_alone = files.manifest.is_none() && matches!(summary.files.as_slice(), [file] if file.is_rdb());
    if !rdb_alone {
        found.aof = Some(summary);
        found.commands.get_or_insert_default();
    }
    Ok(found)
}

/// Inspects an RDB stream.
///
/// # Errors
/// A damaged RDB with the fault's offset, or a failure of the stream.
pub async fn inspect_stream<E>(
    stream: impl Stream<Item = Result<Bytes, E>>,
    options: InspectOptions,
    on_key: &mut (dyn FnMut(&KeyRecord) + Send),
    on_progress: &(dyn Fn(Progress) + Sync),
) -> Result<Inspection, Error>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut keys = 0;
    let mut counting = |record: &KeyRecord| {
        keys += 1;
        on_key(record);
    };
    let mut inspector = Inspector::new(options, &mut counting);
    let mut reader = Reader::new().try_newer(options.try_newer);
    let mut stream = std::pin::pin!(stream);
    while let Some(piece) = stream.next().await {
        reader.feed(&piece.map_err(Error::stream)?, &mut inspector)?;
        on_progress(Progress { bytes: reader.offset(), keys: 0 });
    }
    inspector.set_checksum(reader.finish()?);
    let found = inspector.finish(reader.offset());
    on_progress(Progress { bytes: reader.offset(), keys });
    Ok(found)
}
