//! Resolves the master monitored by Sentinels: once per job, and only if the server confirms that it is a master.

use std::time::Duration;

use redis::cmd;

use crate::client::address::{Address, Sentinel};
use crate::client::connection::Connection;
use crate::client::identity::info;
use crate::client::text::Text;
use crate::{ConnectOptions, Error};

/// After a failover, Sentinels report the old master for some seconds.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(500);

/// The address of the master.
///
/// # Errors
/// [`Error::Connect`], with the answer of each Sentinel.
pub(crate) async fn master(options: &ConnectOptions, sentinel: &Sentinel) -> Result<ConnectOptions, Error> {
    if let Some((host, port)) = sentinel.found.get() {
        return Ok(options.at(host, *port));
    }
    let mut failures = Vec::new();
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        failures.clear();
        let mut again = false;
        for (host, port) in &sentinel.nodes {
            let name = format!("{host}:{port}");
            match named(options, sentinel, host, *port).await {
                Err(error) => failures.push(format!("{name}: {error}")),
                Ok(None) => failures.push(format!("{name} does not monitor a master `{}`", sentinel.master)),
                Ok(Some((host, port))) => match is_master(&options.at(&host, port)).await {
                    Ok(true) => {
                        let (host, port) = sentinel.found.get_or_init(|| (host, port));
                        return Ok(options.at(host, *port));
                    }
                    Ok(false) => {
                        again = true;
                        failures.push(format!("{name} reports {host}:{port}, which is not a master"));
                    }
                    Err(error) => {
                        again = true;
                        failures.push(format!("{name} names {host}:{port}: {error}"));
                    }
                },
            }
        }
        // Retry only during a failover.
        if !again {
            break;
        }
    }
    Err(Error::Connect { target: options.display().to_string(), message: failures.join("; ") })
}

/// The master according to one Sentinel.
async fn named(
    options: &ConnectOptions,
    sentinel: &Sentinel,
    host: &str,
    port: u16,
) -> Result<Option<(String, u16)>, Error> {
    // Most Sentinels require no login, and reject an unknown one.
    let node = options.at(host, port);
    let open = node.clone().without_login();
    let mut connection = match Connection::open(&open).await {
        Err(Error::Connect { message, .. }) if message.starts_with("NOAUTH") => {
            Connection::open(&node).await?
        }
        opened => opened?,
    };
    let asked = cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&sentinel.master).take();
    let address: Option<(Text, u16)> = connection.query(&asked).await?;
    Ok(address.map(|(host, port)| (host.0, port)))
}

async fn is_master(options: &ConnectOptions) -> Result<bool, Error> {
    debug_assert!(!matches!(options.address, Address::Sentinel(_)));
    let mut connection = Connection::open(options).await?;
    let replication = info(&mut connection, "replication").await?;
    Ok(replication.get::<String>("role").is_some_and(|role| role == "master"))
}
