//! Captures a whole cluster: each master as of one point in time, all queried at the same time.
//!
//! The masters' points in time are close together but not equal. The slots of each master are read from it before, and
//! again after all keys have arrived: if anything moved meanwhile, keys may have been read twice or not at all, and the
//! capture is not used.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};

use futures::StreamExt as _;

use super::{Capture, CaptureOptions, Consistency};
use crate::capture::stats::{CaptureReport, CapturedNode};
use crate::client::connection::Connection;
use crate::client::identity::{functions, identify};
use crate::cluster::{Node, Topology, each_master, merge};
use crate::compare::digest_log::DigestLog;
use crate::{ConnectOptions, Error, ServerIdentity};

/// All masters of a cluster, each with a stream of its RDB. The streams must be read concurrently: servers do not wait
/// long.
pub struct ClusterCapture {
    server: ServerIdentity,
    options: ConnectOptions,
    before: Topology,
    nodes: Vec<NodeCapture>,
    warnings: Vec<String>,
}

/// One master of a cluster.
pub struct NodeCapture {
    /// What is known about it before its keys have arrived.
    pub node: CapturedNode,
    /// Its RDB.
    pub capture: Capture,
}

impl ClusterCapture {
    /// Checks that each slot has one master and that none is moving, and requests snapshots of all masters.
    ///
    /// # Errors
    /// [`Error::Refused`] for a cluster that is incomplete or is moving slots; for a master, as [`Capture::start`].
    pub async fn start(options: &ConnectOptions, settings: &CaptureOptions) -> Result<ClusterCapture, Error> {
        ClusterCapture::begin(options, settings, None).await
    }

    async fn begin(
        options: &ConnectOptions,
        settings: &CaptureOptions,
        log: Option<DigestLog>,
    ) -> Result<ClusterCapture, Error> {
        let before = Topology::settled(options).await?;
        let mut connection = Connection::open(options).await?;
        let server = identify(&mut connection, options).await?;
        drop(connection);
        let mut logs = log.map(|log| log.divided(before.masters.len())).unwrap_or_default().into_iter();
        let captures = before.masters.iter().map(|node| {
            let slots = Some(Arc::new(node.slots.clone()));
            let (at, log) = (options.at(&node.host, node.port), logs.next());
            async move { Capture::begin(&at, settings, log, slots).await }
        });
        let captures = futures::future::try_join_all(captures).await?;
        let first = captures.iter().map(|capture| capture.moment).min();
        let mut warnings = Vec::new();
        let nodes: Vec<NodeCapture> = before
            .masters
            .iter()
            .zip(captures)
            .map(|(node, capture)| {
                warnings.extend(capture.warnings().iter().cloned());
                let after = first.map_or(0, |first| capture.moment.duration_since(first).as_millis());
                let after_ms = u64::try_from(after).unwrap_or(u64::MAX);
                NodeCapture { node: described(node, after_ms), capture }
            })
            .collect();
        warnings.extend(other_functions(options).await?);
        let options = options.clone();
        Ok(ClusterCapture { server, options, before, nodes, warnings })
    }

    /// The cluster that was reached.
    pub fn server(&self) -> &ServerIdentity {
        &self.server
    }

    /// Warnings about this capture.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The masters, in the order of their slots.
    pub fn nodes(&mut self) -> &mut [NodeCapture] {
        &mut self.nodes
    }

    /// After all streams have ended, checks that the cluster has not changed, and sums up the statistics.
    ///
    /// # Errors
    /// [`Error::ClusterChanged`]; a stream that was not read to its end.
    pub async fn finish(self) -> Result<CaptureReport, Error> {
        unchanged(&self.options, &self.before).await?;
        let mut reports = Vec::new();
        for NodeCapture { node, capture } in self.nodes {
            let report = capture.report().ok_or_else(|| unfinished(&node))?;
            reports.push((node, report));
        }
        sum(self.server, reports, self.warnings)
    }
}

/// The whole cluster as one RDB.
pub(super) async fn whole(
    options: &ConnectOptions,
    settings: &CaptureOptions,
    log: Option<DigestLog>,
) -> Result<Capture, Error> {
    let moment = std::time::Instant::now();
    let ClusterCapture { server, options, before, nodes, warnings } =
        ClusterCapture::begin(options, settings, log).await?;
    let mut parts = Vec::new();
    let mut streams = Vec::new();
    for NodeCapture { node, capture } in nodes {
        parts.push((node, capture.done.clone(), capture.digests.clone()));
        streams.push(capture.boxed());
    }
    let (done, digests) = (Arc::new(OnceLock::new()), Arc::new(Mutex::new(None)));
    let ready = (done.clone(), digests.clone());
    let end = (options, before, parts, server.clone(), warnings.clone(), ready);
    let state = (Box::pin(merge(streams)), end);
    let pieces = futures::stream::try_unfold(state, |(mut merged, end)| async move {
        if let Some(piece) = merged.next().await.transpose()? {
            return Ok(Some((piece, (merged, end))));
        }
        let (options, before, parts, server, warnings, (done, digests)) = end;
        unchanged(&options, &before).await?;
        let (mut reports, mut logs) = (Vec::new(), Vec::new());
        for (node, of_node, log) in parts {
            let report = of_node.get().cloned().ok_or_else(|| unfinished(&node))?;
            reports.push((node, report));
            logs.extend(log.lock().ok().and_then(|mut log| log.take()));
        }
        if let Ok(mut digests) = digests.lock() {
            *digests = DigestLog::joined(logs);
        }
        let _ = done.set(sum(server, reports, warnings)?);
        Ok::<_, Error>(None)
    });
    Ok(Capture { server, warnings, pieces: Box::pin(pieces), done, digests, moment })
}

fn described(node: &Node, after_ms: u64) -> CapturedNode {
    CapturedNode {
        id: node.id.clone(),
        address: node.address(),
        slots: node.slots.to_string(),
        keys: 0,
        replication_id: String::new(),
        replication_offset: -1,
        after_ms,
    }
}

/// Whether the cluster is unchanged.
async fn unchanged(options: &ConnectOptions, before: &Topology) -> Result<(), Error> {
    let changes = match Topology::settled(options).await {
        Ok(after) => before.changes(&after),
        Err(Error::Refused { conflicts, .. }) => {
            conflicts.into_iter().map(|conflict| conflict.reason).collect()
        }
        Err(error @ (Error::Connect { .. } | Error::Lost { .. })) => vec![error.to_string()],
        Err(error) => return Err(error),
    };
    match changes.is_empty() {
        true => Ok(()),
        false => Err(Error::ClusterChanged { target: options.display().to_string(), changes }),
    }
}

/// Each master has its own functions; they should be the same on all masters.
async fn other_functions(options: &ConnectOptions) -> Result<Option<String>, Error> {
    let found = each_master(options, |node| async move {
        let mut connection = Connection::open(&node).await?;
        let server = identify(&mut connection, &node).await?;
        Ok(match functions(&mut connection, &server).await {
            Ok(found) => found,
            // A user who may not list them still captures them.
            Err(Error::Server { .. }) => None,
            Err(error) => return Err(error),
        })
    });
    let found: BTreeSet<Vec<u128>> = found.await?.into_iter().flatten().collect();
    Ok((found.len() > 1).then(|| {
        "the masters of the cluster have different function libraries: those of all masters are captured"
            .to_owned()
    }))
}

fn unfinished(node: &CapturedNode) -> Error {
    Error::stream(format!("the capture of {} ended without a report", node.address))
}

fn sum(
    server: ServerIdentity,
    reports: Vec<(CapturedNode, CaptureReport)>,
    warnings: Vec<String>,
) -> Result<CaptureReport, Error> {
    let mut parts = reports.into_iter();
    let (node, first) = parts.next().ok_or_else(|| Error::stream("a cluster without a master"))?;
    let counted = |node: CapturedNode, report: &CaptureReport| CapturedNode {
        keys: report.keys(),
        replication_id: report.replication_id.clone(),
        replication_offset: report.replication_offset,
        ..node
    };
    let consistency = |one: Consistency| match one {
        Consistency::PointInTime => Consistency::EachNode,
        other => other,
    };
    let mut all = CaptureReport {
        nodes: vec![counted(node, &first)],
        server,
        replication_id: String::new(),
        replication_offset: -1,
        consistency: consistency(first.consistency),
        warnings,
        ..first
    };
    for (node, report) in parts {
        all.nodes.push(counted(node, &report));
        all.rdb_version = all.rdb_version.max(report.rdb_version);
        all.bytes += report.bytes;
        for (db, count) in report.databases {
            let sum = all.databases.entry(db).or_default();
            sum.keys += count.keys;
            sum.expires += count.expires;
        }
        for (kind, keys) in report.types {
            *all.types.entry(kind).or_default() += keys;
        }
        all.functions = all.functions.max(report.functions);
        for module in report.modules {
            if !all.modules.contains(&module) {
                all.modules.push(module);
            }
        }
        all.digest = all.digest.and(report.digest);
        if report.consistency != Consistency::PointInTime {
            all.consistency = report.consistency;
        }
        all.gone_meanwhile += report.gone_meanwhile;
    }
    Ok(all)
}
