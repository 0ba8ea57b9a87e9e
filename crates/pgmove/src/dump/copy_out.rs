//! The stream of a table's rows, as its consumers read it.

use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::channel::mpsc::{self, Receiver, Sender};
use futures::{SinkExt as _, Stream, StreamExt as _};
use tokio::task::{JoinError, JoinSet};

use crate::Error;
use crate::digest::TableProof;
use crate::dump::copy_reader::CopyReader;

/// A stream of rows as COPY sends them, in pieces of whole rows; in binary without header and trailer. If dropped before
/// its end, it closes its connection and cancels the statement; a shared connection stays open.
///
/// A separate task reads and hashes the rows, one piece ahead. The server sends one message per row, 8 KiB at a time: if
/// the task that writes the pieces read them, each of these would wake another thread.
pub struct CopyOut {
    pieces: Receiver<Bytes>,
    /// Returns the proof, or the error that ended the rows.
    reader: JoinSet<Result<Option<TableProof>, Error>>,
    proof: Option<TableProof>,
}

impl CopyOut {
    pub(super) fn of(reader: CopyReader) -> CopyOut {
        // One piece for the sender and no more: memory stays bounded when a row is as long as a message can be.
        let (sender, pieces) = mpsc::channel(0);
        let mut tasks = JoinSet::new();
        tasks.spawn(read(reader, sender));
        CopyOut { pieces, reader: tasks, proof: None }
    }

    /// Rows, bytes and digest of the whole stream; `None` before its end, and for rows in binary
    /// ([`CopyFormat::Binary`](crate::CopyFormat)).
    pub fn proof(&self) -> Option<TableProof> {
        self.proof
    }
}

async fn read(mut rows: CopyReader, mut pieces: Sender<Bytes>) -> Result<Option<TableProof>, Error> {
    while let Some(piece) = rows.next().await {
        // Without a receiver this task is about to be aborted.
        if pieces.send(piece?).await.is_err() {
            break;
        }
    }
    Ok(rows.proof())
}

/// Reads to the end, only for the proof.
pub(crate) async fn drain(rows: CopyReader) -> Result<TableProof, Error> {
    let mut reader = JoinSet::new();
    reader.spawn(rows.drain());
    match reader.join_next().await {
        Some(ended) => ended.unwrap_or_else(|error| Err(interrupted(error))),
        None => Ok(TableProof::default()),
    }
}

/// A task ends without a result if it panicked (the panic is resumed here) or if the runtime shuts down.
fn interrupted(error: JoinError) -> Error {
    match error.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        Err(error) => Error::options(format!("reading rows was interrupted: {error}")),
    }
}

impl Stream for CopyOut {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(piece) = ready!(self.pieces.poll_next_unpin(context)) {
            return Poll::Ready(Some(Ok(piece)));
        }
        match ready!(self.reader.poll_join_next(context)) {
            None => Poll::Ready(None),
            Some(Ok(Ok(proof))) => {
                self.proof = proof;
                Poll::Ready(None)
            }
            Some(Ok(Err(error))) => Poll::Ready(Some(Err(error))),
            Some(Err(error)) => Poll::Ready(Some(Err(interrupted(error)))),
        }
    }
}
