//! Which master serves which slots, from `CLUSTER NODES`.

use std::collections::BTreeMap;

use redis::cmd;

use super::slots::{SLOTS, SlotSet};
use crate::client::address::Address;
use crate::client::connection::Connection;
use crate::client::text::Text;
use crate::conflict::Conflict;
use crate::{ConnectOptions, Error};

/// A master that serves slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// The node id, which never changes.
    pub(crate) id: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) slots: SlotSet,
    /// Incremented whenever a slot or a role moves.
    pub(crate) epoch: u64,
    /// Number of its replicas.
    pub(crate) replicas: usize,
}

impl Node {
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// The masters of a cluster, as seen by one of its nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Topology {
    /// In the order of their first slots.
    pub(crate) masters: Vec<Node>,
    /// Slots that the queried node is moving, described.
    moving: Vec<String>,
    /// The id of that node.
    asked: String,
}

impl Topology {
    /// As seen by the first node that answers.
    ///
    /// # Errors
    /// No node can be reached, or the server is not a cluster node.
    pub(crate) async fn read(options: &ConnectOptions) -> Result<Topology, Error> {
        let asked = super::seed(options).await?;
        let topology = Topology::of(&asked).await?;
        if let Address::Cluster(cluster) = &options.address {
            let known = topology.masters.iter().map(|node| (node.host.clone(), node.port));
            cluster.learn(known);
        }
        Ok(topology)
    }

    /// As seen by this node.
    pub(crate) async fn of(node: &ConnectOptions) -> Result<Topology, Error> {
        let mut connection = Connection::open(node).await?;
        let Text(text) =
            connection.query(cmd("CLUSTER").arg("NODES")).await.map_err(|error| match error {
                Error::Server { message, .. } => Error::Refused {
                    what: format!("{} is not a node of a cluster", node.display()),
                    conflicts: vec![
                        format!("CLUSTER NODES: {message}. For a single server, use redis://").into(),
                    ],
                },
                other => other,
            })?;
        parse(&text, node.host().unwrap_or_default())
            .map_err(|problem| connection.reader.protocol(format!("CLUSTER NODES: {problem}")))
    }

    /// The slots of the connected node; `None` if it has none or does not reveal them.
    pub(crate) async fn own_slots(connection: &mut Connection) -> Result<Option<SlotSet>, Error> {
        let text = connection.query_optional(cmd("CLUSTER").arg("NODES")).await?;
        let Some(Text(text)) = text else { return Ok(None) };
        let Ok(view) = parse(&text, "") else { return Ok(None) };
        Ok(view.masters.into_iter().find(|node| node.id == view.asked).map(|node| node.slots))
    }

    /// As seen by each master for its own slots: every slot exactly once, and none being moved.
    ///
    /// # Errors
    /// [`Error::Refused`], which lists the problems.
    pub(crate) async fn settled(options: &ConnectOptions) -> Result<Topology, Error> {
        let topology = Topology::read(options).await?;
        let views = topology.masters.iter().map(|node| {
            let at = options.at(&node.host, node.port);
            async move { Topology::of(&at).await }
        });
        let views = futures::future::try_join_all(views).await?;
        let mut conflicts: Vec<String> = Vec::new();
        let mut masters = Vec::new();
        for (node, view) in topology.masters.iter().zip(views) {
            conflicts.extend(view.moving.iter().cloned());
            match view.masters.into_iter().find(|own| own.id == view.asked && own.id == node.id) {
                Some(own) => masters.push(own),
                None => conflicts.push(format!("{} says that it is not a master with slots", node.address())),
            }
        }
        let settled = Topology { masters, moving: Vec::new(), asked: topology.asked };
        conflicts.extend(settled.gaps());
        match conflicts.is_empty() {
            true => Ok(settled),
            false => Err(Error::Refused {
                what: format!(
                    "the cluster of {} cannot be read as a whole in its current state",
                    options.display()
                ),
                conflicts: conflicts.into_iter().map(Conflict::from).collect(),
            }),
        }
    }

    /// Slots that are served by no master, or by several.
    pub(crate) fn gaps(&self) -> Vec<String> {
        let mut all = SlotSet::default();
        let mut twice = SlotSet::default();
        for (first, last) in self.masters.iter().flat_map(|node| node.slots.ranges()) {
            for slot in all.add(first, last) {
                twice.add(slot, slot);
            }
        }
        let missing = all.missing();
        let mut gaps = Vec::new();
        if missing.count() > 0 {
            gaps.push(format!("{} of {SLOTS} slots belong to no master: {missing}", missing.count()));
        }
        if twice.count() > 0 {
            gaps.push(format!("{} slots are claimed by more than one master: {twice}", twice.count()));
        }
        gaps
    }

    /// The master of a slot.
    pub(crate) fn owner(&self, slot: u16) -> Option<&Node> {
        self.masters.iter().find(|node| node.slots.has(slot))
    }

    /// What has changed since: slots that moved, masters that came or went. Empty if nothing has.
    pub(crate) fn changes(&self, later: &Topology) -> Vec<String> {
        let by_id = |topology: &Topology| -> BTreeMap<String, Node> {
            topology.masters.iter().map(|node| (node.id.clone(), node.clone())).collect()
        };
        let (before, after) = (by_id(self), by_id(later));
        let mut changes = Vec::new();
        for (id, node) in &before {
            match after.get(id) {
                None => changes.push(format!("{} is no longer a master with slots", node.address())),
                Some(now) if now.slots != node.slots => changes.push(format!(
                    "{} served slots {}, and now {}",
                    node.address(),
                    node.slots,
                    now.slots
                )),
                Some(now) if now.epoch != node.epoch => changes.push(format!(
                    "{} has another configuration epoch ({}, was {}): slots or roles moved",
                    node.address(),
                    now.epoch,
                    node.epoch
                )),
                Some(_) => {}
            }
        }
        for (_, node) in after.iter().filter(|(id, _)| !before.contains_key(*id)) {
            changes.push(format!("{} is a new master of slots {}", node.address(), node.slots));
        }
        changes
    }
}

/// Parses the lines of `CLUSTER NODES`; `host` is used if a node does not know its own address.
fn parse(text: &str, host: &str) -> Result<Topology, String> {
    let mut masters: Vec<Node> = Vec::new();
    let mut followers: BTreeMap<String, usize> = BTreeMap::new();
    let (mut moving, mut asked) = (Vec::new(), String::new());
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [id, address, flags, master, _, _, epoch, _, slots @ ..] = fields.as_slice() else {
            return Err(format!("a line of {} fields", fields.len()));
        };
        let flags: Vec<&str> = flags.split(',').collect();
        if flags.contains(&"slave") {
            *followers.entry((*master).to_owned()).or_default() += 1;
        }
        let (place, port) = place(address).ok_or_else(|| format!("a node at {address:?}"))?;
        if flags.contains(&"myself") {
            asked = (*id).to_owned();
            moving.extend(slots.iter().filter_map(|slot| open_slot(slot, address)));
        }
        let mut held = SlotSet::default();
        for range in slots.iter().filter(|slot| !slot.starts_with('[')) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            match (first.parse(), last.parse()) {
                (Ok(first), Ok(last)) if first <= last && last < SLOTS => drop(held.add(first, last)),
                _ => return Err(format!("slots {range:?}")),
            }
        }
        if !flags.contains(&"master") || held.count() == 0 {
            continue;
        }
        masters.push(Node {
            id: (*id).to_owned(),
            host: place.unwrap_or(host).to_owned(),
            port,
            slots: held,
            epoch: epoch.parse().map_err(|_| format!("an epoch {epoch:?}"))?,
            replicas: 0,
        });
    }
    for node in &mut masters {
        node.replicas = followers.get(&node.id).copied().unwrap_or_default();
    }
    masters.sort_by_key(|node| node.slots.first());
    match masters.is_empty() {
        true => Err("no master holds slots".to_owned()),
        false => Ok(Topology { masters, moving, asked }),
    }
}

/// Host and port of `host:port@bus,hostname`; no host if the node does not know it.
fn place(address: &str) -> Option<(Option<&str>, u16)> {
    let (client, name) = address
        .split_once(',')
        .map_or((address, ""), |(client, rest)| (client, rest.split(',').next().unwrap_or_default()));
    let client = client.split_once('@').map_or(client, |(client, _)| client);
    let (host, port) = client.rsplit_once(':')?;
    let known = |host: &str| !host.is_empty() && host != "?";
    let host = [host, name].into_iter().find(|host| known(host) && !host.contains('='));
    Some((host, port.parse().ok()?))
}

/// A slot that this node is migrating or importing, described.
fn open_slot(word: &str, address: &str) -> Option<String> {
    let inner = word.strip_prefix('[')?.strip_suffix(']')?;
    let shown = address.split(['@', ',']).next().unwrap_or(address);
    Some(match inner.split_once("->-") {
        Some((slot, to)) => {
            format!("slot {slot} is being moved from {shown} to node {to}: wait until that is complete")
        }
        None => match inner.split_once("-<-") {
            Some((slot, from)) => {
                format!("slot {slot} is being moved to {shown} from node {from}: wait until that is complete")
            }
            None => format!("{shown} is moving {inner}"),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "\
07c3 127.0.0.1:30004@31004,host-4 slave e7d1 0 1426238317239 4 connected
67ed 127.0.0.1:30002@31002 master - 0 1426238316232 2 connected 5461-10922
292f :30003@31003 master,fail? - 0 1426238318243 3 connected 10923-16383
6ec2 127.0.0.1:30005@31005 master - 0 0 5 connected
e7d1 127.0.0.1:30001 myself,master - 0 0 1 connected 0-5459 5460 [93-<-292f] [77->-67ed]
";

    #[test]
    fn the_lines_of_a_node_are_read() {
        let topology = parse(NODES, "h").unwrap();
        let shown: Vec<String> = topology.masters.iter().map(Node::address).collect();
        assert_eq!(shown, ["127.0.0.1:30001", "127.0.0.1:30002", "h:30003"]);
        assert!(topology.gaps().is_empty() && topology.moving.len() == 2, "{:?}", topology.moving);
        assert_eq!((topology.asked.as_str(), topology.masters[0].replicas), ("e7d1", 1));
        assert_eq!(topology.owner(5461).unwrap().id, "67ed");
        for wrong in ["x y", "a 1 master - 0 0 1 connected 0-5", "a h:1 master - 0 0 1 connected 5-0", ""] {
            assert!(parse(wrong, "h").is_err(), "{wrong}");
        }
        let announced = parse("a ?:7000@17000,redis-0.svc myself,master - 0 0 1 c 0-5", "h").unwrap();
        assert_eq!(announced.masters[0].address(), "redis-0.svc:7000");
        assert!(announced.gaps()[0].contains("16378 of 16384"), "{:?}", announced.gaps());
    }

    #[test]
    fn changes_are_reported() {
        let before = parse(NODES, "h").unwrap();
        assert!(before.changes(&before).is_empty());
        let moved = NODES.replace("5461-10922", "5462-10922").replace("0-5459 5460", "0-5461");
        let changes = before.changes(&parse(&moved, "h").unwrap()).join("\n");
        assert!(changes.contains("served slots 0-5460, and now 0-5461"), "{changes}");
        // A slot that moved there and back.
        let epoch = NODES.replace("1426238316232 2 connected", "1426238316232 9 connected");
        assert!(before.changes(&parse(&epoch, "h").unwrap())[0].contains("epoch"));
        let failed = NODES.replace("67ed 127.0.0.1:30002@31002 master", "ffff 127.0.0.1:30006@31006 master");
        assert_eq!(before.changes(&parse(&failed, "h").unwrap()).len(), 2);
    }
}
