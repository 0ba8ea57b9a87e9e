//! The parsed URL of a server behind kubectl, docker or ssh.

mod parse;
#[cfg(test)]
mod tests;

use std::fmt;

/// Where a server is, and through which hosts it is reached.
///
/// ```
/// let address = tunnel::Address::parse("ssh://ubuntu@vm/docker://coinpilot-db/coinpilot?user=postgres")?;
/// assert_eq!(address.to_string(), "ssh://ubuntu@vm/docker://coinpilot-db");
/// assert_eq!(address.database(), Some("coinpilot"));
/// # Ok::<(), tunnel::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The ssh hosts, in order.
    pub(crate) hops: Vec<Hop>,
    pub(crate) destination: Destination,
    pub(crate) details: Details,
}

/// A host that is reached with ssh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hop {
    pub(crate) user: Option<String>,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
}

/// The destination behind the last host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// A Kubernetes pod.
    Kubernetes(Kubernetes),
    /// A Docker container.
    Docker { name: String, port: Option<u16>, route: Option<Route> },
    /// A server that the last host reaches by TCP or by a socket. The caller parses this URL.
    Url(String),
}

/// How a pod is addressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kubernetes {
    pub(crate) context: Option<String>,
    pub(crate) namespace: String,
    pub(crate) workload: Workload,
    pub(crate) name: String,
    pub(crate) port: Option<u16>,
}

/// A kind of object that leads to pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    Pod,
    Service,
    StatefulSet,
    Deployment,
}

impl Workload {
    /// Its name for kubectl.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Workload::Pod => "pod",
            Workload::Service => "service",
            Workload::StatefulSet => "statefulset",
            Workload::Deployment => "deployment",
        }
    }
}

/// How to connect to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Route {
    /// To its own address, in a network that this host belongs to.
    Address,
    /// Through standard input and output of a program run in it by `docker exec`.
    Exec,
    /// To a port that Docker publishes.
    Published,
}

impl Route {
    /// Name in a URL.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Route::Address => "address",
            Route::Exec => "exec",
            Route::Published => "published",
        }
    }
}

/// The rest of a URL, after the address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Details {
    pub(crate) database: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) secret: Option<(String, String)>,
    pub(crate) password_env: Option<String>,
    pub(crate) kind: Option<String>,
    /// Options for the protocol spoken over the stream.
    pub(crate) rest: Vec<(String, String)>,
}

impl Address {
    /// Whether this crate parses the URL: `k8s://`, `docker://` or `ssh://`.
    pub fn recognizes(url: &str) -> bool {
        url.split_once("://").is_some_and(|(scheme, _)| parse::SCHEMES.contains(&scheme))
    }

    /// The URL after the last `ssh://`, unless the destination is a pod or a container. The caller parses it;
    /// addresses in it are resolved by the last host.
    pub fn inner_url(&self) -> Option<&str> {
        match &self.destination {
            Destination::Url(url) => Some(url),
            Destination::Kubernetes(_) | Destination::Docker { .. } => None,
        }
    }

    /// Database of the server in a pod or container.
    pub fn database(&self) -> Option<&str> {
        self.details.database.as_deref()
    }

    /// The user, if the URL contains one.
    pub fn user(&self) -> Option<&str> {
        self.details.user.as_deref()
    }

    /// The value of `kind=`: the protocol of the server.
    pub fn kind(&self) -> Option<&str> {
        self.details.kind.as_deref()
    }

    /// Port of the server in a pod or container, if the URL contains one.
    pub fn port(&self) -> Option<u16> {
        match &self.destination {
            Destination::Kubernetes(place) => place.port,
            Destination::Docker { port, .. } => *port,
            Destination::Url(_) => None,
        }
    }

    /// A host name for the server in a pod or container: `NAME.NAMESPACE`, or the container's name.
    pub fn server_name(&self) -> Option<String> {
        match &self.destination {
            Destination::Kubernetes(place) => Some(format!("{}.{}", place.name, place.namespace)),
            Destination::Docker { name, .. } => Some(name.clone()),
            Destination::Url(_) => None,
        }
    }

    /// The ssh hosts, as `user@host:port`, in order.
    pub fn hosts(&self) -> Vec<String> {
        self.hops.iter().map(ToString::to_string).collect()
    }

    /// Options of the URL that this crate does not interpret, such as `sslmode`, decoded.
    pub fn options(&self) -> &[(String, String)] {
        &self.details.rest
    }

    /// Whether the URL specifies where the password is stored.
    pub fn has_secret(&self) -> bool {
        self.details.secret.is_some() || self.details.password_env.is_some()
    }
}

/// The route and the destination, without database, user and options.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for hop in &self.hops {
            write!(f, "ssh://{hop}/")?;
        }
        let port = |f: &mut fmt::Formatter<'_>, port: Option<u16>| match port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        };
        match &self.destination {
            Destination::Kubernetes(place) => {
                f.write_str("k8s://")?;
                if let Some(context) = &place.context {
                    write!(f, "{context}/")?;
                }
                let Kubernetes { namespace, name, workload, .. } = place;
                write!(f, "{namespace}/{}/{name}", workload.as_str())?;
                port(f, place.port)
            }
            Destination::Docker { name, port: number, .. } => {
                write!(f, "docker://{name}")?;
                port(f, *number)
            }
            Destination::Url(url) => f.write_str(without_login(url)),
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => f.write_str(&self.host)?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// Only the scheme of a URL, because the rest may contain a password.
fn without_login(url: &str) -> &str {
    match url.split_once("://") {
        Some((_, rest)) if !rest.contains('@') && !rest.contains('?') => url,
        Some((scheme, _)) => scheme,
        None => "",
    }
}
