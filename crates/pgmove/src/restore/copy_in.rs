//! Copies a stream of rows into a table, in one transaction with many COPY statements.
//!
//! The driver learns of an error only when a COPY ends. With one COPY for a table of 100 GB, a bad first row would be
//! reported after all others were sent; so a COPY ends periodically, between two rows, and the next one begins.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::SinkExt as _;
use futures::stream::{Stream, StreamExt as _};
use tokio_postgres::CopyInSink;

use crate::Error;
use crate::connect::Session;
use crate::copy_format::{CopyFormat, HEADER, TRAILER, count_rows};
use crate::error::BoxError;

/// Approximate number of bytes per COPY statement.
const COPY_BYTES: usize = 32 << 20;

/// Whether text consists of rows only: the last one is complete, and none could be taken for the end marker.
fn is_plain(text: &VecDeque<Bytes>) -> bool {
    let bytes = || text.iter().flat_map(|piece| piece.iter().copied());
    let marks = bytes().zip(bytes().skip(1)).any(|pair| pair == (b'\\', b'.'));
    !marks && bytes().last().is_none_or(|last| last == b'\n')
}

/// Number of bytes per message: the server rejects messages longer than 1 GB, and a row may be nearly that long.
const MESSAGE: usize = 4 << 20;

/// Shorter streams are sent in a transaction with one COPY.
const SMALL_STREAM: usize = 256 << 10;

/// The destination of the rows.
pub(super) struct CopyIn<'a> {
    pub(super) session: &'a Session,
    /// Description of the table.
    pub(super) object: String,
    /// `COPY … FROM STDIN`.
    pub(super) statement: String,
    /// In binary, each piece of the stream consists of whole rows, without header and trailer.
    pub(super) format: CopyFormat,
    pub(super) idle_timeout: Duration,
    /// Runs first in the transaction; may be empty.
    pub(super) begin: &'a str,
}

impl CopyIn<'_> {
    /// Copies everything and commits; returns the number of rows.
    pub(super) async fn run<E>(&self, stream: impl Stream<Item = Result<Bytes, E>>) -> Result<u64, Error>
    where
        E: Into<BoxError>,
    {
        let mut stream = std::pin::pin!(stream.fuse());
        let mut rest: VecDeque<Bytes> = VecDeque::new();
        // Binary rows are counted before a piece is split, text rows when they are sent.
        let mut total = 0;
        let alone = self.begin.is_empty() && self.is_small(&mut stream, &mut rest).await?;
        if self.format == CopyFormat::Binary {
            for piece in &rest {
                total += count_rows(piece).map_err(|error| self.broken(error))?;
            }
        }
        if !alone {
            self.session.execute(&self.object, &format!("BEGIN; {}", self.begin)).await?;
        }
        let client = self.session.client();
        let copy = self.in_time(client.prepare(&self.statement)).await?.map_err(|e| self.failed(0, e))?;
        let mut before = 0;
        let mut ended = false;
        while !ended {
            self.session.work();
            let sink =
                self.in_time(client.copy_in::<_, Bytes>(&copy)).await?.map_err(|e| self.failed(before, e))?;
            let mut sink = std::pin::pin!(sink);
            let mut sent = 0;
            if self.format == CopyFormat::Binary {
                self.send(&mut sink, Bytes::from_static(HEADER), before).await?;
            }
            loop {
                let next = match rest.pop_front() {
                    Some(piece) => Some(Ok(piece)),
                    None => {
                        let next = stream.next().await;
                        if let (CopyFormat::Binary, Some(Ok(piece))) = (self.format, &next) {
                            total += count_rows(piece).map_err(|error| self.broken(error))?;
                        }
                        next
                    }
                };
                let mut piece = match next {
                    Some(Ok(piece)) => piece,
                    // Dropping the sink tells the server that the copy failed; it rolls back.
                    Some(Err(source)) => return Err(self.broken(source)),
                    None => {
                        ended = true;
                        break;
                    }
                };
                if piece.len() > MESSAGE {
                    rest.push_front(piece.split_off(MESSAGE));
                }
                let round_ends = match self.format {
                    _ if sent < COPY_BYTES => None,
                    CopyFormat::Text => memchr::memrchr(b'\n', &piece).map(|end| end + 1),
                    CopyFormat::Binary => rest.is_empty().then_some(piece.len()),
                };
                if let Some(end) = round_ends
                    && end < piece.len()
                {
                    rest.push_front(piece.split_off(end));
                }
                if self.format == CopyFormat::Text {
                    total += memchr::memchr_iter(b'\n', &piece).count() as u64;
                }
                sent += piece.len();
                self.send(&mut sink, piece, before).await?;
                if round_ends.is_some() {
                    break;
                }
            }
            if self.format == CopyFormat::Binary {
                self.send(&mut sink, Bytes::from_static(TRAILER), before).await?;
            }
            let taken = self.in_time(sink.finish()).await?.map_err(|e| self.failed(before, e))?;
            self.session.rest();
            if before + taken != total {
                return Err(Error::RowCount {
                    object: self.object.clone(),
                    sent: total,
                    taken: before + taken,
                });
            }
            before = total;
        }
        if !alone {
            self.session.execute(&self.object, "COMMIT").await?;
        }
        Ok(before)
    }

    /// Reads the beginning of a stream into `rest`, and returns whether it is complete: a single COPY is a
    /// transaction by itself, and most tables of a large schema are small. Not if the server could count other rows
    /// than were sent: then the transaction has to stay open until they are compared.
    async fn is_small<E>(
        &self,
        stream: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
        rest: &mut VecDeque<Bytes>,
    ) -> Result<bool, Error>
    where
        E: Into<BoxError>,
    {
        let mut bytes = 0;
        while bytes < SMALL_STREAM {
            match stream.next().await {
                Some(Ok(piece)) => {
                    bytes += piece.len();
                    rest.push_back(piece);
                }
                Some(Err(source)) => return Err(self.broken(source)),
                None => return Ok(self.format == CopyFormat::Binary || is_plain(rest)),
            }
        }
        Ok(false)
    }

    async fn send(
        &self,
        sink: &mut Pin<&mut CopyInSink<Bytes>>,
        piece: Bytes,
        before: u64,
    ) -> Result<(), Error> {
        self.in_time(sink.send(piece)).await?.map_err(|error| self.failed(before, error))
    }

    fn broken(&self, source: impl Into<BoxError>) -> Error {
        Error::Rows { object: self.object.clone(), source: source.into() }
    }

    /// The server's line numbers start over with each COPY: add the number of rows before it.
    fn failed(&self, before: u64, source: tokio_postgres::Error) -> Error {
        let object = match before {
            0 => self.object.clone(),
            before => format!("{}, after its first {before} rows", self.object),
        };
        Error::from_server(object, &self.statement, source)
    }

    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        tokio::time::timeout(self.idle_timeout, work)
            .await
            .map_err(|_| Error::Stalled { object: self.object.clone(), seconds: self.idle_timeout.as_secs() })
    }
}
