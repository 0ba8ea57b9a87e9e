//! A Redis or Valkey Cluster as one source: one part per master, read as one RDB.

use std::time::Duration;

use anyhow::Context as _;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use repository::{Part, PartHeader, Repository, SnapshotWriter, SourceRecord};

use crate::config::Kind;
use crate::endpoint::Endpoint;
use crate::jobs::parts::only_part;
use crate::jobs::record::{PART_CLUSTER_RDB, PART_RDB, attributes};
use crate::jobs::redis::load::RdbStream;
use crate::ui::{Progress, count};

/// Number of attempts to capture a cluster that changes meanwhile.
const ATTEMPTS: u32 = 3;
/// How long to wait between attempts for the cluster to settle: a failover takes its node timeout and an election.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(120);

/// Stores all masters of a cluster. Starts over if slots or roles change meanwhile.
pub(crate) async fn store(
    source: &Endpoint,
    options: &redisdump::ConnectOptions,
    writer: &SnapshotWriter,
    progress: &Progress,
) -> anyhow::Result<SourceRecord> {
    for attempt in 1..ATTEMPTS {
        match store_once(source, options, writer, progress).await {
            Err(error) if is_changed(&error) => {
                progress.warn(format!("{error:#}; capturing again ({} of {ATTEMPTS})", attempt + 1));
                // If the cluster does not settle, the next attempt says why.
                let _ = redisdump::wait_until_settled(options, SETTLE_TIMEOUT).await;
            }
            done => return done,
        }
    }
    store_once(source, options, writer, progress)
        .await
        .with_context(|| format!("{} was captured {ATTEMPTS} times", options.display()))
}

/// Whether the cluster changed or lost a node, so that another attempt may succeed.
fn is_changed(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<redisdump::Error>().is_some_and(redisdump::Error::is_cluster_changed)
    })
}

async fn store_once(
    source: &Endpoint,
    options: &redisdump::ConnectOptions,
    writer: &SnapshotWriter,
    progress: &Progress,
) -> anyhow::Result<SourceRecord> {
    let method = redisdump::CaptureOptions::by(source.capture);
    let mut cluster = redisdump::ClusterCapture::start(options, &method).await?;
    for warning in cluster.warnings() {
        progress.warn(warning);
    }
    progress.stage(&format!("copying {} from {}", source.name, cluster.server()), None);
    let task = progress.task(source.name.clone(), None, "keys");
    let nodes = cluster.nodes();
    let number = nodes.len();
    let mut stored: Vec<(usize, Part)> = stream::iter(nodes.iter_mut().enumerate())
        .map(|(at, node)| {
            let task = &task;
            async move {
                let header = PartHeader::new(format!("{}/{at:05}/dump.rdb", source.name), PART_CLUSTER_RDB);
                let counted = (&mut node.capture).inspect_ok(|piece| task.advance(piece.len() as u64, 0));
                Ok::<_, repository::Error>((at, writer.write_part(header, counted).await?))
            }
        })
        // All at once: a server disconnects a replica that does not read.
        .buffer_unordered(number.max(1))
        .try_collect()
        .await?;
    stored.sort_by_key(|(at, _)| *at);
    let report = cluster.finish().await?;
    task.advance(0, report.keys());
    task.finish();
    let mut parts = Vec::new();
    for ((_, mut part), node) in stored.into_iter().zip(&report.nodes) {
        part.attributes = attributes(node)?;
        parts.push(part);
    }
    let apart = report.nodes.iter().map(|node| node.after_ms).max().unwrap_or_default();
    progress.note(format!(
        "{}: {} keys of {number} masters, {}, {apart} ms apart",
        source.name,
        count(report.keys()),
        report.consistency
    ));
    Ok(SourceRecord {
        name: source.name.clone(),
        kind: Kind::Redis.as_str().to_owned(),
        server: serde_json::to_value(&report.server)?,
        details: serde_json::to_value(&report)?,
        parts,
    })
}

/// The parts with the keys of a source: one, or one per master of a cluster.
pub(crate) fn rdb_parts(source: &SourceRecord) -> anyhow::Result<Vec<&Part>> {
    let of_cluster: Vec<&Part> = source.parts.iter().filter(|part| part.kind == PART_CLUSTER_RDB).collect();
    match of_cluster.is_empty() {
        true => Ok(vec![only_part(source, PART_RDB)?]),
        false => Ok(of_cluster),
    }
}

/// These parts as one RDB.
pub(crate) fn rdb_stream<'a>(repository: &'a Repository, parts: &[&'a Part]) -> RdbStream<'a> {
    let mut streams: Vec<RdbStream<'a>> =
        parts.iter().map(|part| repository.read_part(part).map_err(anyhow::Error::new).boxed()).collect();
    match (streams.len(), streams.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            streams.extend(last);
            redisdump::merge_rdb(streams).map_err(anyhow::Error::new).boxed()
        }
    }
}
