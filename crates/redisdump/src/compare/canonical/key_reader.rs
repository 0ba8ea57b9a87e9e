//! Reads keys of a server or of all masters of a cluster, each from the node that serves it, even while slots and roles
//! move.

use std::collections::BTreeMap;

use redis::{Value, cmd};
use tokio::time::Instant;

use super::{Hint, Live, NodeKeyReader};
use crate::client::connection::Connection;
use crate::client::databases::is_missing;
use crate::client::identity::{functions, identify};
use crate::cluster::{FAILOVER, PAUSE, Redirect, Topology, named, slot_of};
use crate::display::shown;
use crate::{ConnectOptions, Error, ServerIdentity};

/// Number of keys queried at a time for each node of a cluster: all of them are queried again one by one if a slot
/// moves.
const OF_NODE: usize = 64;

/// Connections that read keys.
pub(crate) struct KeyReader {
    options: ConnectOptions,
    /// The masters of a cluster in slot order; `None` for a single server.
    topology: Option<Topology>,
    nodes: Vec<NodeKeyReader>,
    counters: bool,
    unexpiring: bool,
    db: Option<u64>,
    /// The cluster has changed since the first query.
    changed: bool,
    /// Of nodes that are no longer masters.
    slack: u64,
    metadata: u64,
}

impl KeyReader {
    /// Connects to an identified server.
    pub(crate) async fn open(options: &ConnectOptions, server: &ServerIdentity) -> Result<KeyReader, Error> {
        let mut key_reader = KeyReader {
            options: options.clone(),
            topology: None,
            nodes: Vec::new(),
            counters: true,
            unexpiring: false,
            db: None,
            changed: false,
            slack: 0,
            metadata: 0,
        };
        match options.is_cluster() {
            true => key_reader.connect().await?,
            false => key_reader.nodes = vec![NodeKeyReader::open(options, server).await?],
        }
        key_reader.counters = key_reader.nodes.iter().all(NodeKeyReader::has_counters);
        key_reader.counters(true);
        Ok(key_reader)
    }

    /// Connects to all masters of a cluster.
    async fn connect(&mut self) -> Result<(), Error> {
        let topology = Topology::read(&self.options).await?;
        let mut nodes = Vec::new();
        for node in &topology.masters {
            let at = self.options.at(&node.host, node.port);
            let mut connection = Connection::open(&at).await?;
            let server = identify(&mut connection, &at).await?;
            let mut key_reader = NodeKeyReader::open(&at, &server).await?;
            if let Some(db) = self.db {
                key_reader.select(db).await?;
            }
            nodes.push(key_reader);
        }
        for node in &self.nodes {
            self.slack = self.slack.max(node.slack());
            self.metadata += node.with_metadata();
        }
        self.changed |= self.topology.as_ref().is_some_and(|before| !before.changes(&topology).is_empty());
        self.topology = Some(topology);
        self.nodes = nodes;
        self.counters(self.counters);
        if self.unexpiring {
            self.without_field_expiries();
        }
        Ok(())
    }

    /// Whether stream counters are part of canonical digests: the other side may not have them.
    pub(crate) fn counters(&mut self, counters: bool) {
        self.counters &= counters;
        for node in &mut self.nodes {
            node.counters(self.counters);
        }
    }

    /// Ignores the expiries of hash fields: the other side was restored without them.
    pub(crate) fn without_field_expiries(&mut self) {
        self.unexpiring = true;
        self.nodes.iter_mut().for_each(NodeKeyReader::without_field_expiries);
    }

    /// True if this server has stream counters.
    pub(crate) fn has_counters(&self) -> bool {
        self.counters
    }

    /// The server's clock at its last reply, in milliseconds; it decides whether a missing key has expired or is lost.
    /// For a cluster, the latest clock.
    pub(crate) fn now(&self) -> i64 {
        self.nodes.iter().map(NodeKeyReader::now).max().unwrap_or_default()
    }

    /// The maximum error of an expiry, in milliseconds.
    pub(crate) fn slack(&self) -> u64 {
        self.nodes.iter().map(NodeKeyReader::slack).max().unwrap_or_default().max(self.slack)
    }

    /// Number of values with additional module metadata.
    pub(crate) fn with_metadata(&self) -> u64 {
        self.nodes.iter().map(NodeKeyReader::with_metadata).sum::<u64>() + self.metadata
    }

    /// The connections over which SCAN finds all keys.
    pub(crate) fn connections(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.nodes.iter_mut().map(NodeKeyReader::connection)
    }

    /// Hashes of the function libraries. If the masters of a cluster differ, all of them, which equals nothing.
    pub(crate) async fn functions(&mut self, server: &ServerIdentity) -> Result<Option<Vec<u128>>, Error> {
        let mut found: Option<Vec<u128>> = None;
        for node in &mut self.nodes {
            let of_node = functions(node.connection(), server).await?;
            match (&mut found, of_node) {
                (found @ None, of_node) => *found = of_node,
                (Some(found), Some(of_node)) if *found != of_node => found.extend(of_node),
                _ => {}
            }
        }
        Ok(found)
    }

    /// The databases with keys, and their approximate numbers of keys.
    pub(crate) async fn databases(&mut self, server: &ServerIdentity) -> Result<BTreeMap<u64, u64>, Error> {
        self.db = None;
        let mut all = BTreeMap::new();
        for node in &mut self.nodes {
            for (db, keys) in node.databases(server).await? {
                *all.entry(db).or_default() += keys;
            }
        }
        Ok(all)
    }

    pub(crate) async fn select(&mut self, db: u64) -> Result<(), Error> {
        self.db = Some(db);
        for node in &mut self.nodes {
            node.select(db).await?;
        }
        Ok(())
    }

    /// Selects a database; returns the server's error message if it does not exist.
    pub(crate) async fn is_without(&mut self, db: u64) -> Result<Option<String>, Error> {
        match self.select(db).await {
            Err(Error::Server { message, .. }) if is_missing(&message) => {
                self.db = None;
                Ok(Some(message))
            }
            other => other.map(|()| None),
        }
    }

    /// Whether slots or roles have moved since the first query, so that SCAN may have missed keys.
    pub(crate) async fn changed(&mut self) -> Result<bool, Error> {
        let Some(before) = &self.topology else { return Ok(false) };
        let now = Topology::read(&self.options).await?;
        Ok(self.changed || !before.changes(&now).is_empty())
    }

    /// Reads these keys; `None` for a key that does not exist.
    pub(crate) async fn look_up(&mut self, keys: &[&[u8]]) -> Result<Vec<Option<Live>>, Error> {
        self.look_up_hinted(keys, &[]).await
    }

    /// The same with a hint for each key. A cluster is read without them.
    pub(crate) async fn look_up_hinted(
        &mut self,
        keys: &[&[u8]],
        hints: &[Hint],
    ) -> Result<Vec<Option<Live>>, Error> {
        if self.topology.is_none() {
            return match self.nodes.first_mut() {
                Some(node) => node.look_up(keys, hints).await,
                None => Ok(Vec::new()),
            };
        }
        let mut found = Vec::with_capacity(keys.len());
        for part in keys.chunks(OF_NODE * self.nodes.len().max(1)) {
            found.extend(self.of_cluster(part).await?);
        }
        Ok(found)
    }

    /// The same for a cluster.
    async fn of_cluster(&mut self, keys: &[&[u8]]) -> Result<Vec<Option<Live>>, Error> {
        let deadline = Instant::now() + FAILOVER;
        loop {
            match self.of_all(keys).await {
                Err(error) if is_passing(&error) && Instant::now() < deadline => {
                    // A connection with an abandoned query cannot be used any more.
                    tokio::time::sleep(PAUSE).await;
                    match self.connect().await {
                        Err(error) if !is_passing(&error) => return Err(error),
                        _ => {}
                    }
                    match self.one_by_one(keys).await {
                        Err(error) if is_passing(&error) => {}
                        other => return other,
                    }
                }
                other => return other,
            }
        }
    }

    /// Queries all masters concurrently, each for the keys of its slots.
    async fn of_all(&mut self, keys: &[&[u8]]) -> Result<Vec<Option<Live>>, Error> {
        let mut places: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        for (at, key) in keys.iter().enumerate() {
            if let Some(of_node) = places.get_mut(self.node_of(key)?) {
                of_node.push(at);
            }
        }
        let asked = self.nodes.iter_mut().zip(&places).map(|(node, places)| async move {
            let keys: Vec<&[u8]> = places.iter().filter_map(|at| keys.get(*at).copied()).collect();
            if keys.is_empty() { Ok(Vec::new()) } else { node.look_up(&keys, &[]).await }
        });
        let answers = futures::future::try_join_all(asked).await?;
        let mut found = vec![None; keys.len()];
        for (places, answers) in places.iter().zip(answers) {
            for (at, live) in places.iter().zip(answers) {
                if let Some(place) = found.get_mut(*at) {
                    *place = live;
                }
            }
        }
        Ok(found)
    }

    /// The same key by key while a slot is being moved, each at the node that the cluster names.
    async fn one_by_one(&mut self, keys: &[&[u8]]) -> Result<Vec<Option<Live>>, Error> {
        let mut found = Vec::new();
        for key in keys {
            let mut answered = self.of_all(&[*key]).await;
            if let Err(Error::Server { message, .. }) = &answered
                && let Some(Redirect::Ask { host, port, .. }) = Redirect::of(message)
            {
                let (host, port) = named(host, port, &self.options.address());
                self.connect().await?;
                answered = self.ask_there(&host, port, key).await.map(|live| vec![live]);
            }
            found.push(answered?.pop().flatten());
        }
        Ok(found)
    }

    /// Queries the node that imports a slot.
    async fn ask_there(&mut self, host: &str, port: u16, key: &[u8]) -> Result<Option<Live>, Error> {
        let at = self.options.at(host, port);
        let mut connection = Connection::open(&at).await?;
        let server = identify(&mut connection, &at).await?;
        let mut node = NodeKeyReader::open(&at, &server).await?;
        node.counters(self.counters);
        if self.unexpiring {
            node.without_field_expiries();
        }
        node.set_asking(true);
        Ok(node.look_up(&[key], &[]).await?.pop().flatten())
    }

    fn node_of(&self, key: &[u8]) -> Result<usize, Error> {
        let Some(topology) = &self.topology else { return Ok(0) };
        let slot = slot_of(key);
        topology.masters.iter().position(|node| node.slots.has(slot)).ok_or_else(|| Error::Server {
            target: self.options.display().to_string(),
            operation: format!("reading key {}", shown(key)),
            message: format!("CLUSTERDOWN slot {slot} belongs to no master"),
        })
    }

    /// Whether hints are used: not in a cluster.
    pub(crate) fn takes_hints(&self) -> bool {
        self.topology.is_none()
    }

    /// The expiries of these keys of a single server ([`NodeKeyReader::expiries`]).
    pub(crate) async fn expiries(&mut self, keys: &[&[u8]]) -> Result<Vec<Option<i64>>, Error> {
        match self.nodes.first_mut() {
            Some(node) => node.expiries(keys).await,
            None => Ok(Vec::new()),
        }
    }

    /// Those of these keys that do not exist.
    pub(crate) async fn missing<'k>(&mut self, keys: &[&'k [u8]]) -> Result<Vec<&'k [u8]>, Error> {
        if self.topology.is_some() {
            let found = self.look_up(keys).await?;
            return Ok(keys
                .iter()
                .zip(found)
                .filter(|(_, live)| live.is_none())
                .map(|(key, _)| *key)
                .collect());
        }
        let Some(node) = self.nodes.first_mut() else { return Ok(Vec::new()) };
        // Usually none is missing: then one number says so. A node of a cluster does not answer for several slots.
        if node.connection().query_optional(cmd("EXISTS").arg(keys)).await? == Some(keys.len()) {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        for key in keys {
            pipeline.cmd("EXISTS").arg(*key);
        }
        let operation = "looking for keys (EXISTS)";
        let replies = node.connection().query_all(&pipeline, operation).await?;
        let mut missing = Vec::new();
        for (key, reply) in keys.iter().zip(replies) {
            match reply {
                Ok(Value::Int(0)) => missing.push(*key),
                Ok(_) => {}
                Err(message) => {
                    let target = node.connection().reader.target().to_owned();
                    let operation = format!("{operation}: key {}", shown(key));
                    return Err(Error::Server { target, operation, message });
                }
            }
        }
        Ok(missing)
    }
}

/// Whether a failure may be temporary: the cluster redirects, or a lost node will be replaced.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::Server { message, .. } => Redirect::of(message).is_some(),
        Error::Lost { .. } | Error::Connect { .. } => true,
        _ => false,
    }
}
