//! A stream of COPY text into a table: one transaction, and many COPY statements in it.
//!
//! The driver hears of an error only when a COPY ends. With one COPY for a table of 100 GB, a bad first row would be
//! reported after all the others were sent; so a COPY ends now and then, between two rows, and the next one begins.

use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures::SinkExt as _;
use futures::stream::{Stream, StreamExt as _};

use crate::Error;
use crate::connect::Session;
use crate::digest::RowHasher;

/// So many bytes go into one COPY statement, about.
const ROUND: usize = 32 << 20;

/// Whether text is rows alone: the last one is whole, and none could be taken for the end of all.
fn is_plain(text: &VecDeque<Bytes>) -> bool {
    let bytes = || text.iter().flat_map(|piece| piece.iter().copied());
    let marks = bytes().zip(bytes().skip(1)).any(|pair| pair == (b'\\', b'.'));
    !marks && bytes().last().is_none_or(|last| last == b'\n')
}

/// So many go into one message: the server refuses one that is longer than 1 GB, and a row may be nearly as long.
const MESSAGE: usize = 4 << 20;

/// A stream that is shorter goes into a transaction of one COPY.
const SMALL: usize = 256 << 10;

/// Where the rows go.
pub(super) struct CopyIn<'a> {
    pub(super) session: &'a Session,
    /// The table, in words.
    pub(super) object: String,
    /// `COPY … FROM STDIN`.
    pub(super) statement: String,
    pub(super) patience: Duration,
    /// Runs first in the transaction; may be empty.
    pub(super) begin: &'a str,
}

impl CopyIn<'_> {
    /// Copies everything and commits; gives the number of rows.
    pub(super) async fn run<E>(&self, stream: impl Stream<Item = Result<Bytes, E>>) -> Result<u64, Error>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut stream = std::pin::pin!(stream.fuse());
        let mut rest: VecDeque<Bytes> = VecDeque::new();
        let alone = self.begin.is_empty() && self.is_small(&mut stream, &mut rest).await?;
        if !alone {
            self.session.execute(&self.object, &format!("BEGIN; {}", self.begin)).await?;
        }
        let client = self.session.client();
        let copy = self.in_time(client.prepare(&self.statement)).await?.map_err(|e| self.failed(0, e))?;
        let mut hasher = RowHasher::default();
        let mut before = 0;
        let mut ended = false;
        while !ended {
            self.session.work();
            let sink =
                self.in_time(client.copy_in::<_, Bytes>(&copy)).await?.map_err(|e| self.failed(before, e))?;
            let mut sink = std::pin::pin!(sink);
            let mut sent = 0;
            loop {
                let next = match rest.pop_front() {
                    Some(piece) => Some(Ok(piece)),
                    None => stream.next().await,
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
                let round_ends = if sent >= ROUND { memchr::memrchr(b'\n', &piece) } else { None };
                if let Some(end) = round_ends
                    && end + 1 < piece.len()
                {
                    rest.push_front(piece.split_off(end + 1));
                }
                hasher.update(&piece);
                sent += piece.len();
                self.in_time(sink.send(piece)).await?.map_err(|e| self.failed(before, e))?;
                if round_ends.is_some() {
                    break;
                }
            }
            let taken = self.in_time(sink.finish()).await?.map_err(|e| self.failed(before, e))?;
            self.session.rest();
            let total = hasher.proof().rows;
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

    /// Reads the beginning of a stream into `rest`, and says whether it is all: one COPY is a transaction by itself, and
    /// most tables of a large schema are small. Not so where the server could count other rows than came: then the
    /// transaction has to stay open until they are compared.
    async fn is_small<E>(
        &self,
        stream: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
        rest: &mut VecDeque<Bytes>,
    ) -> Result<bool, Error>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut bytes = 0;
        while bytes < SMALL {
            match stream.next().await {
                Some(Ok(piece)) => {
                    bytes += piece.len();
                    rest.push_back(piece);
                }
                Some(Err(source)) => return Err(self.broken(source)),
                None => return Ok(is_plain(rest)),
            }
        }
        Ok(false)
    }

    fn broken(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Rows { object: self.object.clone(), source: source.into() }
    }

    /// The server's line numbers begin anew with each COPY: the rows before it are said.
    fn failed(&self, before: u64, source: tokio_postgres::Error) -> Error {
        let object = match before {
            0 => self.object.clone(),
            before => format!("{}, after its first {before} rows", self.object),
        };
        Error::from_server(object, &self.statement, source)
    }

    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        tokio::time::timeout(self.patience, work)
            .await
            .map_err(|_| Error::Stalled { object: self.object.clone(), seconds: self.patience.as_secs() })
    }
}
