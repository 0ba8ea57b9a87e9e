//! Problems of a Redis server that would affect a backup: permissions, the output buffer limit of replicas, the clock.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::postgres::clock;
use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::report::doctor::Finding;
use crate::ui::size;

/// A server may wait some seconds for further replicas before it starts sending.
const REPLICATION_TIMEOUT: Duration = Duration::from_secs(20);

/// The commands that a backup sends, by replication and by SCAN.
const RIGHTS: &str = "resetchannels ~* +hello +auth +select +ping +info +psync +replconf +role +time +scan +dump +type +pttl +pexpiretime \
     +memory|usage +config|get +dbsize +exists";

/// Checks one server, or each master of a cluster.
pub(super) async fn findings(
    endpoint: &Endpoint,
    options: &redisdump::ConnectOptions,
    now: DateTime<Utc>,
) -> Vec<Finding> {
    let name = &endpoint.name;
    let mut found = Vec::new();
    match redisdump::preflight(options).await {
        Ok(nodes) => {
            for node in nodes {
                if let (Some(limit), Some(used)) = (node.replica_buffer, node.used_memory) {
                    found.push(buffer(name, limit, used));
                }
                if let Some(clock_ms) = node.clock_ms {
                    found.push(clock(name, clock_ms, now, ""));
                }
            }
        }
        Err(error) => found.push(Finding::error(name, &error.into())),
    }
    if !options.is_cluster() && endpoint.data_dir.is_none() {
        found.extend(replication(endpoint, options).await);
    }
    found
}

fn buffer(name: &str, limit: redisdump::BufferLimit, used: u64) -> Finding {
    let tight =
        [limit.hard, limit.soft].into_iter().filter(|bytes| *bytes > 0).any(|bytes| bytes < used / 10);
    match tight {
        false => Finding::ok(name, "the output buffer of replicas is large enough"),
        true => Finding::warning(
            name,
            format!(
                "client-output-buffer-limit lets a replica wait for {} at most ({} for {} s), and the keys use {}: a \
                 backup fails if much is written meanwhile",
                size(limit.hard),
                size(limit.soft),
                limit.seconds,
                size(used)
            ),
            "CONFIG SET client-output-buffer-limit \"replica 0 0 0\", or capture = \"scan\"",
        ),
    }
}

/// Starts replication as a backup does, and stops at the first byte.
async fn replication(endpoint: &Endpoint, options: &redisdump::ConnectOptions) -> Option<Finding> {
    let name = &endpoint.name;
    if endpoint.capture == redisdump::CaptureMethod::Scan {
        return None;
    }
    let method = redisdump::CaptureOptions::by(redisdump::CaptureMethod::Psync);
    let said =
        match tokio::time::timeout(REPLICATION_TIMEOUT, redisdump::Capture::start(options, &method)).await {
            Ok(Ok(_)) => return Some(Finding::ok(name, "its user may replicate (PSYNC)")),
            // It responded, but was busy.
            Err(_) => {
                return Some(Finding::ok(
                    name,
                    "replication started, but the server has not sent its snapshot yet",
                ));
            }
            Ok(Err(error)) => Failure::of(&error.into()).line(),
        };
    let user = options.user().unwrap_or("default");
    let grant = match ["NOPERM", "no permissions"].iter().any(|words| said.contains(words)) {
        true => format!("ACL SETUSER {user} {RIGHTS}"),
        false => String::new(),
    };
    Some(match endpoint.capture {
        redisdump::CaptureMethod::Psync => {
            Finding::failure(name, format!("it cannot be replicated: {said}"), grant)
        }
        _ => Finding::warning(
            name,
            format!("it cannot be replicated, so that keys are read one by one (SCAN): {said}"),
            grant,
        ),
    })
}
