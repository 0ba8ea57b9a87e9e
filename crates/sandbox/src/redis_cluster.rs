//! A private Redis or Valkey Cluster: masters that share all slots, and optionally replicas of each.
//!
//! The nodes listen on free ports of 127.0.0.1, because cluster nodes address each other by port, with one random
//! password for all.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::process;
use crate::{Error, Listen, Redis, RedisBinaries, RedisOptions};

/// The number of slots of a cluster.
pub const SLOTS: u16 = 16_384;
/// Timeout for nodes to join and replicas to synchronize.
const JOINING: Duration = Duration::from_secs(60);

/// Options of a private cluster.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Number of masters, which share the slots evenly.
    pub masters: u16,
    /// Number of replicas of each master.
    pub replicas: u16,
    /// Further lines of each node's `redis.conf`, as name and value.
    pub settings: Vec<(String, String)>,
}

impl Default for ClusterOptions {
    /// Three masters, the minimum for a cluster, without replicas.
    fn default() -> Self {
        ClusterOptions { masters: 3, replicas: 0, settings: Vec::new() }
    }
}

/// A running private cluster. Dropping it stops its servers and removes their folders.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Redis>,
    masters: usize,
}

impl RedisCluster {
    /// Starts the nodes and joins them. Returns when every node reports that the cluster is up and every replica
    /// follows its master.
    ///
    /// # Errors
    /// A node that does not start, or nodes that do not join within a minute.
    pub fn start(binaries: &RedisBinaries, options: &ClusterOptions) -> Result<RedisCluster, Error> {
        let masters = usize::from(options.masters.max(1));
        let number = masters * (1 + usize::from(options.replicas));
        let password = process::random_password()?;
        let mut settings = vec![("cluster-enabled".to_owned(), "yes".to_owned())];
        settings.extend(options.settings.iter().cloned());
        let node = || {
            let (password, settings) = (Some(password.clone()), settings.clone());
            Redis::start(
                binaries,
                RedisOptions { listen: Listen::Port, password, settings, ..RedisOptions::default() },
            )
        };
        let nodes = (0..number).map(|_| node()).collect::<Result<Vec<Redis>, Error>>()?;
        let cluster = RedisCluster { nodes, masters };
        cluster.join()?;
        Ok(cluster)
    }

    /// The nodes: masters in the order of their slots, then replicas in the order of their masters. A failover changes
    /// roles but not this order.
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// The nodes, to stop or restart one.
    pub fn nodes_mut(&mut self) -> &mut [Redis] {
        &mut self.nodes
    }

    /// The number of nodes that started as masters.
    pub fn masters(&self) -> usize {
        self.masters
    }

    /// The first node's address, `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.nodes.first().map(Redis::address).unwrap_or_default()
    }

    /// The URL of the whole cluster, `redis+cluster://:PASSWORD@127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        let url = self.nodes.first().map(Redis::url).unwrap_or_default();
        url.replacen("redis://", "redis+cluster://", 1)
    }

    fn join(&self) -> Result<(), Error> {
        let mut nodes = Vec::new();
        for node in &self.nodes {
            nodes.push(Control::open(node)?);
        }
        let masters = u16::try_from(self.masters).unwrap_or(SLOTS);
        for (at, node) in (0..masters).zip(&mut nodes) {
            let of = |master: u16| u32::from(master) * u32::from(SLOTS) / u32::from(masters);
            let slots: Vec<String> = (of(at)..of(at + 1)).map(|slot| slot.to_string()).collect();
            let mut command = vec!["CLUSTER", "ADDSLOTS"];
            command.extend(slots.iter().map(String::as_str));
            node.ask(&command)?;
        }
        // With distinct epochs, nodes need not negotiate them first.
        for (at, node) in nodes.iter_mut().enumerate() {
            node.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()])?;
        }
        let ports: Vec<String> =
            self.nodes.iter().filter_map(Redis::port).map(|port| port.to_string()).collect();
        if let Some((first, _)) = nodes.split_first_mut() {
            for port in ports.iter().skip(1) {
                first.ask(&["CLUSTER", "MEET", "127.0.0.1", port])?;
            }
        }
        self.wait(&mut nodes, |said, _| said.contains(&format!("cluster_known_nodes:{}", self.nodes.len())))?;
        let mut ids = Vec::new();
        for node in nodes.iter_mut().take(self.masters) {
            ids.push(node.ask(&["CLUSTER", "MYID"])?);
        }
        for (node, master) in nodes.iter_mut().skip(self.masters).zip(ids.iter().cycle()) {
            node.retry(&["CLUSTER", "REPLICATE", master])?;
        }
        self.wait(&mut nodes, |said, replication| {
            let follows =
                !replication.contains("role:slave") || replication.contains("master_link_status:up");
            said.contains("cluster_state:ok") && said.contains("cluster_slots_ok:16384") && follows
        })
    }

    /// Waits until the `CLUSTER INFO` and `INFO replication` of all nodes satisfy a condition.
    fn wait(&self, nodes: &mut [Control], done: impl Fn(&str, &str) -> bool) -> Result<(), Error> {
        let deadline = Instant::now() + JOINING;
        for node in nodes {
            loop {
                let said = node.ask(&["CLUSTER", "INFO"])?;
                let replication = node.ask(&["INFO", "replication"])?;
                if done(&said, &replication) {
                    break;
                }
                if Instant::now() > deadline {
                    return Err(node.failed(&format!("not ready within {} s: {said}", JOINING.as_secs())));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }
}

/// A connection to a node's socket.
struct Control {
    stream: BufReader<UnixStream>,
    server: String,
}

impl Control {
    fn open(node: &Redis) -> Result<Control, Error> {
        let server = format!("{} {} on {}", node.flavor(), node.version(), node.address());
        let stream = UnixStream::connect(node.socket())
            .map_err(|error| Error::Cluster { server: server.clone(), message: error.to_string() })?;
        let mut control = Control { stream: BufReader::new(stream), server };
        if let Some(password) = node.password() {
            control.ask(&["AUTH", password])?;
        }
        Ok(control)
    }

    fn failed(&self, message: &str) -> Error {
        Error::Cluster { server: self.server.clone(), message: message.to_owned() }
    }

    /// Sends a command whose reply is a line or a string.
    fn ask(&mut self, words: &[&str]) -> Result<String, Error> {
        let said = self.exchange(words).map_err(|error| self.failed(&error.to_string()))?;
        match said.strip_prefix('-') {
            Some(words_of_server) => {
                let asked = words.iter().take(2).copied().collect::<Vec<_>>().join(" ");
                Err(self.failed(&format!("{asked}: {words_of_server}")))
            }
            None => Ok(said),
        }
    }

    /// As [`Control::ask`], with retries while the node does not know the others yet.
    fn retry(&mut self, words: &[&str]) -> Result<String, Error> {
        let deadline = Instant::now() + JOINING;
        loop {
            match self.ask(words) {
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
                said => return said,
            }
        }
    }

    fn exchange(&mut self, words: &[&str]) -> std::io::Result<String> {
        let mut out = format!("*{}\r\n", words.len());
        for word in words {
            out.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.get_mut().write_all(out.as_bytes())?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let line = line.trim_end();
        let Some(length) = line.strip_prefix('$').and_then(|length| length.parse::<u64>().ok()) else {
            return Ok(line.trim_start_matches(['+', ':']).to_owned());
        };
        let mut text = Vec::new();
        (&mut self.stream).take(length + 2).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
    }
}
