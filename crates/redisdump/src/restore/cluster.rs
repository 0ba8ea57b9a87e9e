//! Restores an RDB stream into a cluster: each key to the master of its slot, functions to every master.

use std::fmt;

use bytes::Bytes;
use futures::Stream;
use serde::Serialize;
use tokio::sync::mpsc;

use super::feed::{Feed, Outlets};
use super::loader::Loader;
use super::node_pipeline::{Batch, Events, NodePipeline};
use super::pipeline::Pipeline;
use super::routes::Routes;
use super::settings::{OnExisting, RestoreOptions};
use super::stats::RestoreStats;
use super::{RestoreReport, memory, preflight};
use crate::client::connection::Connection;
use crate::client::identity::identify;
use crate::cluster::{Topology, each_master};
use crate::compare::report::Progress;
use crate::conflict::Conflict;
use crate::rdb::Reader;
use crate::{ConnectOptions, Error, ServerIdentity};

/// Batches queued for one pipeline, in addition to those in flight.
const QUEUE_LENGTH: usize = 2;

/// How the keys reached the masters of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ClusterRestore {
    /// Number of masters at the start.
    pub masters: usize,
    /// Number of commands that a different node than the expected one executed.
    pub redirected: u64,
    /// Failovers: from which node to which node.
    pub failovers: Vec<String>,
}

impl fmt::Display for ClusterRestore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ", into {} masters", self.masters)?;
        if self.redirected > 0 {
            write!(f, "; {} commands were redirected, because slots moved meanwhile", self.redirected)?;
        }
        if !self.failovers.is_empty() {
            write!(
                f,
                "\nfailover during the restore ({}): keys that the old master had accepted but not replicated are lost; only a comparison detects them",
                self.failovers.join(", ")
            )?;
        }
        Ok(())
    }
}

/// Restores a stream into a cluster.
pub(super) async fn restore<E>(
    stream: impl Stream<Item = Result<Bytes, E>>,
    options: &ConnectOptions,
    settings: &RestoreOptions,
    on_progress: &(dyn Fn(Progress) + Sync),
) -> Result<RestoreReport, Error>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (server, capabilities, now) = preflight::asked(options).await?;
    refuse_unsuitable(options, &server, settings).await?;
    let topology = Topology::read(options).await?;
    preflight::refuse(&server, topology.gaps().into_iter().map(Conflict::from).collect())?;
    if settings.flush.is_some() {
        each_master(options, |node| async move {
            let mut connection = Connection::open(&node).await?;
            let server = identify(&mut connection, &node).await?;
            preflight::flush(&mut connection, &server).await
        })
        .await?;
    }
    let evicted = memory::evicted_of_all(options).await?;
    let masters = topology.masters.len();
    let each = settings.connections.max(1).div_ceil(masters);
    let spread = RestoreOptions { connections: each * masters, ..settings.clone() };
    let routes = Routes::new(&topology, each);
    let events = Events::default();
    let target = options.address();
    let taken = RestoreStats::new(&target, settings.on_existing == OnExisting::Skip);
    let mut senders = Vec::new();
    let mut pipes = Vec::new();
    for (number, node) in topology.masters.iter().enumerate() {
        for _ in 0..each {
            let (sender, awaited) = mpsc::channel(QUEUE_LENGTH);
            senders.push(sender);
            let pipe = NodePipeline {
                cluster: options,
                routes: &routes,
                events: &events,
                taken: &taken,
                was_empty: settings.on_existing == OnExisting::Refuse,
                node: number,
                slot: node.slots.first().unwrap_or_default(),
                at: (node.host.clone(), node.port),
                awaited,
            };
            pipes.push(pipe.run());
        }
    }
    let mut loader = Loader::new(&spread, &capabilities, server.at_least(5, 0), now).routed(&routes);
    let mut rdb = Reader::new().try_newer(settings.try_newer);
    let mut outlets = NodePipelines(senders);
    let feeding = Feed { server: &server, settings, on_progress };
    let feed = feeding.run(stream, &mut rdb, &mut loader, &mut outlets);
    let pipes = futures::future::try_join_all(pipes);
    {
        // When a master refuses a key, feeding must stop as well, and the refusal is what is reported.
        let (mut feed, mut pipes) = (std::pin::pin!(feed), std::pin::pin!(pipes));
        tokio::select! {
            biased;
            done = &mut pipes => {
                done?;
                feed.await?;
            }
            fed = &mut feed => {
                fed?;
                pipes.await?;
            }
        }
    }
    on_progress(Progress { bytes: rdb.offset(), keys: taken.keys() });
    let cluster = ClusterRestore {
        masters,
        redirected: events.redirected.into_inner(),
        failovers: events.failovers.into_inner().unwrap_or_default(),
    };
    let evicted = memory::evicted_since(options, evicted).await?;
    let report = RestoreReport::of(loader, &taken, server, rdb.offset(), evicted);
    Ok(RestoreReport { cluster: Some(cluster), ..report })
}

/// The pipelines to the masters of a cluster, a pipeline to each.
struct NodePipelines(Vec<mpsc::Sender<Batch>>);

impl Outlets for NodePipelines {
    async fn flush(&mut self, pipelines: &mut [Pipeline], beyond: usize) -> Result<bool, Error> {
        let mut any = false;
        for (pipeline, sender) in pipelines.iter_mut().zip(&self.0) {
            if pipeline.out.len() <= beyond {
                continue;
            }
            any = true;
            let batch = Batch {
                bytes: std::mem::take(&mut pipeline.out),
                commands: std::mem::take(&mut pipeline.commands),
                queue: std::mem::take(&mut pipeline.queue),
            };
            // The pipeline ends early only with an error of its own, which is then the one that is reported.
            let _ = sender.send(batch).await;
        }
        Ok(any)
    }

    fn close(&mut self) {
        self.0.clear();
    }
}

/// Refuses a cluster that is the source, or in which any master is not empty when all must be.
async fn refuse_unsuitable(
    options: &ConnectOptions,
    server: &ServerIdentity,
    settings: &RestoreOptions,
) -> Result<(), Error> {
    let mut connection = Connection::open(options).await?;
    preflight::refuse_unsuitable(&mut connection, server, settings).await?;
    if settings.on_existing != OnExisting::Refuse || settings.flush.is_some() {
        return Ok(());
    }
    let conflicts = each_master(options, |node| async move {
        let mut connection = Connection::open(&node).await?;
        let server = identify(&mut connection, &node).await?;
        let found = preflight::occupied(&mut connection, &server).await?;
        Ok(found.into_iter().map(|conflict| (server.address.clone(), conflict)).collect::<Vec<_>>())
    })
    .await?;
    let mut shown = Vec::new();
    for (address, conflict) in conflicts.into_iter().flatten() {
        shown.push(preflight::existing(format!("{address}: {conflict}"), server));
    }
    preflight::refuse(server, shown)
}

/// Commands of an append-only file may name keys of several slots.
pub(super) fn no_commands(options: &ConnectOptions) -> Error {
    Error::Refused {
        what: format!("an append-only file cannot be replayed into the cluster of {}", options.display()),
        conflicts: vec![
            "its commands may use keys of several slots: replay it into a single server, then migrate that server".into(),
        ],
    }
}
