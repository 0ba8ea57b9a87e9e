//! Reads the rows of one COPY from its connection, in pieces of whole rows, and hashes them.

use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{FutureExt as _, Stream, StreamExt as _};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_postgres::CopyOutStream;

use crate::Error;
use crate::catalog::large_objects_table;
use crate::connect::{Session, VIEWS, pinned_text, restricted};
use crate::copy_format::{BinaryMessages, CopyFormat, Malformed};
use crate::digest::{RowHasher, TableProof};
use crate::dump::LockHolder;
use crate::dump::copy_statement::{CopySource, large_objects_in_order};
use crate::dump::pool::{Lease, Pool};
use crate::dump::rate::ReadLimit;

/// The server sends a message per row; the consumer gets pieces of about this size.
const PIECE: usize = 64 << 10;

/// The session to read on.
enum Holder {
    Own(Box<Lease>),
    Shared(Arc<LockHolder>),
}

impl Holder {
    fn session(&self) -> &Session {
        match self {
            Holder::Own(lease) => lease.session(),
            Holder::Shared(holder) => &holder.session,
        }
    }
}

/// A stream of COPY text, in pieces of whole rows. If dropped before its end, it closes its connection and cancels the
/// statement; a shared connection stays open.
pub(crate) struct CopyReader {
    rows: Option<Pin<Box<CopyOutStream>>>,
    holder: Option<Holder>,
    /// Whether the session has settings that must not affect other users of it.
    spent: bool,
    /// Whether the lock on the table is released at the end.
    scoped: bool,
    large_objects: bool,
    /// Called when everything was read.
    then: Option<Box<dyn FnOnce() + Send + Sync>>,
    object: String,
    statement: String,
    hasher: RowHasher,
    /// Set for binary rows, which have no digest.
    binary: Option<BinaryMessages>,
    buffer: BytesMut,
    /// A long row that follows the buffered ones.
    next: Option<Bytes>,
    watchdog: Pin<Box<Sleep>>,
    idle_timeout: Duration,
    alive: bool,
    /// Rate limit for rows.
    limit: Option<Arc<ReadLimit>>,
    /// Bytes that were read but not yet counted.
    unpaused: usize,
    /// End of the current pause.
    pause: Option<Pin<Box<Sleep>>>,
}

impl CopyReader {
    /// Starts reading on a session of the pool.
    pub(crate) async fn start(
        pool: &Pool,
        wanted: CopySource<'_>,
        idle_timeout: Duration,
    ) -> Result<CopyReader, Error> {
        CopyReader::start_on(Holder::Own(Box::new(pool.get().await?)), false, wanted, idle_timeout).await
    }

    /// The same on a session in a transaction, which releases its lock on the table when everything was read.
    pub(crate) async fn start_in_transaction(
        pool: &Pool,
        wanted: CopySource<'_>,
        idle_timeout: Duration,
    ) -> Result<CopyReader, Error> {
        CopyReader::start_on(Holder::Own(Box::new(pool.get().await?)), true, wanted, idle_timeout).await
    }

    /// Starts reading on the session that holds the locks. Others use it too, and wait until this stream has been
    /// read to its end.
    pub(crate) async fn start_shared(
        holder: Arc<LockHolder>,
        wanted: CopySource<'_>,
        idle_timeout: Duration,
    ) -> Result<CopyReader, Error> {
        CopyReader::start_on(Holder::Shared(holder), false, wanted, idle_timeout).await
    }

    /// Registers a callback for when everything was read.
    pub(crate) fn then(self, work: impl FnOnce() + Send + Sync + 'static) -> CopyReader {
        CopyReader { then: Some(Box::new(work)), ..self }
    }

    /// Limits the read rate.
    pub(crate) fn limited(self, limit: Option<Arc<ReadLimit>>) -> CopyReader {
        let pause = limit.as_ref().map(|limit| Box::pin(sleep_until(limit.read(0))));
        CopyReader { limit, pause, ..self }
    }

    async fn start_on(
        holder: Holder,
        scoped: bool,
        wanted: CopySource<'_>,
        idle_timeout: Duration,
    ) -> Result<CopyReader, Error> {
        let statement = wanted.statement();
        let large_objects = *wanted.table == large_objects_table();
        let mut object = match large_objects {
            true => "large objects".to_owned(),
            false => format!("table {}", wanted.table),
        };
        if scoped {
            // Sent without waiting for the response: the next statement fails if this one did.
            let _ = holder.session().client().batch_execute("SAVEPOINT rows").now_or_never();
        }
        if large_objects {
            holder.session().execute(&object, &large_objects_in_order("off")).await?;
        }
        if let Some((from, _)) = wanted.pages {
            let _ = write!(object, " from page {from}");
        }
        match (wanted.chosen, &holder) {
            // The user's condition may use views, and is parsed under the source's settings.
            (Some(chosen), _) => {
                let sql = restricted("", true) + ";" + &chosen.values.for_condition();
                holder.session().execute(&object, &sql).await?;
            }
            // A previous stream may have left settings of the source.
            (None, Holder::Shared(shared)) => {
                let sql = restricted(VIEWS, true) + ";" + &pinned_text(shared.session.server());
                shared.session.execute(&object, &sql).await?;
            }
            (None, Holder::Own(_)) => {}
        }
        holder.session().work();
        let rows = holder
            .session()
            .client()
            .copy_out(&statement)
            .await
            .map_err(|e| Error::from_server(&object, &statement, e))?;
        Ok(CopyReader {
            rows: Some(Box::pin(rows)),
            holder: Some(holder),
            spent: wanted.chosen.is_some(),
            scoped,
            then: None,
            large_objects,
            object,
            statement,
            hasher: RowHasher::default(),
            binary: (wanted.format == CopyFormat::Binary).then(BinaryMessages::default),
            buffer: BytesMut::new(),
            next: None,
            watchdog: Box::pin(sleep(idle_timeout)),
            idle_timeout,
            alive: false,
            limit: None,
            unpaused: 0,
            pause: None,
        })
    }

    /// Rows, bytes and digest of the whole stream; `None` before its end, and for rows in binary.
    pub(super) fn proof(&self) -> Option<TableProof> {
        let ended = self.rows.is_none() && self.holder.is_none();
        (ended && self.binary.is_none()).then(|| self.hasher.proof())
    }

    /// The rows of a message from the server; text is hashed.
    fn take(&mut self, message: Bytes) -> Result<Bytes, Error> {
        if let Some(binary) = &mut self.binary {
            return binary.rows(message).map_err(|error| self.malformed(error));
        }
        self.hasher.update(&message);
        Ok(message)
    }

    fn malformed(&self, error: Malformed) -> Error {
        Error::Rows { object: self.object.clone(), source: Box::new(error) }
    }

    /// Reads to the end, only for the proof.
    pub(super) async fn drain(mut self) -> Result<TableProof, Error> {
        while let Some(piece) = self.next().await {
            piece?;
        }
        Ok(self.hasher.proof())
    }
}

impl Stream for CopyReader {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(row) = this.next.take() {
                return Poll::Ready(Some(Ok(row)));
            }
            if let Some(pause) = &mut this.pause {
                ready!(pause.poll_unpin(context));
                this.pause = None;
            }
            let Some(rows) = &mut this.rows else { return Poll::Ready(None) };
            match rows.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(message))) => {
                    this.alive = true;
                    let row = match this.take(message) {
                        Ok(row) => row,
                        Err(error) => {
                            this.rows = None;
                            return Poll::Ready(Some(Err(error)));
                        }
                    };
                    this.unpaused += row.len();
                    if let Some(limit) = &this.limit
                        && this.unpaused >= PIECE
                    {
                        let until = limit.read(std::mem::take(&mut this.unpaused));
                        this.pause = Some(Box::pin(sleep_until(until)));
                    }
                    // A row as large as a piece is neither copied nor combined with others: it may be as long as the
                    // longest message of a server.
                    if row.len() >= PIECE {
                        if this.buffer.is_empty() {
                            return Poll::Ready(Some(Ok(row)));
                        }
                        this.next = Some(row);
                        return Poll::Ready(Some(Ok(this.buffer.split().freeze())));
                    }
                    if this.buffer.capacity() < row.len() {
                        this.buffer.reserve(PIECE + PIECE / 4);
                    }
                    this.buffer.extend_from_slice(&row);
                    if this.buffer.len() >= PIECE {
                        return Poll::Ready(Some(Ok(this.buffer.split().freeze())));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    this.rows = None;
                    let error = Error::from_server(&this.object, &this.statement, error);
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => {
                    this.rows = None;
                    if let Some(Err(error)) = this.binary.as_ref().map(BinaryMessages::finish) {
                        return Poll::Ready(Some(Err(this.malformed(error))));
                    }
                    if let Some(limit) = &this.limit {
                        limit.read(std::mem::take(&mut this.unpaused));
                    }
                    if let Some(holder) = this.holder.take() {
                        holder.session().rest();
                        let mut sql = String::new();
                        if this.scoped {
                            sql += "ROLLBACK TO SAVEPOINT rows; RELEASE SAVEPOINT rows;";
                        }
                        if this.large_objects {
                            sql += &large_objects_in_order("DEFAULT");
                        }
                        if !sql.is_empty() {
                            let _ = holder.session().client().batch_execute(&sql).now_or_never();
                        }
                        if let Some(then) = this.then.take() {
                            then();
                        }
                        if let (Holder::Own(lease), false) = (holder, this.spent) {
                            lease.give_back();
                        }
                    }
                    let rest = this.buffer.split().freeze();
                    return Poll::Ready((!rest.is_empty()).then_some(Ok(rest)));
                }
                Poll::Pending => {
                    ready!(this.watchdog.poll_unpin(context));
                    if !std::mem::take(&mut this.alive) {
                        this.rows = None;
                        let error = Error::Stalled {
                            object: this.object.clone(),
                            seconds: this.idle_timeout.as_secs(),
                        };
                        return Poll::Ready(Some(Err(error)));
                    }
                    this.watchdog.as_mut().reset(Instant::now() + this.idle_timeout);
                }
            }
        }
    }
}
