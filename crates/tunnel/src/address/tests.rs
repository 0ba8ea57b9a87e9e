use proptest::prelude::*;

use super::*;
use crate::Error;

fn parse(url: &str) -> Address {
    Address::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

fn kubernetes(url: &str) -> Kubernetes {
    match parse(url).destination {
        Destination::Kubernetes(place) => place,
        other => panic!("{url}: {other:?}"),
    }
}

#[test]
fn a_pod_is_named_with_and_without_a_context() {
    let url = "k8s://minikube/coin-pilot-ns/svc/db:5432/coinpilot?user=postgres&secret=coin-pilot-secret/DB_PASSWORD&sslmode=disable";
    let address = parse(url);
    let place = kubernetes(url);
    assert_eq!(place.context.as_deref(), Some("minikube"));
    assert_eq!((place.namespace.as_str(), place.name.as_str()), ("coin-pilot-ns", "db"));
    assert_eq!((place.workload, place.port), (Workload::Service, Some(5432)));
    assert_eq!((address.database(), address.user()), (Some("coinpilot"), Some("postgres")));
    assert_eq!(address.details.secret, Some(("coin-pilot-secret".to_owned(), "DB_PASSWORD".to_owned())));
    assert_eq!(address.options(), [("sslmode".to_owned(), "disable".to_owned())]);
    assert_eq!(address.to_string(), "k8s://minikube/coin-pilot-ns/service/db:5432");

    let place = kubernetes("k8s://ns/statefulset/redis");
    assert_eq!((place.context, place.workload), (None, Workload::StatefulSet));
    // Context names of cloud providers contain slashes and colons.
    let place = kubernetes("k8s://arn:aws:eks:us-east-1:1:cluster%2Fa/ns/pod/db-0/d");
    assert_eq!(place.context.as_deref(), Some("arn:aws:eks:us-east-1:1:cluster/a"));
    let place = kubernetes("k8s://kubernetes-admin@kubernetes/ns/deploy/x");
    assert_eq!(place.context.as_deref(), Some("kubernetes-admin@kubernetes"));
}

#[test]
fn a_container_is_named() {
    let address = parse("docker://coinpilot-db:5433/coin%20pilot?password-env=POSTGRES_PASSWORD&route=exec");
    let place =
        Destination::Docker { name: "coinpilot-db".to_owned(), port: Some(5433), route: Some(Route::Exec) };
    assert_eq!(address.destination, place);
    assert_eq!(address.database(), Some("coin pilot"));
    assert_eq!(address.details.password_env.as_deref(), Some("POSTGRES_PASSWORD"));
    assert_eq!(parse("docker://r?kind=redis").kind(), Some("redis"));
}

#[test]
fn hosts_nest() {
    let address = parse("ssh://a@one/ssh://[::1]:2222/docker://db/app");
    let hops: Vec<String> = address.hops.iter().map(ToString::to_string).collect();
    assert_eq!(hops, ["a@one", "[::1]:2222"]);
    assert_eq!(address.to_string(), "ssh://a@one/ssh://[::1]:2222/docker://db");
    let address = parse("ssh://vm/postgres://u:pw@localhost/db?sslmode=require");
    assert_eq!(address.inner_url(), Some("postgres://u:pw@localhost/db?sslmode=require"));
    assert!(!address.to_string().contains("pw"), "{address}");
    assert!(Address::recognizes("ssh://x") && !Address::recognizes("postgres://x"));
}

#[test]
fn invalid_input_is_an_error_without_secrets() {
    for url in [
        "",
        "k8s://",
        "k8s://ns/db",
        "k8s://ns/job/db/x",
        "k8s://ctx/ns/pod/db/x/y",
        "k8s://ns/pod/",
        "k8s://ns/pod/-o",
        "k8s://--kubeconfig=x/ns/pod/db",
        "k8s://-n/pod/db",
        "k8s://ns/pod/DB",
        "k8s://ns/pod/db:0",
        "k8s://ns/pod/db:70000",
        "k8s://ns/pod/db:+1",
        "k8s://ns/pod/db/d?secret=hunter2",
        "k8s://ns/pod/db/d?secret=-x/k",
        "k8s://ns/pod/db/d?secret=a/b/c",
        "k8s://ns/pod/db/d?secret=a/b&secret=a/b",
        "k8s://ns/pod/db/d?password=hunter2",
        "k8s://ns/pod/db/d?password-env=X",
        "k8s://ns/pod/db/d?route=exec",
        "k8s://ns/pod/db/%ff",
        "k8s://ns/pod/db/%zz",
        "k8s://ns/pod/db/a%00b",
        "docker://",
        "docker://-it",
        "docker://a;b",
        "docker://a%20b",
        "docker://a/d?route=magic",
        "docker://a/d?secret=x/y",
        "docker://a/d?user=",
        "ssh://host",
        "ssh://-oProxyCommand=x/docker://a",
        "ssh://-l@host/docker://a",
        "ssh://u:hunter2@host/docker://a",
        "ssh://a%0ab/docker://a",
        "ssh:///docker://a",
        "ssh://[::1/docker://a",
        "ssh://h/nothing",
        "mysql://h/d",
    ] {
        let error = Address::parse(url).map(|address| format!("{address:?}")).expect_err(url);
        assert!(matches!(error, Error::Url(_)) && error.is_usage(), "{url}: {error}");
        assert!(!error.to_string().contains("hunter2"), "{url}: {error}");
    }
    let long = "ssh://h/".repeat(9) + "docker://a";
    assert!(Address::parse(&long).unwrap_err().to_string().contains("8 hosts"));
}

proptest! {
    #[test]
    fn no_text_panics(text in "(ssh|k8s|docker)://[-a-z@:/?=&%0-9\\[\\]]{0,60}") {
        if let Ok(address) = Address::parse(&text) {
            let _ = address.to_string();
        }
    }

    #[test]
    fn no_option_gets_through(name in "-[ -~]{0,10}") {
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for url in [
            format!("k8s://{encoded}/ns/pod/p"),
            format!("k8s://{encoded}/pod/p"),
            format!("k8s://ns/pod/{encoded}"),
            format!("docker://{encoded}"),
            format!("ssh://{encoded}/docker://a"),
            format!("ssh://{encoded}@h/docker://a"),
        ] {
            prop_assert!(Address::parse(&url).is_err());
        }
    }
}
