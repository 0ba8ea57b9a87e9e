//! A source that is a node of a cluster: it holds only part of the keys, and must not be mistaken for the whole.

use redis::{InfoDict, cmd};

use crate::client::connection::Connection;
use crate::client::text::Text;
use crate::{ConnectOptions, Error, ServerIdentity};

/// The slots of a cluster.
const SLOTS: u64 = 16_384;

/// A warning for a capture of a single node of a cluster; `None` if the server holds all keys.
///
/// # Errors
/// [`Error::Refused`] for a node that holds part of the keys, unless the connection options select this part.
pub(super) async fn of_node(
    connection: &mut Connection,
    server: &ServerIdentity,
    options: &ConnectOptions,
) -> Result<Option<String>, Error> {
    if !server.cluster {
        return Ok(None);
    }
    // A user who may not ask cannot tell whether this is the whole.
    let cluster: Option<Text> = connection.query_optional(cmd("CLUSTER").arg("INFO")).await?;
    let cluster = cluster.map(|text| InfoDict::new(&text.0));
    let number = |name: &str| cluster.as_ref()?.get::<u64>(name);
    let (masters, slots) = (number("cluster_size"), number("cluster_slots_assigned"));
    if (masters, slots) == (Some(1), Some(SLOTS)) {
        return Ok(None);
    }
    let of = match masters {
        Some(masters) => format!("a cluster of {masters} masters with slots"),
        None => "a cluster".to_owned(),
    };
    if options.this_node {
        return Ok(Some(format!(
            "{server} is a node of {of}: only its own keys were captured, not the cluster's other keys"
        )));
    }
    Err(Error::Refused {
        what: format!("{server} is a node of {of}, and holds only part of its keys"),
        conflicts: vec![
            "use a redis+cluster:// URL for the whole cluster; ?cluster=this-node in a URL selects this node's keys alone"
                .into(),
        ],
    })
}
