//! Restores the keys of an RDB stream into a server: pipelined RESTORE with absolute expiries.
//!
//! A value's bytes in an RDB are the body of its DUMP payload, so nothing is decoded if the server supports the type.
//! The payload is stamped with the lowest version that has the type, since servers refuse stamps newer than themselves
//! even if they support the type. A type that the server does not support is converted to one that it does. A value
//! that is longer than any argument may be, or too long to hold in memory, is sent as several commands; so is every
//! value if the server does not accept payloads.

mod capabilities;
mod choice;
mod chunked;
mod cluster;
mod collisions;
mod dry_run;
mod feed;
mod glob;
mod loader;
mod memory;
mod node_pipeline;
mod pipeline;
mod preflight;
mod replay;
mod routes;
mod settings;
mod stats;

use std::fmt;

use bytes::Bytes;
use futures::Stream;
use serde::Serialize;
use tokio::sync::mpsc;

pub(crate) use capabilities::modules_of;
pub use choice::{Expiries, KeyChoice};
pub(crate) use choice::{Matched, named, unmatched, without_keys, written};
pub use cluster::ClusterRestore;
pub use memory::{MemoryLimit, data_size, mebibytes, memory_limit};
pub use preflight::{server_identity, takes_all_of, unsupported};
pub use replay::{AofReport, UndatedExpiries, apply_aof};
pub use settings::{ExpiryBase, OnExisting, ReplayOptions, RestoreOptions};

use capabilities::Capabilities;
use feed::{Feed, Outlets};
use loader::Loader;
use pipeline::{Pipeline, Queue};
use stats::RestoreStats;

use crate::client::connection::Connection;
use crate::client::identity::{clock, identify};
use crate::client::wire::{Reader as WireReader, Writer};
use crate::compare::report::Progress;
use crate::convert::commands::{PlaceholderExpiries, UnsupportedValues};
use crate::rdb::Reader;
use crate::{ConnectOptions, Error, ServerIdentity};

/// The result of a restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RestoreReport {
    /// The target server.
    pub server: ServerIdentity,
    /// Number of keys restored.
    pub keys: u64,
    /// Number of keys that had already expired and were not sent.
    pub expired: u64,
    /// Number of existing keys that were kept ([`OnExisting::Skip`]).
    pub skipped: u64,
    /// Number of keys that were not selected.
    pub unwanted: u64,
    /// Number of lists, sets, sorted sets and hashes without elements: damage that no server accepts. They were not
    /// sent.
    pub empty: u64,
    /// Keys and other data that the server does not support.
    pub left_out: UnsupportedValues,
    /// The server's error message if it does not accept payloads: all values were sent as commands, which carry neither
    /// idle times nor access frequencies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_commands: Option<String>,
    /// Number of function libraries.
    pub functions: u64,
    /// Modules whose data outside of keys cannot be restored by commands.
    pub skipped_module_data: Vec<String>,
    /// Size of the RDB in bytes.
    pub bytes: u64,
    /// Number of keys that the server evicted during the restore because of its `maxmemory`.
    pub evicted: u64,
    /// Events of a restore into a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterRestore>,
}

impl fmt::Display for RestoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} keys restored, {} had expired, {} function libraries",
            self.keys, self.expired, self.functions
        )?;
        if self.unwanted > 0 {
            write!(f, ", {} were not selected", self.unwanted)?;
        }
        if self.skipped > 0 {
            write!(f, ", {} existed already and were kept", self.skipped)?;
        }
        if self.empty > 0 {
            write!(f, ", {} were empty, which no server allows, and were left out", self.empty)?;
        }
        if !self.skipped_module_data.is_empty() {
            write!(
                f,
                "; module data outside of keys was NOT restored: {}",
                self.skipped_module_data.join(", ")
            )?;
        }
        if !self.left_out.is_empty() {
            write!(f, "\nleft out, because the server does not support it:\n{}", self.left_out)?;
        }
        if self.evicted > 0 {
            write!(f, "\nthe server EVICTED {} keys meanwhile: its maxmemory is too small", self.evicted)?;
        }
        if let Some(cluster) = &self.cluster {
            write!(f, "{cluster}")?;
        }
        if let Some(words) = &self.by_commands {
            write!(
                f,
                "\nthe server does not accept RESTORE ({words}): all values were sent as commands, without idle times and access frequencies"
            )?;
        }
        Ok(())
    }
}

/// Maximum number of commands that wait for replies; together with socket buffers, this bounds the data in flight.
const WINDOW: usize = 4096;
/// The same in batches, where replies are tracked by batch.
const BATCHES: usize = 16;

/// Restores a stream into a server, which must be empty unless the settings say how to handle existing keys.
///
/// # Errors
/// [`Error::Refused`] if the server holds keys or functions, is a replica, or is the source itself: nothing was
/// written. Any later error says how many keys the server has accepted.
pub async fn restore<E>(
    stream: impl Stream<Item = Result<Bytes, E>>,
    options: &ConnectOptions,
    settings: &RestoreOptions,
    on_progress: &(dyn Fn(Progress) + Sync),
) -> Result<RestoreReport, Error>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (report, _) = restore_with(stream, options, settings, None, on_progress).await?;
    Ok(report)
}

/// Restores a stream, with placeholders for expiries if commands follow that may change them. Also returns the number
/// of hashes whose field TTLs are placeholders.
async fn restore_with<E>(
    stream: impl Stream<Item = Result<Bytes, E>>,
    options: &ConnectOptions,
    settings: &RestoreOptions,
    placeholders: Option<PlaceholderExpiries>,
    on_progress: &(dyn Fn(Progress) + Sync),
) -> Result<(RestoreReport, u64), Error>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if options.is_cluster() {
        if placeholders.is_some() {
            return Err(cluster::no_commands(options));
        }
        return Box::pin(cluster::restore(stream, options, settings, on_progress))
            .await
            .map(|done| (done, 0));
    }
    let mut connection = Connection::open(options).await?;
    let server = identify(&mut connection, options).await?;
    preflight::refuse_unsuitable(&mut connection, &server, settings).await?;
    let now = clock(&mut connection).await?;
    let capabilities = Capabilities::ask(&mut connection, &server).await?;
    let evicted = memory::evicted(&mut connection).await?;
    if settings.flush.is_some() {
        preflight::flush(&mut connection, &server).await?;
    }
    let mut readers = Vec::new();
    let mut outlets = Vec::new();
    let mut first = Some(connection);
    for _ in 0..settings.connections.max(1) {
        let Connection { reader, writer } = match first.take() {
            Some(connection) => connection,
            None => Connection::open(options).await?,
        };
        let (sent, awaited) = mpsc::channel::<Queue>(BATCHES);
        readers.push((reader, awaited));
        outlets.push(Outlet { writer, sent });
    }
    let target = options.address();
    let skip = settings.on_existing == OnExisting::Skip;
    let mut loader = Loader::new(settings, &capabilities, server.at_least(5, 0), now);
    loader.placeholders = placeholders;
    let mut rdb = Reader::new().try_newer(settings.try_newer);
    let mut outlets = Connections(outlets);
    let feeding = Feed { server: &server, settings, on_progress };
    let feed = feeding.run(stream, &mut rdb, &mut loader, &mut outlets);
    let stats = RestoreStats::new(&target, skip);
    let check = futures::future::try_join_all(
        readers.iter_mut().map(|(reader, awaited)| check_replies(reader, awaited, &stats)),
    );
    let (feed, check) = {
        // When the server refuses a key, feeding must stop as well, and the refusal is what is reported.
        let mut feed = std::pin::pin!(feed);
        let mut check = std::pin::pin!(check);
        tokio::select! {
            biased;
            checked = &mut check => (None, checked),
            fed = &mut feed => match fed {
                Ok(()) => (Some(Ok(())), check.await),
                Err(error) => (Some(Err(error)), Ok(Vec::new())),
            },
        }
    };
    if let Some(fed) = feed {
        fed?;
    }
    check?;
    on_progress(Progress { bytes: rdb.offset(), keys: stats.keys() });
    drop(readers);
    let evicted = memory::evicted_since(options, evicted).await?;
    let mortal = loader.mortal;
    Ok((RestoreReport::of(loader, &stats, server, rdb.offset(), evicted), mortal))
}

impl RestoreReport {
    /// The report of a restore into a single server that replied to everything.
    fn of(
        loader: Loader<'_>,
        stats: &RestoreStats<'_>,
        server: ServerIdentity,
        bytes: u64,
        evicted: u64,
    ) -> RestoreReport {
        RestoreReport {
            keys: stats.keys(),
            evicted,
            skipped: stats.skipped(),
            expired: loader.expired + stats.expired_count(),
            unwanted: loader.unwanted,
            empty: loader.empty,
            left_out: loader.unsupported,
            by_commands: loader.capabilities.no_restore.clone(),
            functions: loader.functions,
            skipped_module_data: loader.modules,
            bytes,
            server,
            cluster: None,
        }
    }
}

/// Reads the replies to everything that one connection sends.
///
/// # Errors
/// The server refused a command.
async fn check_replies(
    reader: &mut WireReader,
    awaited: &mut mpsc::Receiver<Queue>,
    stats: &RestoreStats<'_>,
) -> Result<(), Error> {
    while let Some(batch) = awaited.recv().await {
        let mut rest = batch.sent.as_slice();
        while !rest.is_empty() {
            let (taken, missing) = rest.split_at(reader.take_ok(rest.len()));
            stats.all_taken(taken);
            rest = missing;
            let Some((sent, behind)) = rest.split_first() else { break };
            rest = behind;
            stats.note(sent, batch.name(sent), reader.reply(OPERATION).await?)?;
        }
    }
    Ok(())
}

/// The writing half of a connection, and the channel that tells the reading half which replies to expect.
struct Outlet {
    writer: Writer,
    sent: mpsc::Sender<Queue>,
}

const OPERATION: &str = "restoring keys; the keys it has accepted remain there: clear it before retrying";

/// The connections of one server, a pipeline to each.
struct Connections(Vec<Outlet>);

impl Outlets for Connections {
    async fn flush(&mut self, pipelines: &mut [Pipeline], beyond: usize) -> Result<bool, Error> {
        let mut any = false;
        for (pipeline, outlet) in pipelines.iter_mut().zip(&mut self.0) {
            if pipeline.out.len() <= beyond {
                continue;
            }
            any = true;
            // Both at once: more may be queued than the other side accepts before it sees replies.
            let (queue, sent) = (std::mem::take(&mut pipeline.queue), &outlet.sent);
            let note = async {
                // The other side ends early only with an error of its own, which is then the one that is reported.
                let _ = sent.send(queue).await;
            };
            let ((), result) = futures::join!(note, outlet.writer.send(&pipeline.out, OPERATION));
            pipeline.out.clear();
            pipeline.commands = 0;
            if pipeline.out.capacity() > 4 << 20 {
                pipeline.out = Vec::new();
            }
            result?;
        }
        Ok(any)
    }

    fn close(&mut self) {
        self.0.clear();
    }
}
