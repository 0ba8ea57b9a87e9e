//! Detects whether two servers share a data set by replication. Writes to a master reach its replicas, so that clearing
//! a target also clears a source that replicates from it, immediately or when their link is up again.
//!
//! Servers from 4.0 on that replicate from each other share a replication id, through any chain of replicas. For older
//! servers, and for links that were never up, the masters are followed one by one.

use std::time::Duration;

use crate::client::connection::Connection;
use crate::client::identity::sections;
use crate::cluster::masters;
use crate::{ConnectOptions, Error};

/// Maximum number of masters to follow; a longer chain is a cycle.
const LONGEST: usize = 16;
/// Timeout for a master that may be unreachable from here.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A server's role in replication.
#[derive(Debug, Clone)]
struct Lineage {
    run_id: String,
    replication_id: String,
    master: Option<(String, u16)>,
    port: Option<u16>,
    /// The ports of its replicas.
    replicas: Vec<u16>,
}

impl Lineage {
    async fn of(options: &ConnectOptions) -> Result<Lineage, Error> {
        let mut connection = Connection::open(options).await?;
        let (info, refused) = sections(&mut connection, &["server", "replication"]).await?;
        // A user without INFO may still read or write.
        if let Some(error) = refused.into_iter().find(|error| !error.is_forbidden()) {
            return Err(error);
        }
        let get = |name: &str| info.get::<String>(name).unwrap_or_default();
        let replica = |name: &String| {
            let number = name.strip_prefix("slave")?;
            number.parse::<u32>().ok()?;
            let value: String = info.get(name)?;
            value.split(',').find_map(|pair| pair.strip_prefix("port=")?.parse().ok())
        };
        Ok(Lineage {
            run_id: get("run_id"),
            replication_id: get("master_replid"),
            master: get("master_port")
                .parse()
                .ok()
                .map(|port| (get("master_host"), port))
                .filter(|_| get("role") == "slave"),
            port: get("tcp_port").parse().ok(),
            replicas: info.keys().filter_map(replica).collect(),
        })
    }
}

/// Refuses a target that shares its data with the source. With `destructive` (keys of the target are deleted or
/// replaced), a target whose relation is unknown is refused too.
///
/// # Errors
/// [`Error::Refused`], with nothing written; or a server that is unreachable.
pub async fn refuse_shared_data(
    source: &ConnectOptions,
    target: &ConnectOptions,
    destructive: bool,
) -> Result<(), Error> {
    if !source.is_cluster() && !target.is_cluster() {
        return refuse_shared(source, target, destructive).await;
    }
    let (sources, targets) = futures::try_join!(masters(source), masters(target))?;
    for source in &sources {
        for target in &targets {
            refuse_shared(source, target, destructive).await?;
        }
    }
    Ok(())
}

async fn refuse_shared(
    source: &ConnectOptions,
    target: &ConnectOptions,
    destructive: bool,
) -> Result<(), Error> {
    let (from, to) = futures::try_join!(Lineage::of(source), Lineage::of(target))?;
    let conflict = match direct(&from, &to) {
        Some(conflict) => Some(conflict),
        None if from.run_id.is_empty() || to.run_id.is_empty() => destructive.then(|| {
            "one of the two does not say who it is (no run_id in INFO: a proxy, or a user without +info): whether they are one server cannot \
             be known"
                .to_owned()
        }),
        None => follow(source, &from, target, &to, destructive).await,
    };
    match conflict {
        None => Ok(()),
        Some(conflict) => Err(Error::Refused {
            what: format!("{} cannot be restored from {}", target.display(), source.display()),
            conflicts: vec![conflict.into()],
        }),
    }
}

fn direct(from: &Lineage, to: &Lineage) -> Option<String> {
    if !from.run_id.is_empty() && from.run_id == to.run_id {
        return Some("they are the same server".to_owned());
    }
    let known = !from.replication_id.is_empty() && from.replication_id.bytes().any(|digit| digit != b'0');
    (known && from.replication_id == to.replication_id).then(|| {
        format!(
            "they replicate from one another (replication id {}): what is deleted or written in the target, the source \
             loses or gets too. Detach the source first (REPLICAOF NO ONE), or name another target",
            from.replication_id
        )
    })
}

/// Follows the source's master, and that one's master, and so on.
async fn follow(
    source: &ConnectOptions,
    from: &Lineage,
    target: &ConnectOptions,
    to: &Lineage,
    destructive: bool,
) -> Option<String> {
    let mut current = from.clone();
    for _ in 0..LONGEST {
        let (host, port) = current.master.clone()?;
        let place = format!("{host}:{port}");
        let detach = "detach the source first (REPLICAOF NO ONE), or choose another target";
        let master = source.at(&host, port);
        match tokio::time::timeout(TIMEOUT, Lineage::of(&master)).await {
            Ok(Ok(master)) if master.run_id == to.run_id => {
                return Some(format!("the target is {place}, the master of the source: {detach}"));
            }
            Ok(Ok(master)) if master.run_id == from.run_id => return None,
            Ok(Ok(master)) => current = master,
            Ok(Err(_)) | Err(_) => {
                // From here, it may be reached by another name.
                let listens = to.port == Some(port) || target.port() == Some(port);
                let knows = current.port.is_some_and(|port| to.replicas.contains(&port));
                if listens && (knows || same_host(&host, port, target).await) {
                    return Some(format!(
                        "the source is a replica of {place}, which is the target: {detach}"
                    ));
                }
                return destructive.then(|| {
                    format!(
                        "the source is a replica of {place}, which cannot be asked whether it is the target: {detach}, or \
                         use the master as the source"
                    )
                });
            }
        }
    }
    None
}

/// Whether a name refers to the host of a server.
async fn same_host(host: &str, port: u16, server: &ConnectOptions) -> bool {
    let Some(name) = server.host() else { return false };
    let lookup = |host: String| async move {
        tokio::net::lookup_host((host.as_str(), port))
            .await
            .map(Iterator::collect::<Vec<_>>)
            .unwrap_or_default()
    };
    let (ours, theirs) = futures::join!(lookup(name.to_owned()), lookup(host.to_owned()));
    ours.iter().any(|address| theirs.contains(address))
}
