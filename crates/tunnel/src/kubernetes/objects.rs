//! The relevant parts of Kubernetes objects.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::Error;

#[derive(Deserialize, Debug, Clone, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Metadata {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(super) deletion_timestamp: Option<String>,
    pub(super) owner_references: Vec<Owner>,
}

#[derive(Deserialize, Debug, Clone, Default)]
#[serde(default)]
pub(crate) struct Owner {
    pub(super) uid: String,
}

#[derive(Deserialize)]
pub(super) struct List<T> {
    #[serde(default = "Vec::new")]
    pub(super) items: Vec<T>,
}

#[derive(Deserialize, Debug, Clone)]
pub(crate) struct Pod {
    pub(crate) metadata: Metadata,
    #[serde(default)]
    pub(super) spec: PodSpec,
    #[serde(default)]
    pub(super) status: PodStatus,
}

#[derive(Deserialize, Debug, Clone, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodSpec {
    pub(super) containers: Vec<Container>,
}

#[derive(Deserialize, Debug, Clone, Default)]
#[serde(default)]
pub(crate) struct Container {
    image: Option<String>,
    pub(super) ports: Vec<ContainerPort>,
}

#[derive(Deserialize, Debug, Clone, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ContainerPort {
    pub(super) name: String,
    pub(super) container_port: u16,
}

#[derive(Deserialize, Debug, Clone, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodStatus {
    pub(super) phase: String,
    message: String,
    reason: String,
    conditions: Vec<Condition>,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Deserialize, Debug, Clone, Default)]
#[serde(default)]
struct Condition {
    r#type: String,
    status: String,
    message: String,
}

#[derive(Deserialize, Debug, Clone, Default)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    state: ContainerState,
}

#[derive(Deserialize, Debug, Clone, Default)]
#[serde(default)]
struct ContainerState {
    waiting: Option<Waiting>,
}

#[derive(Deserialize, Debug, Clone, Default)]
#[serde(default)]
struct Waiting {
    reason: String,
    message: String,
}

impl Pod {
    /// The image of the container that has this port; without one, that of the only container.
    pub(crate) fn image(&self, port: u16) -> Option<&str> {
        let all = &self.spec.containers;
        let of_port = all.iter().find(|container| container.ports.iter().any(|p| p.container_port == port));
        let only = || all.first().filter(|_| all.len() == 1);
        of_port.or_else(only)?.image.as_deref()
    }

    /// Whether it is ready, according to Kubernetes.
    pub(super) fn is_ready(&self) -> bool {
        let ready = |condition: &Condition| condition.r#type == "Ready" && condition.status == "True";
        self.is_running() && self.status.conditions.iter().any(ready)
    }

    pub(super) fn is_running(&self) -> bool {
        self.status.phase == "Running" && self.metadata.deletion_timestamp.is_none()
    }

    pub(super) fn require_running(&self) -> Result<(), Error> {
        match self.is_running() {
            true => Ok(()),
            false => Err(Error::NotRunning {
                object: format!("pod `{}`", self.metadata.name),
                state: self.describe(),
            }),
        }
    }

    /// Its phase, with the reason.
    pub(super) fn describe(&self) -> String {
        if self.metadata.deletion_timestamp.is_some() {
            return "Terminating".to_owned();
        }
        let status = &self.status;
        let mut parts = vec![status.phase.as_str(), &status.reason, &status.message];
        for waiting in
            status.container_statuses.iter().filter_map(|container| container.state.waiting.as_ref())
        {
            parts.extend([waiting.reason.as_str(), waiting.message.as_str()]);
        }
        let failed = |condition: &&Condition| condition.status == "False" && !condition.message.is_empty();
        parts.extend(status.conditions.iter().filter(failed).map(|condition| condition.message.as_str()));
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).take(6).collect();
        if parts.is_empty() { "its state is unknown".to_owned() } else { parts.join(": ") }
    }
}

#[derive(Deserialize, Debug)]
pub(super) struct Service {
    pub(super) spec: ServiceSpec,
}

#[derive(Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ServiceSpec {
    #[serde(rename = "clusterIP")]
    pub(super) cluster_ip: String,
    pub(super) selector: BTreeMap<String, String>,
    pub(super) ports: Vec<ServicePort>,
}

#[derive(Deserialize, Debug, Clone, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ServicePort {
    pub(super) name: String,
    pub(super) port: u16,
    pub(super) target_port: Option<PortOrName>,
}

#[derive(Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(untagged)]
pub(super) enum PortOrName {
    Port(u16),
    Name(String),
}

/// A StatefulSet or a deployment.
#[derive(Deserialize, Debug)]
pub(super) struct Controller {
    pub(super) metadata: Metadata,
    pub(super) spec: ControllerSpec,
}

#[derive(Deserialize, Debug, Default)]
#[serde(default)]
pub(super) struct ControllerSpec {
    pub(super) selector: LabelSelector,
}

#[derive(Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LabelSelector {
    pub(super) match_labels: BTreeMap<String, String>,
    pub(super) match_expressions: Vec<Expression>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(default)]
pub(super) struct Expression {
    pub(super) key: String,
    pub(super) operator: String,
    pub(super) values: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct Secret {
    #[serde(default)]
    pub(super) data: BTreeMap<String, String>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.data.keys()).finish()
    }
}

/// Output of `kubectl config view --minify`.
#[derive(Deserialize, Debug)]
pub(super) struct Config {
    #[serde(rename = "current-context", default)]
    current_context: Option<String>,
    #[serde(default)]
    clusters: Option<Vec<NamedCluster>>,
}

#[derive(Deserialize, Debug)]
struct NamedCluster {
    cluster: Cluster,
}

#[derive(Deserialize, Debug)]
struct Cluster {
    #[serde(default)]
    server: String,
}

impl Config {
    pub(super) fn current_context(&self) -> Option<String> {
        self.current_context.clone().filter(|context| !context.is_empty() && !context.starts_with('-'))
    }

    pub(super) fn server(&self) -> Option<String> {
        let cluster = self.clusters.as_ref()?.first()?;
        Some(cluster.cluster.server.clone()).filter(|server| !server.is_empty())
    }
}

/// Parses an object. Errors quote nothing of it, because it may be a secret.
pub(super) fn parse<T: DeserializeOwned>(what: &str, text: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(text).map_err(|error| Error::Output {
        what: what.to_owned(),
        message: format!("not the JSON of such an object (line {}, column {})", error.line(), error.column()),
    })
}
