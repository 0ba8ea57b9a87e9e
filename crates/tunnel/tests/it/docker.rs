//! Real containers, if there is a Docker daemon: `scripts/with-docker` starts one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sandbox::testing::{Sshd, require_sshd};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tunnel::{Programs, Route};

use crate::support::{anywhere, echoes, flooded, open};

/// Echoes; after `flood` it sends endlessly, after `close` it closes. `$ARGV[0]` is the address to listen on.
const SERVER: &str = "use IO::Socket::INET; $SIG{PIPE} = 'IGNORE'; $SIG{CHLD} = 'IGNORE'; \
    $l = IO::Socket::INET->new(LocalAddr => $ARGV[0], Listen => 9, ReuseAddr => 1) or die $@; \
    while (1) { $s = $l->accept or next; if (fork) { close $s; next } \
    sub out { my ($d) = @_; my $o = 0; while ($o < length $d) { my $n = syswrite($s, $d, length($d) - $o, $o); exit unless $n; $o += $n } } \
    while (sysread($s, $b, 65536)) { exit if $b =~ /^close/; if ($b =~ /^flood/) { out('x' x 65536) while 1 } out($b) } exit }";

struct Stage {
    image: String,
    containers: Vec<String>,
    programs: Programs,
}

fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// An image without files of its own: the programs are this host's.
fn stage(name: &str) -> Option<Stage> {
    let server = Command::new("docker").args(["version", "--format", "{{.Server.Version}}"]).output();
    if !server.is_ok_and(|output| output.status.success()) {
        #[allow(clippy::print_stderr, reason = "a skipped test must be seen")]
        {
            eprintln!("SKIPPED: no Docker daemon here; scripts/with-docker starts one");
        }
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    for link in ["bin", "lib", "lib64", "sbin"] {
        std::os::unix::fs::symlink(format!("usr/{link}"), folder.path().join(link)).unwrap();
    }
    std::fs::create_dir(folder.path().join("usr")).unwrap();
    let image = format!("dbhaul-tunnel-{name}:{}", std::process::id());
    let mut tar = Command::new("tar")
        .arg("-c")
        .arg("-C")
        .arg(folder.path())
        .arg(".")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let import = Command::new("docker")
        .args(["import", "-", &image])
        .stdin(tar.stdout.take().unwrap())
        .stdout(Stdio::null())
        .status();
    assert!(import.unwrap().success() && tar.wait().unwrap().success());
    Some(Stage { image, containers: Vec::new(), programs: Programs::default() })
}

impl Stage {
    /// Starts a container whose server listens there.
    fn start(&mut self, name: &str, listen: &str, more: &[&str]) -> String {
        let name = format!("dbhaul-{name}-{}", std::process::id());
        let run = ["run", "-d", "--name", &name, "-v", "/usr:/usr:ro", "-e", "POSTGRES_PASSWORD=s3cret"];
        docker(&[&run, more, &[&self.image, "perl", "-e", SERVER, listen]].concat());
        self.containers.push(name.clone());
        std::thread::sleep(Duration::from_millis(300));
        name
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for container in &self.containers {
            let _ = Command::new("docker").args(["rm", "-f", container]).output();
        }
        let _ = Command::new("docker").args(["rmi", "-f", &self.image]).output();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_entered_by_its_address_or_from_inside() {
    let Some(mut stage) = stage("enter") else { return };
    let open_to_all = stage.start("all", "0.0.0.0:5432", &[]);
    let inside = stage.start("inside", "127.0.0.1:5432", &["-p", "127.0.0.1::5432"]);
    for (name, options, route) in [
        (&open_to_all, "", Route::Address),
        (&open_to_all, "&route=exec", Route::Exec),
        (&inside, "", Route::Exec),
    ] {
        let url = format!("docker://{name}/app?password-env=POSTGRES_PASSWORD{options}");
        let tunnel = open(&url, &stage.programs).await.unwrap();
        let reached = tunnel.reached().container.clone().unwrap();
        assert_eq!((reached.route, reached.port), (route, 5432), "{url}");
        assert_eq!(reached.id, docker(&["inspect", "--format", "{{.Id}}", name]));
        assert_eq!(tunnel.password().unwrap().expose(), "s3cret");
        let (one, two) =
            (tunnel.connect(&anywhere()).await.unwrap(), tunnel.connect(&anywhere()).await.unwrap());
        let (mut one, _two) = tokio::join!(echoes(one, 3_000_000), echoes(two, 1_000_000));
        one.write_all(b"close").await.unwrap();
        assert_eq!(one.read(&mut [0; 8]).await.unwrap(), 0, "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: run by scripts/test --all"]
async fn a_container_that_dies_is_reported() {
    let Some(mut stage) = stage("die") else { return };
    let name = stage.start("dies", "127.0.0.1:5432", &[]);
    let url = format!("docker://{name}/app");
    let tunnel = open(&url, &stage.programs).await.unwrap();
    let flood = tokio::spawn(flooded(tunnel.connect(&anywhere()).await.unwrap()));
    tokio::time::sleep(Duration::from_millis(500)).await;
    docker(&["kill", &name]);
    let (error, got) = flood.await.unwrap();
    assert!(got > 0 && error.to_string().contains(&format!("docker exec `{name}`")), "{error}");
    let error = tunnel.connect(&anywhere()).await.unwrap().read(&mut [0; 1]).await.unwrap_err().to_string();
    assert!(error.contains("is not running"), "{error}");
    let error = open(&url, &stage.programs).await.unwrap_err().to_string();
    assert_eq!(error, format!("container `{name}` is not running: exited with 137"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_container_lacks_is_named() {
    let Some(mut stage) = stage("lack") else { return };
    let name = stage.start("lacks", "127.0.0.1:1234", &[]);
    for (url, expected) in [
        (format!("docker://{name}/app"), "bash: connect: Connection refused".to_owned()),
        (
            format!("docker://{name}:1234/app?password-env=NOPE"),
            "has no `NOPE`; it has `POSTGRES_PASSWORD`".to_owned(),
        ),
        ("docker://no-such-container/app".to_owned(), "No such container".to_owned()),
    ] {
        let error = open(&url, &stage.programs).await.expect_err(&url).to_string();
        assert!(error.contains(&expected) || error.contains(&expected.to_lowercase()), "{url}: {error}");
        assert!(!error.contains("s3cret"));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: run by scripts/test --all"]
async fn a_container_behind_ssh_is_entered() {
    let (Some(mut stage), Some(sshd)) = (stage("ssh"), require_sshd()) else { return };
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    let sshd = Sshd::start(&sshd, &format!("SetEnv DOCKER_HOST={host} PATH={}", path())).unwrap();
    stage.programs.ssh = sshd.ssh().unwrap().display().to_string();
    let open_to_all = stage.start("far", "0.0.0.0:5432", &[]);
    let inside = stage.start("far-inside", "127.0.0.1:5432", &[]);
    for (name, route) in [(&open_to_all, Route::Address), (&inside, Route::Exec)] {
        let tunnel = open(&format!("ssh://vm/docker://{name}/app"), &stage.programs).await.unwrap();
        assert_eq!(tunnel.reached().container.as_ref().unwrap().route, route);
        assert!(tunnel.reached().to_string().ends_with("through ssh vm"), "{}", tunnel.reached());
        echoes(tunnel.connect(&anywhere()).await.unwrap(), 2_000_000).await;
    }
}

/// The folders of the docker command and of the usual programs.
fn path() -> String {
    let all = std::env::var_os("PATH").unwrap_or_default();
    let docker = std::env::split_paths(&all).find(|folder| folder.join("docker").exists());
    let folders = docker.into_iter().chain(["/usr/bin", "/bin"].map(PathBuf::from));
    folders.map(|folder| Path::display(&folder).to_string()).collect::<Vec<_>>().join(":")
}
