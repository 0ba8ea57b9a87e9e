//! Selects a pod and its port for a service, a StatefulSet or a deployment, as `kubectl port-forward` does.

use std::collections::BTreeMap;

use super::objects::{LabelSelector, Pod, PortOrName, Service, ServicePort};
use crate::Error;

fn no_pod(object: &str, message: impl Into<String>) -> Error {
    Error::NoPod { object: object.to_owned(), message: message.into() }
}

/// The selector of a service.
pub(super) fn of_labels(object: &str, labels: &BTreeMap<String, String>) -> Result<String, Error> {
    match labels.is_empty() {
        // An empty selector would select every pod of the namespace.
        true => Err(no_pod(object, "it has no selector, so that no pod belongs to it")),
        false => Ok(labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")),
    }
}

/// The selector of a controller.
pub(super) fn of_selector(object: &str, selector: &LabelSelector) -> Result<String, Error> {
    let mut parts: Vec<String> =
        selector.match_labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    for expression in &selector.match_expressions {
        let (key, values) = (&expression.key, expression.values.join(","));
        parts.push(match expression.operator.as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.clone(),
            "DoesNotExist" => format!("!{key}"),
            other => return Err(no_pod(object, format!("its selector has an unknown operator `{other}`"))),
        });
    }
    match parts.is_empty() {
        true => Err(no_pod(object, "its selector is empty")),
        false => Ok(parts.join(",")),
    }
}

/// The first pod by name that is ready, otherwise the first that is running. For a StatefulSet this is the pod `…-0`.
pub(super) fn pod(object: &str, mut pods: Vec<Pod>, owner: Option<&String>) -> Result<Pod, Error> {
    if let Some(owner) = owner.filter(|owner| !owner.is_empty()) {
        pods.retain(|pod| pod.metadata.owner_references.iter().any(|reference| reference.uid == *owner));
    }
    pods.sort_by_key(|pod| ordinal(&pod.metadata.name));
    let found = pods.iter().position(Pod::is_ready).or_else(|| pods.iter().position(Pod::is_running));
    if let Some(at) = found {
        return Ok(pods.swap_remove(at));
    }
    match pods.first() {
        None => Err(no_pod(object, "no pod belongs to it")),
        Some(pod) => Err(Error::NotRunning {
            object: format!("{object}: pod `{}`", pod.metadata.name),
            state: pod.describe(),
        }),
    }
}

/// Sorts `db-2` before `db-10`.
fn ordinal(name: &str) -> (String, u64, String) {
    let (base, number) = name.rsplit_once('-').unwrap_or((name, ""));
    (base.to_owned(), number.parse().unwrap_or(u64::MAX), name.to_owned())
}

/// The pod's port for a service port.
pub(super) fn target_port(
    object: &str,
    service: &Service,
    pod: &Pod,
    wanted: Option<u16>,
    default: u16,
) -> Result<u16, Error> {
    let ports = &service.spec.ports;
    let of = |number: u16| ports.iter().find(|port| port.port == number);
    let found = match (wanted, ports.as_slice()) {
        (Some(wanted), _) => of(wanted),
        // A service with a single port means that one, whatever its number.
        (None, [only]) => Some(only),
        (None, _) => of(default),
    };
    let missing = || Error::Port {
        object: object.to_owned(),
        wanted: wanted.unwrap_or(default),
        has: match ports.is_empty() {
            true => "none".to_owned(),
            false => ports.iter().map(describe).collect::<Vec<_>>().join(", "),
        },
    };
    let found = found.ok_or_else(missing)?;
    match &found.target_port {
        Some(PortOrName::Port(port)) if *port > 0 => Ok(*port),
        Some(PortOrName::Name(name)) => {
            let all = pod.spec.containers.iter().flat_map(|container| &container.ports);
            let port =
                all.filter(|port| port.name == *name).map(|port| port.container_port).find(|port| *port > 0);
            let message = || format!("pod `{}` has no port named `{name}`", pod.metadata.name);
            port.ok_or_else(|| no_pod(object, message()))
        }
        // A headless service does not map ports.
        _ => Ok(found.port),
    }
}

fn describe(port: &ServicePort) -> String {
    match port.name.is_empty() {
        true => port.port.to_string(),
        false => format!("{} ({})", port.port, port.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(text: &str) -> Vec<Pod> {
        serde_json::from_str(text).unwrap()
    }

    fn service(text: &str) -> Service {
        serde_json::from_str(text).unwrap()
    }

    const READY: &str = r#""status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}"#;

    #[test]
    fn the_first_ready_pod_is_taken() {
        let text = format!(
            r#"[{{"metadata":{{"name":"db-10","uid":"c"}},{READY}}},
                {{"metadata":{{"name":"db-2","uid":"b"}},{READY}}},
                {{"metadata":{{"name":"db-0","uid":"a"}},"status":{{"phase":"Pending","containerStatuses":[
                    {{"state":{{"waiting":{{"reason":"ImagePullBackOff"}}}}}}]}}}},
                {{"metadata":{{"name":"db-1","uid":"d","deletionTimestamp":"2026-11-28T00:00:00Z"}},{READY}}}]"#
        );
        assert_eq!(pod("x", pods(&text), None).unwrap().metadata.name, "db-2");
        let mut pending = pods(&text);
        pending.retain(|pod| pod.metadata.name == "db-0");
        let error = pod("service `db`", pending, None).unwrap_err().to_string();
        assert_eq!(error, "service `db`: pod `db-0` is not running: Pending: ImagePullBackOff");
        let error = pod("service `db`", Vec::new(), None).unwrap_err().to_string();
        assert!(error.contains("no pod belongs to it"), "{error}");
        let error = pod("x", pods(&text), Some(&"other".to_owned())).unwrap_err();
        assert!(matches!(error, Error::NoPod { .. }));
    }

    #[test]
    fn a_services_port_leads_to_the_pods() {
        let pod = pods(
            r#"[{"metadata":{"name":"p"},"spec":{"containers":[{"ports":[{"name":"pg","containerPort":5433}]}]}}]"#,
        )
        .remove(0);
        let named =
            service(r#"{"spec":{"ports":[{"port":5432,"targetPort":"pg"},{"name":"m","port":9187}]}}"#);
        assert_eq!(target_port("s", &named, &pod, None, 5432).unwrap(), 5433);
        assert_eq!(target_port("s", &named, &pod, Some(9187), 5432).unwrap(), 9187);
        let error = target_port("service `db`", &named, &pod, Some(9999), 5432).unwrap_err().to_string();
        assert_eq!(error, "service `db` has no port 9999; it has 5432, 9187 (m)");
        let only = service(r#"{"spec":{"ports":[{"port":80,"targetPort":15432}]}}"#);
        assert_eq!(target_port("s", &only, &pod, None, 5432).unwrap(), 15432);
        let unnamed = service(r#"{"spec":{"ports":[{"port":1,"targetPort":"nope"}]}}"#);
        assert!(target_port("s", &unnamed, &pod, None, 1).unwrap_err().to_string().contains("`nope`"));
        let none = service(r#"{"spec":{"clusterIP":"None"}}"#);
        assert!(target_port("s", &none, &pod, None, 1).unwrap_err().to_string().ends_with("it has none"));
    }

    #[test]
    fn a_selector_is_written_as_kubectl_reads_it() {
        let text = r#"{"matchLabels":{"app":"db"},"matchExpressions":[{"key":"t","operator":"In","values":["a","b"]},
            {"key":"u","operator":"NotIn","values":["c"]},{"key":"v","operator":"Exists"},{"key":"w","operator":"DoesNotExist"}]}"#;
        let selector: LabelSelector = serde_json::from_str(text).unwrap();
        assert_eq!(of_selector("x", &selector).unwrap(), "app=db,t in (a,b),u notin (c),v,!w");
        assert!(of_selector("x", &LabelSelector::default()).is_err());
        assert!(of_labels("x", &BTreeMap::new()).is_err());
    }
}
