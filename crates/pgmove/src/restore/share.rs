//! Loads one stream of rows on several connections.
//!
//! The server parses the rows of a COPY on one core. If one table is most of a database, the other connections would
//! wait for it: so an idle connection takes blocks of rows from the same stream.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::future::try_join;
use futures::stream::{self, Stream, StreamExt as _};
use tokio::sync::{Notify, mpsc};

use super::copy_in::CopyIn;
use super::{RestorePlan, Target};
use crate::Error;
use crate::catalog::{QualifiedName, large_objects_table};
use crate::copy_format::CopyFormat;
use crate::error::BoxError;

/// Approximate number of bytes of whole rows per block.
const BLOCK: usize = 1 << 20;
/// Number of blocks in the queue.
const QUEUE_LENGTH: usize = 2;

/// A stream that several connections load.
#[derive(Debug)]
pub(super) struct Shared {
    table: QualifiedName,
    blocks: tokio::sync::Mutex<mpsc::Receiver<Vec<Bytes>>>,
    state: Mutex<State>,
    /// Notified when a helper is done.
    done: Notify,
    /// The stream has ended.
    ended: AtomicBool,
    /// The rows received so far must not be committed.
    broken: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    helpers: usize,
    rows: u64,
    failed: Option<Error>,
}

/// Why a connection stops loading. The connection that failed reports the error itself.
#[derive(Debug)]
struct LoadStopped;

impl fmt::Display for LoadStopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another connection failed to load rows of this table")
    }
}

impl std::error::Error for LoadStopped {}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        self.broken.store(true, Ordering::Release);
    }

    /// The blocks for one connection.
    fn blocks(self: &Arc<Self>) -> impl Stream<Item = Result<Bytes, LoadStopped>> + use<> {
        let next = |shared: Option<Arc<Shared>>| async move {
            let shared = shared?;
            let block = shared.blocks.lock().await.recv().await;
            if shared.broken.load(Ordering::Acquire) {
                return Some((vec![Err(LoadStopped)], None));
            }
            Some((block?.into_iter().map(Ok).collect(), Some(shared)))
        };
        stream::unfold(Some(Arc::clone(self)), next).flat_map(stream::iter)
    }
}

/// Splits a stream into blocks of whole rows. In text, newlines in values are escaped, so every newline ends a row.
async fn feed<E>(
    stream: impl Stream<Item = Result<Bytes, E>>,
    format: CopyFormat,
    blocks: mpsc::Sender<Vec<Bytes>>,
) -> Result<(), E> {
    let mut stream = std::pin::pin!(stream);
    let (mut block, mut bytes) = (VecDeque::new(), 0);
    while let Some(piece) = stream.next().await {
        let mut piece: Bytes = piece?;
        bytes += piece.len();
        let end = match format {
            _ if bytes < BLOCK => None,
            CopyFormat::Text => memchr::memrchr(b'\n', &piece).map(|end| end + 1),
            // Each piece consists of whole rows.
            CopyFormat::Binary => Some(piece.len()),
        };
        let Some(end) = end else {
            block.push_back(piece);
            continue;
        };
        let rest = piece.split_off(end);
        block.push_back(piece);
        if blocks.send(block.drain(..).collect()).await.is_err() {
            return Ok(());
        }
        bytes = rest.len();
        block.push_back(rest);
    }
    block.retain(|piece| !piece.is_empty());
    if !block.is_empty() {
        // The receiver is closed only if loading failed, and that error is reported by the loader.
        drop(blocks.send(block.into()).await);
    }
    Ok(())
}

impl Target {
    /// As [`Target::copy_in`], for the only stream of a table that is most of the data: while [`Target::run_graph`]
    /// runs, idle connections help. Not for a table that contained rows before, and not if rejected tables are
    /// skipped, because each connection commits its own rows.
    pub async fn copy_in_shared<E: Into<BoxError>>(
        &self,
        plan: &RestorePlan,
        table: &QualifiedName,
        stream: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<u64, Error> {
        if *table == large_objects_table() {
            return self.copy_in(plan, table, stream).await;
        }
        let (sender, receiver) = mpsc::channel(QUEUE_LENGTH);
        let shared = Arc::new(Shared {
            table: table.clone(),
            blocks: tokio::sync::Mutex::new(receiver),
            state: Mutex::default(),
            done: Notify::new(),
            ended: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        });
        self.shares.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&shared));
        self.share_begun.notify_one();
        let fed = async {
            let done = feed(stream, plan.copy_format(table), sender).await;
            shared.ended.store(true, Ordering::Release);
            done.map_err(|source| {
                shared.stop();
                Error::Rows { object: format!("table {table}"), source: source.into() }
            })
        };
        let own = async {
            let done = self.load_blocks(plan, &shared).await;
            done.inspect_err(|_| shared.stop())
        };
        let done = try_join(fed, own).await;
        shared.ended.store(true, Ordering::Release);
        self.shares
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|other| !Arc::ptr_eq(other, &shared));
        if done.is_ok() {
            loop {
                let next = shared.done.notified();
                if shared.state().helpers == 0 {
                    break;
                }
                next.await;
            }
        }
        // A failed helper stopped the others: report its error.
        if let Some(error) = shared.state().failed.take() {
            return Err(error);
        }
        let (_, rows) = done?;
        Ok(rows + shared.state().rows)
    }

    async fn load_blocks(&self, plan: &RestorePlan, shared: &Arc<Shared>) -> Result<u64, Error> {
        let lease = self.context.workers.get().await?;
        let copy = CopyIn {
            session: lease.session(),
            object: format!("table {}", shared.table),
            statement: plan.copy_in_statement(&shared.table, &shared.table, false),
            format: plan.copy_format(&shared.table),
            idle_timeout: self.context.options.idle_timeout,
            begin: "",
        };
        let rows = copy.run(shared.blocks()).await?;
        lease.give_back();
        Ok(rows)
    }

    /// A stream that another connection may help to load; the caller must then call [`Target::help`].
    pub(super) fn joinable(&self) -> Option<Arc<Shared>> {
        let most = self.context.options.jobs.saturating_sub(1);
        let shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        shares.iter().find_map(|shared| {
            let mut state = shared.state();
            let open = !shared.ended.load(Ordering::Acquire) && state.helpers < most;
            open.then(|| {
                state.helpers += 1;
                Arc::clone(shared)
            })
        })
    }

    /// Loads blocks of a shared stream until it ends.
    pub(super) async fn help(&self, plan: &RestorePlan, shared: &Arc<Shared>) {
        let done = self.load_blocks(plan, shared).await;
        let mut state = shared.state();
        match done {
            Ok(rows) => state.rows += rows,
            // Stopped because of another connection's failure.
            Err(_) if shared.broken.load(Ordering::Acquire) => {}
            Err(error) => {
                state.failed = Some(error);
                shared.stop();
            }
        }
        state.helpers -= 1;
        drop(state);
        shared.done.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn blocks_end_at_rows_and_nothing_is_lost() {
        let row = |n: usize| format!("{n}\t{}\n", "x".repeat(n % 5000));
        let all: String = (0..4000).map(row).collect();
        let pieces: Vec<Result<Bytes, LoadStopped>> =
            all.as_bytes().chunks(70_001).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let (sender, mut receiver) = mpsc::channel(1000);
        feed(stream::iter(pieces), CopyFormat::Text, sender).await.unwrap();
        let (mut found, mut blocks) = (Vec::new(), 0);
        while let Some(block) = receiver.recv().await {
            block.iter().for_each(|piece| found.extend_from_slice(piece));
            assert_eq!(found.last(), Some(&b'\n'), "a block ends with a row");
            blocks += 1;
        }
        assert!(blocks > 5, "{blocks} blocks");
        assert_eq!(found, all.as_bytes());
    }
}
