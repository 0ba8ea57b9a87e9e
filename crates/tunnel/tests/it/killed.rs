//! A process that is killed by SIGKILL leaves no child behind. The test runs itself as that process.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use sandbox::testing::{FakeKubernetes, Sshd, children_of, require_kubectl, require_sshd};
use tunnel::{Programs, Target};

use crate::kubernetes::pod;
use crate::support::{anywhere, echo_port, echo_server, echoes, eventually, open};

const URL: &str = "TUNNEL_TEST_URL";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the other tests of this module, as the process that is killed"]
async fn victim() {
    let Ok(url) = std::env::var(URL) else { return };
    let program = |name: &str| std::env::var(format!("TUNNEL_TEST_{name}")).unwrap_or_default();
    let programs = Programs { kubectl: program("KUBECTL"), ssh: program("SSH"), ..Programs::default() };
    let target = match program("PORT").parse() {
        Ok(port) => Target::Tcp("127.0.0.1".to_owned(), port),
        Err(_) => anywhere(),
    };
    let tunnel = open(&url, &programs).await.unwrap();
    let _stream = echoes(tunnel.connect(&target).await.unwrap(), 1000).await;
    std::io::stdout().write_all(b"\nready\n").unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
}

fn descendants(of: u32) -> Vec<u32> {
    let children = children_of(of);
    let deeper: Vec<u32> = children.iter().flat_map(|child| descendants(*child)).collect();
    [children, deeper].concat()
}

fn killed(variables: &[(&str, String)]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["killed::victim", "--exact", "--ignored", "--nocapture"]).stdout(Stdio::piped());
    let mut child = command.envs(variables.iter().cloned()).spawn().unwrap();
    let ready = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(ready.into_iter().any(|line| line == "ready"), "it did not connect");
    let all = descendants(child.id());
    assert!(all.len() >= 2, "{all:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    let alive = |pid: &u32| {
        // In a container there may be no process to reap an orphan; a dead one has no command line.
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
    };
    eventually("children outlived it", || !all.iter().any(alive));
}

#[test]
fn kubectl_ends_with_a_process_that_is_killed() {
    let Some(kubectl) = require_kubectl() else { return };
    let folder = tempfile::tempdir().unwrap();
    let api = FakeKubernetes::start(vec![pod("db-0", "u", Some(echo_server(folder.path())))]).unwrap();
    let kubectl = api.kubectl(&kubectl).unwrap().display().to_string();
    killed(&[(URL, "k8s://coin-pilot-ns/pod/db-0/d".to_owned()), ("TUNNEL_TEST_KUBECTL", kubectl)]);
}

#[test]
fn ssh_ends_with_a_process_that_is_killed() {
    let Some(sshd) = require_sshd() else { return };
    let sshd = Sshd::start(&sshd, "").unwrap();
    let ssh = sshd.ssh().unwrap().display().to_string();
    killed(&[
        (URL, "ssh://vm/redis://localhost".to_owned()),
        ("TUNNEL_TEST_SSH", ssh),
        ("TUNNEL_TEST_PORT", echo_port().to_string()),
    ]);
}
