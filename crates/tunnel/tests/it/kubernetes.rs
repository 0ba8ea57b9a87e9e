use sandbox::testing::{FakeKubernetes, FakePod, Sshd, children_of, require_kubectl, require_sshd};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tunnel::Programs;

use crate::support::{anywhere, echo_server, echoes, eventually, flooded, open};

pub(crate) fn pod(name: &str, uid: &str, socket: Option<std::path::PathBuf>) -> FakePod {
    let (name, uid) = (name.to_owned(), uid.to_owned());
    FakePod { name, uid, app: "db".to_owned(), phase: "Running".to_owned(), socket }
}

struct Stage {
    api: FakeKubernetes,
    programs: Programs,
    _folder: tempfile::TempDir,
}

fn stage() -> Option<Stage> {
    let kubectl = require_kubectl()?;
    let folder = tempfile::tempdir().unwrap();
    let socket = echo_server(folder.path());
    let api = FakeKubernetes::start(vec![pod("db-0", "uid-1", Some(socket)), pod("shut-0", "uid-2", None)])
        .unwrap();
    api.change(|pods| pods[1].app = "shut".to_owned());
    api.service("db", "db", r#"[{"name":"pg","port":5432,"targetPort":"server"}]"#);
    api.stateful_set("db", "db");
    api.secret("coin-pilot-secret", "DB_PASSWORD", "s3cret word");
    let kubectl = api.kubectl(&kubectl).unwrap().display().to_string();
    Some(Stage { api, programs: Programs { kubectl, ..Programs::default() }, _folder: folder })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_leads_to_its_pod_and_bytes_pass_intact() {
    let Some(stage) = stage() else { return };
    let url = "k8s://coin-pilot-ns/svc/db/app?secret=coin-pilot-secret/DB_PASSWORD";
    let tunnel = open(url, &stage.programs).await.unwrap();
    assert_eq!(tunnel.password().unwrap().expose(), "s3cret word");
    assert!(!format!("{tunnel:?}").contains("s3cret"));
    let pod = tunnel.reached().pod.as_ref().unwrap();
    assert_eq!((pod.name.as_str(), pod.uid.as_str(), pod.port), ("db-0", "uid-1", 5432));
    // The URL contains no context: the current one is reported, and stays fixed.
    assert_eq!(pod.context.as_deref(), Some("minikube"));
    assert_eq!(pod.server.as_deref(), Some(format!("http://127.0.0.1:{}", stage.api.port()).as_str()));
    let reached = tunnel.reached().to_string();
    assert_eq!(reached, "pod coin-pilot-ns/db-0 (uid uid-1, context minikube)");
    // Two at the same time, each with its own kubectl.
    let target = anywhere();
    let (one, two) = tokio::join!(tunnel.connect(&target), tunnel.connect(&target));
    let (one, two) = (one.unwrap(), two.unwrap());
    let (mut one, _two) = tokio::join!(echoes(one, 3_000_000), echoes(two, 1_000_000));
    // A server that closes the connection is not a failure.
    one.write_all(b"close").await.unwrap();
    assert_eq!(one.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_breaks_off_contains_the_message_of_kubectl() {
    let Some(stage) = stage() else { return };
    let tunnel = open("k8s://minikube/coin-pilot-ns/sts/db/app", &stage.programs).await.unwrap();
    let stream = tunnel.connect(&anywhere()).await.unwrap();
    stage.api.cut_after(5 << 20);
    let (error, got) = flooded(stream).await;
    assert!(got > 1 << 20, "{got}");
    assert!(error.to_string().contains("kubectl port-forward to pod `db-0`"), "{error}");
    assert!(error.to_string().contains("lost connection to pod"), "{error}");
    // Nothing is left of it.
    eventually("kubectl was not reaped", || {
        children_of(std::process::id()).iter().all(|child| {
            let line = std::fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
            !line.contains(&stage.programs.kubectl)
        })
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_is_reported() {
    let Some(stage) = stage() else { return };
    let tunnel = open("k8s://coin-pilot-ns/pod/shut-0/app", &stage.programs).await.unwrap();
    let mut stream = tunnel.connect(&anywhere()).await.unwrap();
    let error = stream.read(&mut [0; 8]).await.unwrap_err().to_string();
    assert!(error.contains("connection refused"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named() {
    let Some(stage) = stage() else { return };
    stage.api.change(|pods| {
        let mut pending = pod("late-0", "uid-3", None);
        (pending.phase, pending.app) = ("Pending".to_owned(), "late".to_owned());
        pods.push(pending);
    });
    stage.api.service("late", "late", r#"[{"port":5432}]"#);
    stage.api.service("nobody", "nobody", r#"[{"port":5432}]"#);
    for (url, expected) in [
        (
            "k8s://coin-pilot-ns/svc/db/a?secret=coin-pilot-secret/NOPE",
            "has no key `NOPE`; it has `DB_PASSWORD`",
        ),
        ("k8s://coin-pilot-ns/svc/db/a?secret=other/KEY", "not found"),
        ("k8s://coin-pilot-ns/svc/db:9999/a", "service `db` has no port 9999; it has 5432 (pg)"),
        ("k8s://coin-pilot-ns/svc/late/a", "service `late`: pod `late-0` is not running: Pending"),
        ("k8s://coin-pilot-ns/pod/late-0/a", "pod `late-0` is not running: Pending"),
        ("k8s://coin-pilot-ns/svc/nobody/a", "service `nobody`: no pod belongs to it"),
        ("k8s://coin-pilot-ns/pod/nope/a", "not found"),
        // A context that leads elsewhere, and one that does not exist.
        ("k8s://elsewhere/coin-pilot-ns/pod/db-0/a", "127.0.0.1:1"),
        ("k8s://staging/coin-pilot-ns/pod/db-0/a", "staging"),
    ] {
        let error = open(url, &stage.programs).await.expect_err(url).to_string();
        assert!(error.contains(expected), "{url}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_was_replaced_is_not_taken_for_the_first() {
    let Some(stage) = stage() else { return };
    let tunnel = open("k8s://coin-pilot-ns/sts/db/app", &stage.programs).await.unwrap();
    stage.api.change(|pods| pods[0].uid = "uid-9".to_owned());
    let error = tunnel.connect(&anywhere()).await.unwrap_err().to_string();
    assert_eq!(error, "pod `db-0` was replaced while it was in use: it was uid-1, and is uid-9");
    stage.api.change(|pods| {
        pods[0].uid = "uid-1".to_owned();
        pods[0].phase = "Pending".to_owned();
    });
    let error = tunnel.connect(&anywhere()).await.unwrap_err().to_string();
    assert!(error.contains("pod `db-0` is not running: Pending"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_kubectl_is_reported() {
    let programs = Programs { kubectl: "/no/such/kubectl".to_owned(), ..Programs::default() };
    let error = open("k8s://ns/pod/p/d", &programs).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot run `/no/such/kubectl`");
}

/// kubectl then runs on the remote host, and its port is on that host.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_behind_ssh_is_reached() {
    let (Some(stage), Some(sshd)) = (stage(), require_sshd()) else { return };
    let bin = std::path::Path::new(&stage.programs.kubectl).parent().unwrap().display().to_string();
    let sshd = Sshd::start(&sshd, &format!("SetEnv PATH={bin}:/usr/bin:/bin")).unwrap();
    let ssh = sshd.ssh().unwrap().display().to_string();
    let programs = Programs { ssh, kubectl: "kubectl".to_owned(), ..Programs::default() };
    let url = "ssh://vm/k8s://minikube/coin-pilot-ns/svc/db/app?secret=coin-pilot-secret/DB_PASSWORD";
    let tunnel = open(url, &programs).await.unwrap();
    assert_eq!(tunnel.password().unwrap().expose(), "s3cret word");
    let reached = tunnel.reached().to_string();
    assert_eq!(reached, "pod coin-pilot-ns/db-0 (uid uid-1, context minikube) through ssh vm");
    let stream = echoes(tunnel.connect(&anywhere()).await.unwrap(), 1_000_000).await;
    stage.api.cut_after(2 << 20);
    let (error, _) = flooded(stream).await;
    assert!(error.to_string().contains("lost connection to pod"), "{error}");
    // The remote kubectl ends with its connection.
    stage.api.cut_after(u64::MAX);
    let stream = tunnel.connect(&anywhere()).await.unwrap();
    let forwards = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let own = |path: std::path::PathBuf| {
            let environment = std::fs::read(path.join("environ")).unwrap_or_default();
            let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&environment).contains(&bin)
                && String::from_utf8_lossy(&line).contains("port-forward")
        };
        processes.filter(|process| own(process.path())).count()
    };
    assert!(forwards() > 0);
    drop(stream);
    eventually("the far kubectl goes on", || forwards() == 0);
}
