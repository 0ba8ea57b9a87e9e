//! Opens a connection to what a URL denotes: a server, the master known to Sentinels, or any node of a cluster.

use super::address::Address;
use super::connection::Connection;
use super::sentinel;
use crate::cluster::seed;
use crate::{ConnectOptions, Error};

impl Connection {
    /// Connects and authenticates.
    pub(crate) async fn open(options: &ConnectOptions) -> Result<Connection, Error> {
        match &options.address {
            Address::Sentinel(watching) => {
                Connection::to_server(&Box::pin(sentinel::master(options, watching)).await?).await
            }
            Address::Cluster(_) => Connection::to_server(&seed(options).await?).await,
            _ => Connection::to_server(options).await,
        }
    }
}
