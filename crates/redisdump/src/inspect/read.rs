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

/// How much an inspection tells.
#[derive(Debug, Clone, Copy)]
pub struct InspectOptions {
    /// How many of the biggest keys.
    pub top: usize,
    /// What parts the names of keys.
    pub separator: u8,
    /// How many parts deep the tree of prefixes goes.
    pub prefix_depth: usize,
    /// How many prefixes are kept at a time.
    pub prefixes: usize,
    /// The time that expiries are compared with, in milliseconds since the epoch.
    pub now_ms: Option<i64>,
    /// Tries RDB versions that are newer than those known here.
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

/// Inspects an RDB file, an AOF file, or an AOF folder ([`Files::locate`] says which paths mean what). It blocks on the
/// disk. `on_key` is told of every key of the RDB, or of the preamble.
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
    // An RDB alone is read as an AOF that has only a preamble.
    let rdb_alone = files.manifest.is_none() && matches!(summary.files.as_slice(), [file] if file.is_rdb());
    if !rdb_alone {
        found.aof = Some(summary);
        found.commands.get_or_insert_default();
    }
    Ok(found)
}

/// Inspects an RDB that comes as a stream.
///
/// # Errors
/// A damaged RDB with the fault's offset, or the stream's own failure.
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
