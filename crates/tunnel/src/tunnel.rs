//! A tunnel to a server, opened once; connections through it.

use std::fmt;

use serde::Serialize;

use crate::address::{Destination, Route};
use crate::docker::Container;
use crate::host::{Host, Target};
use crate::kubernetes::ForwardedPod;
use crate::stream::Stream;
use crate::{Address, Error, Programs, Secret};

/// A tunnel to a server. The address was resolved, and all connections lead to the result.
#[derive(Debug)]
pub struct Tunnel {
    address: Address,
    end: End,
    password: Option<Secret>,
    reached: Reached,
}

#[derive(Debug)]
enum End {
    Pod(Box<ForwardedPod>),
    Container(Box<Container>),
    Host(Host),
}

/// What the tunnel leads to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Reached {
    /// The ssh hosts, as `user@host:port`, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// The pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<ReachedPod>,
    /// The container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<ReachedContainer>,
}

/// The pod that was reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct ReachedPod {
    /// Context of the configuration; `None` inside a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Address of the cluster's API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID, which is unique.
    pub uid: String,
    /// The image of the container that serves the port, as far as the pod says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Port in the pod.
    pub port: u16,
}

/// The container that was reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct ReachedContainer {
    /// Name.
    pub name: String,
    /// Id, which is unique.
    pub id: String,
    /// Image.
    pub image: String,
    /// Port in the container.
    pub port: u16,
    /// How it is connected to.
    pub route: Route,
}

impl Tunnel {
    /// Resolves an address and reads the password from where it says. `default_port` is that of the server in a pod
    /// or container, if the address contains none.
    ///
    /// # Errors
    /// The output of a program that fails, and missing objects.
    pub async fn open(address: &Address, default_port: u16, programs: &Programs) -> Result<Tunnel, Error> {
        let mut host = Host::Local;
        let mut reached = Reached::default();
        for hop in &address.hops {
            host = host.hop(hop, programs).await?;
            reached.hosts.push(hop.to_string());
        }
        let mut password = None;
        let end = match &address.destination {
            Destination::Kubernetes(place) => {
                let pod = ForwardedPod::open(host, place, default_port, programs).await?;
                if let Some((secret, key)) = &address.details.secret {
                    password = Some(pod.kubectl().secret(secret, key).await?);
                }
                reached.pod = Some(reached_pod(&pod, &place.namespace));
                End::Pod(Box::new(pod))
            }
            Destination::Docker { name, port, route } => {
                let port = port.unwrap_or(default_port);
                let container = Container::open(host, name, port, *route, programs).await?;
                if let Some(variable) = &address.details.password_env {
                    password = Some(container.password(variable)?);
                }
                reached.container = container.route().map(|route| ReachedContainer {
                    name: container.name.clone(),
                    id: container.id().to_owned(),
                    image: container.image().to_owned(),
                    port: container.port,
                    route,
                });
                End::Container(Box::new(container))
            }
            Destination::Url(_) => End::Host(host),
        };
        Ok(Tunnel { address: address.clone(), end, password, reached })
    }

    /// The address that was opened.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What the tunnel leads to.
    pub fn reached(&self) -> &Reached {
        &self.reached
    }

    /// The password, if the address says where it is.
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// An environment variable of the container; `None` elsewhere.
    pub fn variable(&self, name: &str) -> Option<&str> {
        match &self.end {
            End::Container(container) => container.variable(name),
            End::Pod(_) | End::Host(_) => None,
        }
    }

    /// A new connection. `target` is the destination from the last host; for a pod or container it is fixed by the
    /// address.
    ///
    /// A stream may be returned before it is known whether a server is at its end: then the first read fails.
    ///
    /// # Errors
    /// The output of the program that fails; [`Error::Replaced`] if the pod or container with this name has been
    /// replaced.
    pub async fn connect(&self, target: &Target) -> Result<Stream, Error> {
        match &self.end {
            End::Pod(pod) => pod.connect().await,
            End::Container(container) => container.connect().await,
            End::Host(host) => host.connect(target).await,
        }
    }
}

fn reached_pod(forwarded: &ForwardedPod, namespace: &str) -> ReachedPod {
    let kubectl = forwarded.kubectl();
    let metadata = &forwarded.pod.metadata;
    ReachedPod {
        context: kubectl.context.clone(),
        server: kubectl.server.clone(),
        namespace: match metadata.namespace.is_empty() {
            true => namespace.to_owned(),
            false => metadata.namespace.clone(),
        },
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        image: forwarded.pod.image(forwarded.port).map(str::to_owned),
        port: forwarded.port,
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(pod) = &self.pod {
            write!(f, "pod {}/{} (uid {}", pod.namespace, pod.name, pod.uid)?;
            if let Some(context) = &pod.context {
                write!(f, ", context {context}")?;
            }
            f.write_str(")")?;
            separator = " ";
        }
        if let Some(container) = &self.container {
            let id: String = container.id.chars().take(12).collect();
            write!(f, "container {} (id {id}, image {})", container.name, container.image)?;
            separator = " ";
        }
        if !self.hosts.is_empty() {
            write!(f, "{separator}through ssh {}", self.hosts.join(", "))?;
        }
        Ok(())
    }
}
