//! Rows out of a table: COPY text in handy pieces, hashed on the way.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{FutureExt as _, Stream, StreamExt as _};
use tokio::time::{Instant, Sleep, sleep};
use tokio_postgres::CopyOutStream;

use crate::Error;
use crate::catalog::{QualifiedName, large_objects_table};
use crate::connect::{Session, VIEWS, pinned_text, restricted};
use crate::digest::{RowHasher, TableProof};
use crate::pool::{Lease, Pool};
use crate::quote::ident;
use crate::source::PageRange;
use crate::value_settings::ValueSettings;

/// The server sends a message a row; the consumer gets pieces of about this size.
const PIECE: usize = 64 << 10;

/// Large objects are read in pieces of this many bytes.
pub(crate) const LARGE_OBJECT_PIECE: usize = 256 << 10;

/// What is read of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) table: &'a QualifiedName,
    pub(crate) columns: &'a [String],
    /// Which heap pages; all when nothing is said.
    pub(crate) pages: Option<PageRange>,
    /// The relation that its rows are read from with all its heirs, where they lie in another one: in a chunk.
    pub(crate) relation: Option<&'a QualifiedName>,
    /// A `WHERE …` clause, as an extension gives it for its configuration tables.
    pub(crate) condition: &'a str,
    /// Set where the condition is the user's own.
    pub(crate) chosen: Option<Chosen<'a>>,
    /// Columns that are read as another type.
    pub(crate) casts: &'a BTreeMap<String, String>,
}

/// What a condition of the user's needs: `at::date = '2024-01-02'` is true of other rows under other settings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chosen<'a> {
    pub(crate) values: &'a ValueSettings,
    /// Whether the rows may hold money.
    pub(crate) money: bool,
}

impl Wanted<'_> {
    /// The COPY statement. A table without columns to copy is read as it is: each of its rows is an empty line.
    pub(crate) fn statement(self) -> String {
        if *self.table == large_objects_table() {
            return large_objects_statement();
        }
        let columns: Vec<_> = self.columns.iter().map(|column| ident(column)).collect();
        let columns = columns.join(", ");
        let table = self.table;
        let condition = match self.pages {
            Some((from, Some(to))) => format!("WHERE ctid >= '({from},0)'::tid AND ctid < '({to},0)'::tid"),
            Some((from, None)) => format!("WHERE ctid >= '({from},0)'::tid"),
            None => self.condition.to_owned(),
        };
        // A chunk that is compressed gives its rows to a SELECT, and none to a COPY or to ONLY.
        let from = self.relation.map_or_else(|| format!("ONLY {table}"), ToString::to_string);
        if let Some((source, pinned)) = self.chosen.and_then(|chosen| chosen.values.switches(chosen.money)) {
            // Row by row: the condition under the source's settings, then the row's text under the pinned ones. OFFSET
            // keeps the inner query apart, and no parallel worker runs what changes settings.
            let chosen = condition.strip_prefix("WHERE ").unwrap_or("true");
            return format!(
                "COPY (SELECT {columns} FROM (SELECT {columns} FROM {from} WHERE CASE WHEN {source} THEN {chosen} END OFFSET 0) q \
                 WHERE {pinned}) TO STDOUT"
            );
        }
        if !self.casts.is_empty() {
            let expression = |column: &String| match self.casts.get(column) {
                Some(kind) => format!("{}::{kind}", ident(column)),
                None => ident(column).into_owned(),
            };
            let columns: Vec<String> = self.columns.iter().map(expression).collect();
            format!("COPY (SELECT {} FROM {from} {condition}) TO STDOUT", columns.join(", "))
        } else if self.relation.is_some() || !condition.is_empty() {
            format!("COPY (SELECT {columns} FROM {from} {condition}) TO STDOUT")
        } else if columns.is_empty() {
            format!("COPY {table} TO STDOUT")
        } else {
            format!("COPY {table} ({columns}) TO STDOUT")
        }
    }
}

/// Every large object as rows: object, offset, bytes. An empty one has one row without bytes. Nobody but a superuser
/// may read `pg_largeobject` itself; `lo_get` asks for the right to each object alone. An object is read until a piece
/// is short, for its length stands nowhere.
fn large_objects_statement() -> String {
    let size = LARGE_OBJECT_PIECE;
    format!(
        "COPY (SELECT o.oid, p.at, p.bytes FROM pg_catalog.pg_largeobject_metadata o, LATERAL ( \
         WITH RECURSIVE piece(at, bytes) AS ( \
           SELECT 0::int8, pg_catalog.lo_get(o.oid, 0, {size}) \
           UNION ALL SELECT at + {size}, pg_catalog.lo_get(o.oid, at + {size}, {size}) FROM piece \
             WHERE pg_catalog.length(bytes) = {size} \
         ) SELECT at, bytes FROM piece WHERE at = 0 OR pg_catalog.length(bytes) > 0) p ORDER BY o.oid) TO STDOUT"
    )
}

/// The session that is read on.
enum Holder {
    Own(Box<Lease>),
    Shared(Arc<Session>),
}

impl Holder {
    fn session(&self) -> &Session {
        match self {
            Holder::Own(lease) => lease.session(),
            Holder::Shared(session) => session,
        }
    }
}

/// A stream of COPY text, in pieces of whole rows. Dropped before its end, it closes its connection and cancels the
/// server's work for it; a connection that it shares with others goes on.
pub struct CopyOut {
    rows: Option<Pin<Box<CopyOutStream>>>,
    holder: Option<Holder>,
    /// Whether the session has settings that nobody else is to meet.
    spent: bool,
    object: String,
    statement: String,
    hasher: RowHasher,
    buffer: BytesMut,
    watchdog: Pin<Box<Sleep>>,
    patience: Duration,
    alive: bool,
}

impl CopyOut {
    /// Begins to read on a session of the pool.
    pub(crate) async fn start(pool: &Pool, wanted: Wanted<'_>, patience: Duration) -> Result<CopyOut, Error> {
        CopyOut::start_on(Holder::Own(Box::new(pool.get().await?)), wanted, patience).await
    }

    /// Begins to read on a session that others use too: they wait until this one has been read to its end.
    pub(crate) async fn start_shared(
        session: Arc<Session>,
        wanted: Wanted<'_>,
        patience: Duration,
    ) -> Result<CopyOut, Error> {
        CopyOut::start_on(Holder::Shared(session), wanted, patience).await
    }

    async fn start_on(holder: Holder, wanted: Wanted<'_>, patience: Duration) -> Result<CopyOut, Error> {
        let statement = wanted.statement();
        let mut object = match *wanted.table == large_objects_table() {
            true => "large objects".to_owned(),
            false => format!("table {}", wanted.table),
        };
        if let Some((from, _)) = wanted.pages {
            let _ = write!(object, " from page {from}");
        }
        match (wanted.chosen, &holder) {
            // The user's condition may ask for views, and is parsed under the source's settings.
            (Some(chosen), _) => {
                let sql = restricted("", true) + ";" + &chosen.values.for_condition();
                holder.session().execute(&object, &sql).await?;
            }
            // Whoever read before may have left settings of the source.
            (None, Holder::Shared(session)) => {
                let sql = restricted(VIEWS, true) + ";" + &pinned_text(session.server());
                session.execute(&object, &sql).await?;
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
        Ok(CopyOut {
            rows: Some(Box::pin(rows)),
            holder: Some(holder),
            spent: wanted.chosen.is_some(),
            object,
            statement,
            hasher: RowHasher::default(),
            buffer: BytesMut::new(),
            watchdog: Box::pin(sleep(patience)),
            patience,
            alive: false,
        })
    }

    /// Rows, bytes and digest of the whole stream; nothing before its end.
    pub fn proof(&self) -> Option<TableProof> {
        (self.rows.is_none() && self.holder.is_none()).then(|| self.hasher.proof())
    }

    /// Reads to the end for the proof alone.
    pub(crate) async fn drain(mut self) -> Result<TableProof, Error> {
        while let Some(piece) = self.next().await {
            piece?;
        }
        Ok(self.hasher.proof())
    }
}

impl Stream for CopyOut {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let Some(rows) = &mut this.rows else { return Poll::Ready(None) };
            match rows.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(row))) => {
                    this.alive = true;
                    this.hasher.update(&row);
                    if this.buffer.capacity() < row.len() {
                        this.buffer.reserve(row.len().max(PIECE + PIECE / 4));
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
                    if let Some(holder) = this.holder.take() {
                        holder.session().rest();
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
                        let error =
                            Error::Stalled { object: this.object.clone(), seconds: this.patience.as_secs() };
                        return Poll::Ready(Some(Err(error)));
                    }
                    this.watchdog.as_mut().reset(Instant::now() + this.patience);
                }
            }
        }
    }
}
