use sandbox::testing::{Sshd, children_of, require_sshd};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tunnel::{Programs, Target};

use crate::support::{echo_port, echo_server, echoes, eventually, flooded, open};

struct Stage {
    sshd: Sshd,
    programs: Programs,
    target: Target,
}

fn stage(more: &str) -> Option<Stage> {
    let sshd = Sshd::start(&require_sshd()?, more).unwrap();
    let target = Target::Tcp("localhost".to_owned(), echo_port());
    let programs = Programs { ssh: sshd.ssh().unwrap().display().to_string(), ..Programs::default() };
    Some(Stage { sshd, programs, target })
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_share_one_login_and_bytes_pass_intact() {
    let Some(stage) = stage("") else { return };
    let tunnel = open("ssh://vm/postgres://localhost/db", &stage.programs).await.unwrap();
    assert_eq!(tunnel.reached().to_string(), "through ssh vm");
    let one = tunnel.connect(&stage.target).await.unwrap();
    let two = tunnel.connect(&stage.target).await.unwrap();
    let (mut one, _two) = tokio::join!(echoes(one, 3_000_000), echoes(two, 1_000_000));
    assert_eq!(stage.sshd.log().matches("Accepted publickey").count(), 1, "{}", stage.sshd.log());
    one.write_all(b"close").await.unwrap();
    assert_eq!(one.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_reached_through_each_other() {
    let Some(stage) = stage("") else { return };
    let port = stage.sshd.port();
    let url = format!("ssh://vm/ssh://127.0.0.1:{port}/redis://localhost");
    let tunnel = open(&url, &stage.programs).await.unwrap();
    assert_eq!(tunnel.reached().hosts, ["vm".to_owned(), format!("127.0.0.1:{port}")]);
    echoes(tunnel.connect(&stage.target).await.unwrap(), 500_000).await;
    assert_eq!(stage.sshd.log().matches("Accepted publickey").count(), 2, "{}", stage.sshd.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_breaks_off_contains_the_message_of_ssh() {
    let Some(stage) = stage("") else { return };
    let tunnel = open("ssh://vm/redis://localhost", &stage.programs).await.unwrap();
    let stream = tunnel.connect(&stage.target).await.unwrap();
    let flood = tokio::spawn(flooded(stream));
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    stage.sshd.cut();
    let (error, got) = flood.await.unwrap();
    assert!(got > 0, "{got}");
    assert!(error.to_string().contains("ssh vm"), "{error}");
    // It depends on what was in progress.
    let cut = |error: &std::io::Error| {
        let error = error.to_string();
        ["closed by remote host", "Connection reset", "Broken pipe"].iter().any(|words| error.contains(words))
    };
    assert!(cut(&error), "{error}");
    let again = tunnel.connect(&stage.target).await.unwrap().read(&mut [0; 1]).await.unwrap_err();
    assert!(cut(&again), "{again}");
    eventually("ssh was not reaped", || {
        children_of(std::process::id()).iter().all(|child| {
            let line = std::fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
            !line.contains(&stage.programs.ssh)
                && !line.contains(&stage.sshd.folder().join("config").display().to_string())
        })
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_contain_the_message_of_ssh() {
    let Some(stage) = stage("AllowTcpForwarding no\nAllowStreamLocalForwarding no") else { return };
    let tunnel = open("ssh://vm/redis://localhost", &stage.programs).await.unwrap();
    let mut stream = tunnel.connect(&stage.target).await.unwrap();
    let error = stream.read(&mut [0; 1]).await.unwrap_err().to_string();
    assert!(error.contains("prohibited"), "{error}");
    let error =
        open("ssh://nobody-at-all@vm/redis://localhost", &stage.programs).await.unwrap_err().to_string();
    assert!(error.starts_with("ssh nobody-at-all@vm: ") && error.contains("Permission denied"), "{error}");
    let error = open("ssh://127.0.0.1:1/redis://localhost", &stage.programs).await.unwrap_err().to_string();
    assert!(error.contains("Connection refused"), "{error}");
    // A server with another key than the known one.
    std::fs::write(stage.sshd.folder().join("known_hosts"), "").unwrap();
    let error = open("ssh://vm/redis://localhost", &stage.programs).await.unwrap_err().to_string();
    assert!(error.contains("Host key verification failed"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_port_is_reported() {
    let Some(stage) = stage("") else { return };
    let tunnel = open("ssh://vm/redis://localhost", &stage.programs).await.unwrap();
    let mut stream = tunnel.connect(&Target::Tcp("127.0.0.1".to_owned(), 1)).await.unwrap();
    let error = stream.read(&mut [0; 1]).await.unwrap_err().to_string();
    assert!(error.contains("Connection refused"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_is_reached_and_no_shell_instead() {
    let Some(stage) = stage("") else { return };
    let folder = tempfile::tempdir().unwrap();
    let socket = Target::Unix(echo_server(folder.path()));
    let tunnel = open("ssh://vm/redis+unix:///run/x", &stage.programs).await.unwrap();
    let one = tunnel.connect(&socket).await.unwrap();
    let two = tunnel.connect(&socket).await.unwrap();
    tokio::join!(echoes(one, 500_000), echoes(two, 300_000));
    let error = match tunnel.connect(&Target::Unix(folder.path().join("nobody"))).await {
        Ok(mut stream) => stream.read(&mut [0; 1]).await.unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("open failed"), "{error}");
    // What ssh would take for a path.
    let path = Target::Tcp(folder.path().display().to_string(), 1);
    assert!(tunnel.connect(&path).await.unwrap_err().is_usage());
}
