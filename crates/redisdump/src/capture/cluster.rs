//! A source that is a node of a cluster: its keys are a part of the whole, and must not pass for it.

use crate::client::identity::fields;
use crate::client::wire::{Connection, Reply};
use crate::{ConnectOptions, Error, ServerIdentity};

/// The slots of a cluster.
const SLOTS: u64 = 16_384;

/// What is to be known of a capture of this server because of its cluster; nothing where it has all keys.
///
/// # Errors
/// [`Error::Refused`] for a node that has a part of the keys, unless the connection says that this part is meant.
pub(super) async fn of_node(
    connection: &mut Connection,
    server: &ServerIdentity,
    options: &ConnectOptions,
) -> Result<Option<String>, Error> {
    if !server.cluster {
        return Ok(None);
    }
    let cluster = match connection.ask_raw(&[b"CLUSTER", b"INFO"]).await? {
        Reply::Bulk(text) => fields(&text),
        // Who may not ask does not know that it is the whole.
        _ => Default::default(),
    };
    let number = |name: &str| cluster.get(name).and_then(|n| n.parse::<u64>().ok());
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
            "{server} is a node of {of}: what it holds was taken, and not the cluster's other keys"
        )));
    }
    Err(Error::Refused {
        what: format!("{server} is a node of {of}, and holds a part of its keys"),
        conflicts: vec![
            "every master of the cluster would be a source of its own; ?cluster=this-node in a source's URL says that \
             this node's part is meant"
                .to_owned(),
        ],
    })
}
