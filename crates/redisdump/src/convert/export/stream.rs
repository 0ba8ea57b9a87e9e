//! The export stream.

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use tokio::io::AsyncReadExt as _;

use super::json::JsonWriter;
use super::rdb_file::RdbWriter;
use super::restore_commands::RestoreWriter;
use super::sink::Sink;
use crate::Error;
use crate::convert::commands::{Emitter, Target, UnsupportedValues};
use crate::rdb::Reader;

/// The output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// An RDB that the target loads.
    Rdb,
    /// Commands that create the values, for `redis-cli --pipe`.
    Resp,
    /// RESTORE commands for `redis-cli --pipe`: faster and including idle times, but the user must be allowed to
    /// RESTORE.
    Restore,
    /// One line of JSON for each key.
    Json,
}

/// How to handle what the target does not support.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnsupported {
    /// The export fails and lists all of it; module data without a key is omitted and reported. JSON has no target and
    /// omits module values.
    #[default]
    Refuse,
    /// The affected keys are omitted and reported.
    Skip,
}

/// Options of an export.
#[derive(Debug, Clone, Copy)]
pub struct ExportOptions {
    /// The format.
    pub format: Format,
    /// The target server; ignored for JSON.
    pub target: Target,
    /// How to handle what the target does not support.
    pub on_unsupported: OnUnsupported,
    /// Commands delete or replace existing keys of the same name.
    pub replace: bool,
    /// Module values are written too, to an RDB or RESTORE commands. A server without the module rejects the whole
    /// file, or the command.
    pub modules: bool,
    /// Try to read RDB versions newer than the known ones.
    pub try_newer: bool,
}

impl ExportOptions {
    /// An export in this format for this target, which fails if something is unsupported.
    pub fn new(format: Format, target: Target) -> ExportOptions {
        let on_unsupported = OnUnsupported::Refuse;
        ExportOptions { format, target, on_unsupported, replace: false, modules: false, try_newer: false }
    }

    /// Whether an export fails because of this.
    fn refuses(&self, unsupported: &UnsupportedValues) -> bool {
        self.on_unsupported == OnUnsupported::Refuse && self.format != Format::Json && unsupported.has_keys()
    }

    fn sink(&self) -> Box<dyn Sink> {
        match self.format {
            Format::Rdb => Box::new(RdbWriter::new(self.target, self.modules)),
            Format::Resp => Box::new(Emitter::new(self.target.features()).replacing(self.replace)),
            Format::Restore => Box::new(RestoreWriter::new(self.target, self.replace, self.modules)),
            Format::Json => Box::new(JsonWriter::new()),
        }
    }
}

/// The result of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ExportReport {
    /// The format.
    pub format: Format,
    /// The target server.
    pub target: Target,
    /// Number of exported keys.
    pub keys: u64,
    /// Number of RDB bytes read.
    pub bytes_read: u64,
    /// Number of bytes written.
    pub bytes_written: u64,
    /// What was omitted.
    pub left_out: UnsupportedValues,
}

/// A stream of the exported bytes. [`Export::report`] describes it after its end.
///
/// With [`OnUnsupported::Refuse`] it fails with [`Error::Unsupported`] at its end, after yielding bytes that are then
/// incomplete; [`preflight`] checks this in advance.
pub struct Export {
    pieces: Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>,
    done: Arc<OnceLock<ExportReport>>,
}

/// Bytes are handed on when about so many are ready.
const PIECE: usize = 128 << 10;

impl Export {
    /// Starts an export.
    pub fn new<E>(
        stream: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
        options: ExportOptions,
    ) -> Export
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        let done = Arc::new(OnceLock::new());
        let work = Work {
            stream: Box::pin(stream.map(|piece| piece.map_err(Error::stream))),
            piece: Bytes::new(),
            reader: Reader::new().try_newer(options.try_newer),
            visitor: Some(options.sink()),
            options,
            written: 0,
            done: done.clone(),
        };
        let pieces = futures::stream::try_unfold(work, |mut work| async move {
            Ok(work.next().await?.map(|piece| (piece, work)))
        });
        Export { pieces: Box::pin(pieces), done }
    }

    /// The report; `None` before the stream has ended successfully.
    pub fn report(&self) -> Option<ExportReport> {
        self.done.get().cloned()
    }
}

impl Stream for Export {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pieces.as_mut().poll_next(context)
    }
}

struct Work {
    stream: Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>,
    piece: Bytes,
    reader: Reader,
    /// `None` after the end.
    visitor: Option<Box<dyn Sink>>,
    options: ExportOptions,
    written: u64,
    done: Arc<OnceLock<ExportReport>>,
}

impl Work {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(sink) = &mut self.visitor else { return Ok(None) };
        let mut out = Vec::new();
        loop {
            if self.piece.is_empty() {
                match self.stream.next().await {
                    Some(piece) => self.piece = piece?,
                    None => break,
                }
            }
            // Small steps, so that the ready bytes never grow far beyond a chunk.
            let part = self.piece.split_to(self.piece.len().min(PIECE));
            sink.feed(&mut self.reader, &part)?;
            if self.options.refuses(sink.unsupported()) {
                // It fails at the end, when everything is known.
                out.clear();
                sink.take_into(&mut out);
                out.clear();
            } else if sink.ready() >= PIECE {
                sink.take_into(&mut out);
                self.written += out.len() as u64;
                return Ok(Some(Bytes::from(out)));
            }
        }
        self.reader.finish()?;
        if self.options.refuses(sink.unsupported()) {
            let (target, unsupported) = (self.options.target.to_string(), sink.unsupported().clone());
            self.visitor = None;
            return Err(Error::Unsupported { target, unsupported });
        }
        if let Some(mut sink) = self.visitor.take() {
            // Ready bytes are checksummed when taken; the trailer follows.
            sink.take_into(&mut out);
            sink.finish();
            let mut end = Vec::new();
            sink.take_into(&mut end);
            out.append(&mut end);
            self.written += out.len() as u64;
            let _ = self.done.set(ExportReport {
                format: self.options.format,
                target: self.options.target,
                keys: sink.keys(),
                bytes_read: self.reader.offset(),
                bytes_written: self.written,
                left_out: sink.unsupported().clone(),
            });
        }
        Ok((!out.is_empty()).then(|| Bytes::from(out)))
    }
}

/// Finds what the target of an export does not support, by reading a whole RDB without output.
///
/// # Errors
/// A damaged RDB with the fault's offset, or a failure of the stream.
pub async fn preflight<E>(
    stream: impl Stream<Item = Result<Bytes, E>>,
    options: ExportOptions,
) -> Result<UnsupportedValues, Error>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut sink = options.sink();
    let mut reader = Reader::new().try_newer(options.try_newer);
    let mut stream = std::pin::pin!(stream);
    while let Some(piece) = stream.next().await {
        for part in piece.map_err(Error::stream)?.chunks(PIECE) {
            sink.feed(&mut reader, part)?;
            sink.discard();
        }
    }
    reader.finish()?;
    Ok(sink.unsupported().clone())
}

/// Exports an RDB in memory; returns also what was omitted.
#[cfg(feature = "fuzzing")]
pub(crate) fn through(data: &[u8], options: ExportOptions) -> Result<(Vec<u8>, UnsupportedValues), Error> {
    let mut sink = options.sink();
    let mut reader = Reader::new().try_newer(options.try_newer);
    let mut out = Vec::new();
    for piece in data.chunks(PIECE) {
        sink.feed(&mut reader, piece)?;
        let mut ready = Vec::new();
        sink.take_into(&mut ready);
        out.append(&mut ready);
    }
    reader.finish()?;
    sink.finish();
    let mut end = Vec::new();
    sink.take_into(&mut end);
    out.append(&mut end);
    Ok((out, sink.unsupported().clone()))
}

/// The first bytes of a file as a stream, such as the RDB at the front of an AOF.
pub fn beginning(path: &Path, length: u64) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    let mut left = length;
    file(path)
        .map_ok(move |mut piece| {
            piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= piece.len() as u64;
            piece
        })
        .try_take_while(|piece| futures::future::ready(Ok(!piece.is_empty())))
}

/// A file as a stream.
pub fn file(path: &Path) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    let path = path.to_owned();
    futures::stream::try_unfold(None, move |open: Option<tokio::fs::File>| {
        let path = path.clone();
        async move {
            let mut file = match open {
                Some(file) => file,
                None => {
                    let mut file = tokio::fs::File::open(&path).await?;
                    file.set_max_buf_size(1 << 20);
                    file
                }
            };
            let mut piece = Vec::with_capacity(1 << 20);
            let read = file.read_buf(&mut piece).await?;
            Ok((read > 0).then(|| (Bytes::from(piece), Some(file))))
        }
    })
}
