//! The nodes of a cluster as individual servers.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use super::link::PAUSE;
use super::topology::Topology;
use crate::client::address::Address;
use crate::client::connection::Connection;
use crate::{ConnectOptions, Error};

/// The first node that answers, among those that were given or discovered since.
///
/// # Errors
/// [`Error::Connect`], with the error of each.
pub(crate) async fn seed(options: &ConnectOptions) -> Result<ConnectOptions, Error> {
    let Address::Cluster(cluster) = &options.address else { return Ok(options.clone()) };
    let mut failures = Vec::new();
    for (host, port) in cluster.candidates() {
        let node = options.at(&host, port);
        match Connection::to_server(&node).await {
            Ok(_) => return Ok(node),
            Err(Error::Connect { message, .. }) => failures.push(format!("{host}:{port}: {message}")),
            Err(error) => failures.push(error.to_string()),
        }
    }
    Err(Error::Connect { target: options.display().to_string(), message: failures.join("; ") })
}

/// The masters of a cluster as individual servers; any other server unchanged.
///
/// # Errors
/// A cluster that cannot be queried.
pub(crate) async fn masters(options: &ConnectOptions) -> Result<Vec<ConnectOptions>, Error> {
    if !options.is_cluster() {
        return Ok(vec![options.clone()]);
    }
    let topology = Topology::read(options).await?;
    Ok(topology.masters.iter().map(|node| options.at(&node.host, node.port)).collect())
}

/// Runs the same query on every master of a cluster concurrently; on any other server, only once.
///
/// # Errors
/// The first failure.
pub(crate) async fn each_master<T, F: Future<Output = Result<T, Error>>>(
    options: &ConnectOptions,
    ask: impl Fn(ConnectOptions) -> F,
) -> Result<Vec<T>, Error> {
    futures::future::try_join_all(masters(options).await?.into_iter().map(ask)).await
}

/// Waits until each slot of a cluster has one master and none is being moved, up to the given time.
///
/// # Errors
/// The remaining obstacles at the end.
pub async fn wait_until_settled(options: &ConnectOptions, limit: Duration) -> Result<(), Error> {
    let deadline = Instant::now() + limit;
    loop {
        match Topology::settled(options).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
