//! Captures a server's RDB, requested as a replica would; where that is forbidden, assembled from its keys ([`scan`]).
//!
//! `PSYNC ? -1` makes the server send a snapshot of all databases and functions at one point in time, without access to
//! its files. With `REPLCONF rdb-only 1` (6.2 and newer), it does not even keep a replication buffer for us. The bytes
//! are forwarded as they arrive and parsed meanwhile: counts, digest and checksum need no second pass.

mod cluster;
mod folder;
mod limits;
mod nodes;
mod payload;
mod questions;
mod scan;
pub(crate) mod stats;

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

pub use nodes::{ClusterCapture, NodeCapture};
pub(crate) use scan::length;

pub use folder::{AofContents, FolderCapture, FolderFile, FolderReport, Persistence};

use bytes::Bytes;
use futures::Stream;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;

use crate::capture::stats::{CaptureReport, CaptureStats};
use crate::client::connection::Connection;
use crate::client::identity::identify;
use crate::cluster::{SlotSet, slot_of};
use crate::compare::digest_log::DigestLog;
use crate::error::forbids;
use crate::rdb::Reader;
use crate::{ConnectOptions, Error, ServerIdentity};
use redis::cmd;

/// How a capture is made.
#[derive(Debug, Clone)]
pub struct CaptureOptions {
    /// The capture method.
    pub method: CaptureMethod,
    /// Maximum number of key names kept in memory while keys are read one by one, about 40 bytes each. A database with
    /// more keys is scanned several times, each time for a different part of the keys; no value is read twice.
    pub remembered_keys: u64,
}

impl Default for CaptureOptions {
    fn default() -> Self {
        CaptureOptions { method: CaptureMethod::default(), remembered_keys: 800_000 }
    }
}

impl CaptureOptions {
    /// With this capture method.
    pub fn by(method: CaptureMethod) -> CaptureOptions {
        CaptureOptions { method, ..CaptureOptions::default() }
    }
}

/// How the keys of a server are captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaptureMethod {
    /// By replication; key by key if the server does not know PSYNC or forbids it, with a warning.
    #[default]
    Auto,
    /// By replication: one point in time, or an error.
    Psync,
    /// Key by key, with SCAN and DUMP. Each key is as of the time at which it was read.
    Scan,
}

/// The point in time that a capture represents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// All keys as of one point in time.
    #[default]
    PointInTime,
    /// Each key as of the time at which it was read; no common point in time.
    EachKey,
    /// The keys of each master of a cluster as of one point in time, different for each master.
    EachNode,
    /// As [`Consistency::EachKey`], but a key's expiry may be older than its value: the server forbids MULTI.
    EachPart,
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Consistency::PointInTime => "all keys as of one point in time",
            Consistency::EachNode => "the keys of each master as of one point in time",
            Consistency::EachKey => "each key as of when it was read, not one point in time",
            Consistency::EachPart => {
                "each key, and separately its expiry, as of when it was read, not one point in time"
            }
        })
    }
}

/// Maximum number of bytes forwarded at a time.
const PIECE: usize = 64 << 10;
/// Length of the random marker at the end of a transfer without a length.
const MARK: usize = 40;

/// How the end of the transfer is recognized.
#[derive(Debug, Clone)]
enum End {
    /// This number of bytes is left.
    Length(u64),
    /// This marker follows the RDB.
    Mark(Vec<u8>),
}

/// A stream of RDB bytes. [`Capture::report`] describes the contents after its end.
pub struct Capture {
    server: ServerIdentity,
    warnings: Vec<String>,
    pieces: Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>,
    done: Arc<OnceLock<CaptureReport>>,
    digests: Arc<Mutex<Option<DigestLog>>>,
    /// When the server took its snapshot.
    moment: Instant,
}

impl Capture {
    /// Connects and requests the snapshot. The stream begins when the server has it.
    ///
    /// # Errors
    /// A server that cannot be reached or queried; one that refuses PSYNC, unless the refusal is permanent and
    /// [`CaptureMethod::Auto`] allows reading the keys one by one.
    pub async fn start(options: &ConnectOptions, settings: &CaptureOptions) -> Result<Capture, Error> {
        Capture::of(options, settings, None).await
    }

    /// The same, and keeps the digest of each key: see [`Capture::digests`].
    ///
    /// # Errors
    /// As [`Capture::start`].
    pub async fn start_with_digests(
        options: &ConnectOptions,
        settings: &CaptureOptions,
        digests: DigestLog,
    ) -> Result<Capture, Error> {
        Capture::of(options, settings, Some(digests)).await
    }

    async fn of(
        options: &ConnectOptions,
        settings: &CaptureOptions,
        log: Option<DigestLog>,
    ) -> Result<Capture, Error> {
        match options.is_cluster() {
            true => nodes::whole(options, settings, log).await,
            false => Capture::begin(options, settings, log, None).await,
        }
    }

    async fn begin(
        options: &ConnectOptions,
        settings: &CaptureOptions,
        log: Option<DigestLog>,
        slots: Option<Arc<SlotSet>>,
    ) -> Result<Capture, Error> {
        let mut connection = Connection::open(options).await?;
        let server = identify(&mut connection, options).await?;
        let warnings: Vec<String> = match slots {
            // The other nodes of its cluster are captured, too.
            Some(_) => Vec::new(),
            None => cluster::of_node(&mut connection, &server, options).await?.into_iter().collect(),
        };
        let mut stats = CaptureStats::keeping(log);
        stats.slots = slots;
        if settings.method == CaptureMethod::Scan {
            return Capture::scan(connection, server, settings, warnings, stats).await;
        }
        // An old server answers what it does not know with an error, which does no harm.
        connection.reply_to(cmd("REPLCONF").arg(&["capa", "eof", "capa", "psync2"])).await?.ok();
        connection.reply_to(cmd("REPLCONF").arg("rdb-only").arg(1)).await?.ok();
        // Valkey writes an old RDB version for a replica that does not state its version; request the version that the
        // server itself uses.
        connection.reply_to(cmd("REPLCONF").arg("version").arg(&server.version)).await?.ok();
        let (replication_id, replication_offset) = match psync(&mut connection).await? {
            Ok(granted) => granted,
            Err(words) if settings.method == CaptureMethod::Auto && forbids(&words) => {
                let mut warnings = warnings;
                warnings.push(format!(
                    "{server} refuses a snapshot (PSYNC: {words}), so its keys are read one by one"
                ));
                let connection = Connection::open(options).await?;
                return Capture::scan(connection, server, settings, warnings, stats).await;
            }
            Err(words) => {
                return Err(Error::Server {
                    target: connection.reader.target().to_owned(),
                    operation: "PSYNC (a snapshot by replication)".to_owned(),
                    message: format!(
                        "{words}. Managed services often forbid it; the user needs +psync +replconf, and a replica needs \
                         its master. Without it keys can be read one by one (capture = \"scan\")"
                    ),
                });
            }
        };
        let moment = Instant::now();
        let transfer = Transfer {
            connection,
            options: options.clone(),
            end: None,
            reader: Reader::new(),
            stats,
            failed: false,
            mark: Vec::new(),
        };
        let (done, digests) = (Arc::new(OnceLock::new()), Arc::new(Mutex::new(None)));
        let ready = (done.clone(), digests.clone());
        let report = (ready, server.clone(), replication_id, replication_offset, warnings.clone());
        let pieces = futures::stream::try_unfold((transfer, report), |(mut transfer, report)| async move {
            match transfer.next().await? {
                Some(piece) => Ok(Some((piece, (transfer, report)))),
                None => {
                    let ((done, digests), server, id, offset, warnings) = report;
                    store_digests(&digests, &mut transfer.stats);
                    let _ = done.set(CaptureReport { warnings, ..transfer.report(server, id, offset)? });
                    Ok(None)
                }
            }
        });
        Ok(Capture { server, warnings, pieces: Box::pin(pieces), done, digests, moment })
    }

    /// Reads the keys one by one; `warnings` are those collected so far.
    async fn scan(
        connection: Connection,
        server: ServerIdentity,
        settings: &CaptureOptions,
        mut warnings: Vec<String>,
        stats: CaptureStats,
    ) -> Result<Capture, Error> {
        let moment = Instant::now();
        let mut scan = scan::Scan::begin(connection, &server, settings.remembered_keys, stats).await?;
        // A warning is needed if this method was not requested.
        if let Some(refused) = warnings.last_mut().filter(|_| settings.method == CaptureMethod::Auto) {
            refused.push_str(&format!(": {}", scan.consistency()));
        }
        warnings.append(&mut scan.warnings);
        scan.warnings = warnings;
        let warnings = scan.warnings.clone();
        let (done, digests) = (Arc::new(OnceLock::new()), Arc::new(Mutex::new(None)));
        let report = (done.clone(), digests.clone(), server.clone());
        let pieces = futures::stream::try_unfold((scan, report), |(mut scan, report)| async move {
            match scan.next().await? {
                Some(piece) => Ok(Some((piece, (scan, report)))),
                None => {
                    let (done, digests, server) = report;
                    store_digests(&digests, &mut scan.stats);
                    let _ = done.set(scan.report(server)?);
                    Ok(None)
                }
            }
        });
        Ok(Capture { server, warnings, pieces: Box::pin(pieces), done, digests, moment })
    }

    /// Warnings about this capture: that it is not of one point in time, or lacks functions.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The server that was reached.
    pub fn server(&self) -> &ServerIdentity {
        &self.server
    }

    /// The digests of the captured keys, if requested; `None` until the stream has ended successfully.
    pub fn digests(&self) -> Option<DigestLog> {
        self.digests.lock().ok()?.take()
    }

    /// The statistics of the capture; `None` until the stream has ended successfully.
    pub fn report(&self) -> Option<CaptureReport> {
        self.done.get().cloned()
    }
}

fn store_digests(digests: &Mutex<Option<DigestLog>>, stats: &mut CaptureStats) {
    if let Ok(mut digests) = digests.lock() {
        *digests = stats.log.take();
    }
}

impl Stream for Capture {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pieces.as_mut().poll_next(context)
    }
}

/// Requests a snapshot. Returns its replication id and offset, or the server's error message if it refuses.
async fn psync(connection: &mut Connection) -> Result<Result<(String, i64), String>, Error> {
    connection.writer.send(&cmd("PSYNC").arg("?").arg(-1).get_packed_command(), "PSYNC").await?;
    let line = loop {
        // While it forks, the server sends bare newlines to keep the connection alive.
        let line = connection.reader.line("PSYNC").await?;
        if !line.is_empty() {
            break line;
        }
    };
    let mut words = line.split_whitespace();
    Ok(match (words.next(), words.next(), words.next().and_then(|n| n.parse().ok())) {
        (Some("+FULLRESYNC"), Some(id), Some(offset)) => Ok((id.to_owned(), offset)),
        _ => Err(line.trim_start_matches('-').to_owned()),
    })
}

struct Transfer {
    connection: Connection,
    /// For asking the server why it closed the connection.
    options: ConnectOptions,
    end: Option<End>,
    reader: Reader,
    stats: CaptureStats,
    failed: bool,
    mark: Vec<u8>,
}

impl Transfer {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if self.failed {
            return Ok(None);
        }
        let result = self.step().await;
        self.failed = result.is_err();
        match result {
            // A server that no longer answers is not asked why.
            Err(Error::Lost { target, source, .. }) if source.kind() != std::io::ErrorKind::TimedOut => {
                let operation = limits::explain(&self.options).await;
                Err(Error::Lost { target, operation, source })
            }
            other => other,
        }
    }

    async fn step(&mut self) -> Result<Option<Bytes>, Error> {
        let end = match self.end.clone() {
            Some(end) => end,
            None => self.begin().await?,
        };
        let most = match end {
            End::Length(0) => {
                return match self.reader.is_complete() {
                    true => Ok(None),
                    false => Err(self
                        .reader
                        .finish()
                        .map_or_else(Error::from, |_| self.position_mismatch("the RDB is longer"))),
                };
            }
            End::Length(left) => PIECE.min(usize::try_from(left).unwrap_or(PIECE)),
            End::Mark(_) => PIECE,
        };
        if self.reader.is_complete() {
            return self.finish_mark(&end).await;
        }
        let mut piece = vec![0; most];
        let got = self.connection.reader.socket.read(&mut piece).await;
        let n = match got {
            Ok(0) => Err(std::io::ErrorKind::UnexpectedEof.into()),
            other => other,
        }
        .map_err(|e| self.connection.reader.lost(SENDING, e))?;
        piece.truncate(n);
        let used = self.reader.feed(&piece, &mut self.stats)?;
        match &mut self.end {
            Some(End::Length(left)) => {
                *left = left.saturating_sub(n as u64);
                if used < n {
                    return Err(self.position_mismatch("the transfer is longer"));
                }
            }
            _ => self.mark.extend_from_slice(piece.get(used..).unwrap_or_default()),
        }
        piece.truncate(used);
        Ok(Some(Bytes::from(piece)))
    }

    /// Reads the line before the transfer: `$<length>` or `$EOF:<marker>`.
    async fn begin(&mut self) -> Result<End, Error> {
        let line = loop {
            let line = self.connection.reader.line("waiting for the snapshot").await?;
            if !line.is_empty() {
                break line;
            }
        };
        let end = match line.strip_prefix('$').map(|rest| (rest.strip_prefix("EOF:"), rest.parse())) {
            Some((Some(mark), _)) if mark.len() == MARK => End::Mark(mark.as_bytes().to_vec()),
            Some((None, Ok(length))) => End::Length(length),
            _ => {
                let target = self.connection.reader.target().to_owned();
                let operation = "sending its snapshot".to_owned();
                return Err(Error::Server {
                    target,
                    operation,
                    message: line.trim_start_matches('-').to_owned(),
                });
            }
        };
        self.end = Some(end.clone());
        Ok(end)
    }

    /// After the end of the RDB: the marker, then nothing relevant.
    async fn finish_mark(&mut self, end: &End) -> Result<Option<Bytes>, Error> {
        if let End::Mark(mark) = end {
            while self.mark.len() < MARK {
                let mut rest = [0; MARK];
                let got = self.connection.reader.socket.read(&mut rest).await;
                let n = match got {
                    Ok(0) => Err(std::io::ErrorKind::UnexpectedEof.into()),
                    other => other,
                }
                .map_err(|e| self.connection.reader.lost(SENDING, e))?;
                self.mark.extend_from_slice(rest.get(..n).unwrap_or_default());
            }
            if !self.mark.starts_with(mark) {
                return Err(self.position_mismatch("the end marker differs from the announced one"));
            }
        }
        Ok(None)
    }

    fn position_mismatch(&self, message: &str) -> Error {
        Error::Transfer { target: self.connection.reader.target().to_owned(), message: message.to_owned() }
    }

    fn report(&self, server: ServerIdentity, id: String, offset: i64) -> Result<CaptureReport, Error> {
        refuse_outside(&self.stats, self.connection.reader.target())?;
        let report = self.stats.report(server, &self.reader)?;
        Ok(CaptureReport { replication_id: id, replication_offset: offset, ..report })
    }
}

/// Refuses keys on a cluster node that are not in its own slots: clients of the cluster do not see them, and another
/// node may have keys with the same names.
fn refuse_outside(stats: &CaptureStats, target: &str) -> Result<(), Error> {
    let Some((keys, first)) = stats.outside() else { return Ok(()) };
    Err(Error::Server {
        target: target.to_owned(),
        operation: SENDING.to_owned(),
        message: format!(
            "it holds {keys} keys of slots that are not its own, such as {} of slot {}: `redis-cli --cluster fix` \
             repairs that",
            crate::display::shown(first),
            slot_of(first)
        ),
    })
}

/// The operation in progress if the connection is lost; [`limits`] determines the reason.
const SENDING: &str = "its snapshot was sent";
