//! Kubernetes pods.

mod objects;
mod select;

use std::time::Duration;

use base64::Engine as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::ChildStdout;

use crate::address::{Kubernetes, Workload};
use crate::host::{Host, Target};
use crate::process::{self, ANSWER_TIMEOUT, Line, Running};
use crate::stream::Stream;
use crate::{Error, Programs, Secret};

use objects::{List, Pod};

/// A pod, resolved once.
#[derive(Debug)]
pub(crate) struct ForwardedPod {
    kubectl: Kubectl,
    pub(crate) pod: Pod,
    pub(crate) port: u16,
}

/// kubectl, with a fixed context.
#[derive(Debug)]
pub(crate) struct Kubectl {
    host: Host,
    program: String,
    pub(crate) context: Option<String>,
    /// Address of the cluster's API, if the configuration contains it.
    pub(crate) server: Option<String>,
    namespace: String,
}

impl ForwardedPod {
    pub(crate) async fn open(
        host: Host,
        place: &Kubernetes,
        default_port: u16,
        programs: &Programs,
    ) -> Result<ForwardedPod, Error> {
        let kubectl = Kubectl::open(host, place, programs).await?;
        let (pod, port) = kubectl.resolve(place, default_port).await?;
        pod.require_running()?;
        Ok(ForwardedPod { kubectl, pod, port })
    }

    pub(crate) fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// A port-forward of its own for each connection: from kubectl 1.30 on, a reset of one connection ends all
    /// connections of a forward.
    pub(crate) async fn connect(&self) -> Result<Stream, Error> {
        let name = &self.pod.metadata.name;
        let (forward, same) = tokio::join!(self.kubectl.forward(name, self.port), self.same_pod());
        // An error about the pod is more useful than the failed port-forward.
        same?;
        let (port, running) = forward?;
        let stream = self.kubectl.host.connect(&Target::Tcp("127.0.0.1".to_owned(), port)).await?;
        Ok(stream.with(running))
    }

    /// A replaced pod of a StatefulSet has the same name, but may have other data.
    async fn same_pod(&self) -> Result<(), Error> {
        let name = &self.pod.metadata.name;
        let now: Pod = self.kubectl.get("pod", name).await?;
        if now.metadata.uid != self.pod.metadata.uid {
            return Err(Error::Replaced {
                object: format!("pod `{name}`"),
                before: self.pod.metadata.uid.clone(),
                now: now.metadata.uid,
            });
        }
        now.require_running()
    }
}

impl Kubectl {
    /// Fixes the context: the user may switch to another while a job runs.
    async fn open(host: Host, place: &Kubernetes, programs: &Programs) -> Result<Kubectl, Error> {
        let mut kubectl = Kubectl {
            host,
            program: programs.kubectl.clone(),
            context: place.context.clone(),
            server: None,
            namespace: place.namespace.clone(),
        };
        let what = "kubectl config view";
        let line = kubectl.line(what, &["config", "view", "--minify", "-o", "json"]);
        match kubectl.host.output(line).await {
            Ok(text) => {
                let config: objects::Config = objects::parse(what, &text)?;
                kubectl.server = config.server();
                kubectl.context = kubectl.context.or(config.current_context());
            }
            // Inside a pod there is no configuration, and none is needed.
            Err(Error::Failed { .. }) if kubectl.context.is_none() => {}
            Err(error) => return Err(error),
        }
        Ok(kubectl)
    }

    fn line(&self, what: &str, arguments: &[&str]) -> Line {
        let mut all = Vec::new();
        all.extend(self.context.as_ref().map(|context| format!("--context={context}")));
        all.push(format!("--namespace={}", self.namespace));
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let what = match &self.context {
            Some(context) => format!("{what} (context {context}, namespace {})", self.namespace),
            None => format!("{what} (namespace {})", self.namespace),
        };
        Line { program: self.program.clone(), arguments: all, what }
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, kind: &str, name: &str) -> Result<T, Error> {
        let what = format!("kubectl get {kind} `{name}`");
        let line = self.line(&what, &["get", kind, "-o", "json", "--request-timeout=25s", "--", name]);
        objects::parse(&what, &self.host.output(line).await?)
    }

    async fn pods(&self, selector: &str) -> Result<Vec<Pod>, Error> {
        let what = format!("kubectl get pods -l `{selector}`");
        let selector = format!("--selector={selector}");
        let line = self.line(&what, &["get", "pods", "-o", "json", "--request-timeout=25s", &selector]);
        let list: List<Pod> = objects::parse(&what, &self.host.output(line).await?)?;
        Ok(list.items)
    }

    /// Resolves the pod and its port.
    async fn resolve(&self, place: &Kubernetes, default_port: u16) -> Result<(Pod, u16), Error> {
        let name = place.name.as_str();
        let port = place.port.unwrap_or(default_port);
        let kind = place.workload.as_str();
        let object = format!("{kind} `{name}`");
        match place.workload {
            Workload::Pod => Ok((self.get(kind, name).await?, port)),
            Workload::Service => {
                let service: objects::Service = self.get(kind, name).await?;
                let selector = select::of_labels(&object, &service.spec.selector)?;
                let pod = select::pod(&object, self.pods(&selector).await?, None)?;
                let port = select::target_port(&object, &service, &pod, place.port, default_port)?;
                Ok((pod, port))
            }
            Workload::StatefulSet | Workload::Deployment => {
                let controller: objects::Controller = self.get(kind, name).await?;
                let selector = select::of_selector(&object, &controller.spec.selector)?;
                let owner = (place.workload == Workload::StatefulSet).then_some(&controller.metadata.uid);
                Ok((select::pod(&object, self.pods(&selector).await?, owner)?, port))
            }
        }
    }

    /// A key of a secret. `-o jsonpath` does not report a missing key.
    pub(crate) async fn secret(&self, name: &str, key: &str) -> Result<Secret, Error> {
        let secret: objects::Secret = self.get("secret", name).await?;
        let Some(value) = secret.data.get(key) else {
            let keys: Vec<String> = secret.data.keys().map(|key| format!("`{key}`")).collect();
            let keys = if keys.is_empty() { "none".to_owned() } else { keys.join(", ") };
            return Err(Error::MissingKey { secret: name.to_owned(), key: key.to_owned(), keys });
        };
        let bytes = base64::engine::general_purpose::STANDARD.decode(value).ok();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        // Files that become secrets often end with a newline; passwords rarely do.
        text.map(|text| Secret::new(text.trim_end_matches(['\r', '\n']))).ok_or_else(|| Error::Output {
            what: format!("secret `{name}`"),
            message: format!("the value of `{key}` is not text in base64"),
        })
    }

    /// Starts a port-forward and returns the local port that kubectl chose: a port chosen here could be taken by
    /// another program first.
    async fn forward(&self, pod: &str, port: u16) -> Result<(u16, Running), Error> {
        let what = format!("kubectl port-forward to pod `{pod}`");
        let target = format!("pod/{pod}");
        let port = format!(":{port}");
        let arguments = ["port-forward", "--address=127.0.0.1", "--", &target, &port];
        let (stdout, running) = self.host.background(&self.line(&what, &arguments))?;
        let mut stdout = BufReader::new(stdout);
        match tokio::time::timeout(ANSWER_TIMEOUT, forwarded_port(&mut stdout)).await {
            Ok(Some(port)) => {
                process::drain(stdout);
                Ok((port, running))
            }
            Ok(None) => {
                let ended = running.ended_within(Duration::from_secs(2)).await;
                Err(running.failed(ended.as_ref()))
            }
            Err(_) => Err(match running.said() {
                said if said.is_empty() => Error::TimedOut { what, seconds: ANSWER_TIMEOUT.as_secs() },
                _ => running.failed(None),
            }),
        }
    }
}

/// The port in `Forwarding from 127.0.0.1:45001 -> 5432`; `None` if the program ends without that line.
async fn forwarded_port(stdout: &mut BufReader<ChildStdout>) -> Option<u16> {
    loop {
        let mut line = Vec::new();
        let read = (&mut *stdout).take(4096).read_until(b'\n', &mut line).await.ok()?;
        if read == 0 {
            return None;
        }
        let line = String::from_utf8_lossy(&line);
        let port = line.strip_prefix("Forwarding from 127.0.0.1:").and_then(|rest| rest.split(' ').next());
        if let Some(port) = port.and_then(|port| port.parse().ok()) {
            return Some(port);
        }
    }
}
