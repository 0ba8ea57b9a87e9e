//! The parts of a connection URL: addresses of servers, Sentinels and clusters, and the parameters after the `?`.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use percent_encoding::percent_decode_str;

use crate::Error;

/// The default idle timeout in seconds. A server that forks for a snapshot sends newlines meanwhile; other blocking for
/// longer is rare.
const IDLE_TIMEOUT: u64 = 900;

/// The address of a server.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp { host: String, port: u16, tls: Option<Tls> },
    Unix(String),
    Sentinel(Sentinel),
    Cluster(Cluster),
}

/// A cluster.
#[derive(Clone)]
pub(crate) struct Cluster {
    /// Nodes from which the others are discovered.
    pub(crate) nodes: Vec<(String, u16)>,
    pub(crate) tls: Option<Tls>,
    /// Masters seen so far: the given nodes may be gone when the cluster is queried again.
    seen: Arc<Mutex<Vec<(String, u16)>>>,
}

impl PartialEq for Cluster {
    fn eq(&self, other: &Self) -> bool {
        (&self.nodes, &self.tls) == (&other.nodes, &other.tls)
    }
}

impl Eq for Cluster {}

impl Cluster {
    /// Remembers nodes for later queries.
    pub(crate) fn learn(&self, nodes: impl Iterator<Item = (String, u16)>) {
        if let Ok(mut seen) = self.seen.lock() {
            *seen = nodes.collect();
        }
    }

    /// The nodes to query, in order.
    pub(crate) fn candidates(&self) -> Vec<(String, u16)> {
        let mut nodes = self.nodes.clone();
        let seen = self.seen.lock().map(|seen| seen.clone()).unwrap_or_default();
        nodes.extend(seen.into_iter().filter(|node| !self.nodes.contains(node)));
        nodes
    }
}

/// Sentinels that monitor a master.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Sentinel {
    /// Their addresses.
    pub(crate) nodes: Vec<(String, u16)>,
    /// The name of the master.
    pub(crate) master: String,
    pub(crate) tls: Option<Tls>,
    /// The master, once resolved. It is fixed for the whole job, so that all its connections reach one server; a
    /// failover ends the job.
    pub(crate) found: Arc<OnceLock<(String, u16)>>,
}

/// TLS options. The files are read when a connection is opened.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    /// The server's certificate is not verified.
    pub(crate) insecure: bool,
    /// The trusted authorities; those of the host by default.
    pub(crate) cacert: Option<String>,
    /// The client certificate, with its chain.
    pub(crate) cert: Option<String>,
    /// Its key.
    pub(crate) key: Option<String>,
    /// The expected name in the server's certificate, if it differs from the host.
    pub(crate) sni: Option<String>,
}

impl fmt::Display for Sentinel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<String> = self.nodes.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        write!(f, "{}/{}", nodes.join(","), self.master)
    }
}

/// An error about the URL.
pub(super) fn wrong(message: &str) -> Error {
    Error::Options(format!("invalid Redis URL: {message}"))
}

/// The parameters after the `?`.
pub(super) struct Parameters {
    pub(super) user: Option<String>,
    pub(super) timeout: u64,
    pub(super) this_node: bool,
    pub(super) tls: Tls,
}

impl Parameters {
    pub(super) fn parse(query: &str, secure: bool) -> Result<Parameters, Error> {
        let mut parameters =
            Parameters { user: None, timeout: IDLE_TIMEOUT, this_node: false, tls: Tls::default() };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value).map_err(|e| wrong(&e))?;
            let tls = &mut parameters.tls;
            match name {
                "user" if !value.is_empty() => parameters.user = Some(value),
                "timeout" => {
                    parameters.timeout =
                        value.parse().map_err(|_| wrong("the timeout is not a number of seconds"))?;
                }
                "cluster" if value == "this-node" => parameters.this_node = true,
                "insecure" if secure => tls.insecure = value == "true",
                "cacert" | "cert" | "key" | "sni" if secure && !value.is_empty() => {
                    let place = match name {
                        "cacert" => &mut tls.cacert,
                        "cert" => &mut tls.cert,
                        "key" => &mut tls.key,
                        _ => &mut tls.sni,
                    };
                    *place = Some(value);
                }
                _ => {
                    return Err(wrong(
                        "the parameters are user=NAME, timeout=SECONDS, cluster=this-node, and for rediss:// cacert=FILE, \
                         cert=FILE, key=FILE, sni=NAME, insecure=true",
                    ));
                }
            }
        }
        parameters.tls.check()?;
        Ok(parameters)
    }
}

impl Tls {
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.cert.is_some() != self.key.is_some() {
            return Err(Error::Options("cert and key require each other".to_owned()));
        }
        if self.insecure && self.cacert.is_some() {
            return Err(Error::Options("insecure=true and cacert are mutually exclusive".to_owned()));
        }
        Ok(())
    }
}

/// `host:port`, and a path that may only be a database number.
pub(super) fn tcp(address: &str, path: &str, tls: Option<Tls>) -> Result<Address, Error> {
    if !matches!(path, "" | "/" | "/0") {
        return Err(wrong("it contains a database number, but all databases of a server are used"));
    }
    let (host, port) = host_and_port(address, 6379)?;
    Ok(Address::Tcp { host, port, tls })
}

/// The nodes of a cluster.
pub(super) fn cluster_of(addresses: &str, path: &str, tls: Option<Tls>) -> Result<Address, Error> {
    if !matches!(path, "" | "/" | "/0") {
        return Err(wrong("expected redis+cluster://[user[:password]@]host[:port][,host[:port]]"));
    }
    let nodes: Result<Vec<_>, Error> =
        addresses.split(',').map(|address| host_and_port(address, 6379)).collect();
    Ok(Address::Cluster(Cluster { nodes: nodes?, tls, seen: Arc::default() }))
}

/// The Sentinels and the master's name.
pub(super) fn sentinels(addresses: &str, path: &str, tls: Option<Tls>) -> Result<Address, Error> {
    const FORM: &str = "expected redis+sentinel://[user[:password]@]host[:port][,host[:port]]/master-name";
    let name = path.trim_start_matches('/');
    let name = name.strip_suffix("/0").unwrap_or(name);
    if name.is_empty() {
        return Err(wrong(FORM));
    }
    if name.contains('/') {
        return Err(wrong("it contains a database number, but all databases of a server are used"));
    }
    let nodes: Result<Vec<_>, Error> =
        addresses.split(',').map(|address| host_and_port(address, 26379)).collect();
    let master = decode(name).map_err(|e| wrong(&e))?;
    Ok(Address::Sentinel(Sentinel { nodes: nodes?, master, tls, found: Arc::default() }))
}

fn host_and_port(address: &str, usual: u16) -> Result<(String, u16), Error> {
    let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => match address.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    let port = match port {
        Some(text) => text.parse().map_err(|_| wrong("the port is not a number from 1 to 65535"))?,
        None => usual,
    };
    Ok((host.to_owned(), port))
}

/// Decodes %-escapes strictly: what is no escape is an error, and not a percent sign.
pub(super) fn decode(text: &str) -> Result<String, String> {
    let is_escape = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if !text.split('%').skip(1).all(is_escape) {
        return Err("a % is not followed by two hexadecimal digits".to_owned());
    }
    percent_decode_str(text)
        .decode_utf8()
        .map(Cow::into_owned)
        .map_err(|_| "%-escapes do not decode to UTF-8".to_owned())
}
