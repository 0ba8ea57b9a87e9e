//! Docker images with the servers of the tests, made of this host's files: where no registry can be reached.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sandbox::testing::{require_postgres, require_redis};

/// As the entrypoints of the official images: arguments are those of the server, and a cluster is made first.
const ENTRYPOINT: &str = "#!/bin/bash
set -e
if [ -x /usr/local/pg/bin/postgres ]; then
  if [ ! -e \"$PGDATA\" ]; then
    printf '%s' \"${POSTGRES_PASSWORD:?}\" >/tmp/password
    /usr/local/pg/bin/initdb -D \"$PGDATA\" -U postgres --pwfile=/tmp/password -A scram-sha-256 --locale=C -E UTF8 >/dev/null
    echo 'host all all all scram-sha-256' >>\"$PGDATA/pg_hba.conf\"
  fi
  exec /usr/local/pg/bin/postgres -h '*' -k /tmp \"$@\"
fi
exec /usr/local/bin/redis-server --dir /tmp \"$@\"
";

/// An image; removed after the test.
pub struct Image(pub String);

impl Drop for Image {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rmi", "--force", &self.0]).output();
    }
}

/// Asks Docker; it must not fail.
#[track_caller]
pub fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// False, and a printed `SKIPPED`, where there is no Docker daemon.
pub fn has_docker() -> bool {
    let version = Command::new("docker").args(["version", "--format", "{{.Server.Version}}"]).output();
    let there = version.is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("SKIPPED: no Docker daemon here; scripts/with-docker starts one");
    }
    there
}

/// PostgreSQL 18 without the extension citext.
pub fn postgres_image(name: &str) -> Option<Image> {
    let binaries = require_postgres(18)?;
    let home = binaries.bin().canonicalize().unwrap().parent().unwrap().to_owned();
    let root = tempfile::tempdir().unwrap();
    let to = root.path().join("usr/local/pg");
    std::fs::create_dir_all(&to).unwrap();
    for part in ["bin", "lib", "share"] {
        copy(&home.join(part), &to);
    }
    // initdb and the server look for the zones there.
    std::fs::create_dir_all(root.path().join("usr/share")).unwrap();
    copy(Path::new("/usr/share/zoneinfo"), &root.path().join("usr/share"));
    for file in find(&to, "citext.control") {
        std::fs::remove_file(file).unwrap();
    }
    let programs = ["postgres", "initdb"].map(|program| home.join("bin").join(program));
    Some(image(name, root.path(), &programs, &[home.join("lib")]))
}

/// Redis 8.2.
pub fn redis_image(name: &str) -> Option<Image> {
    let binaries = require_redis("8.2")?;
    let program = binaries.program().canonicalize().unwrap();
    let root = tempfile::tempdir().unwrap();
    let to = root.path().join("usr/local/bin");
    std::fs::create_dir_all(&to).unwrap();
    std::fs::copy(&program, to.join("redis-server")).unwrap();
    Some(image(name, root.path(), &[program], &[]))
}

fn copy(from: &Path, into: &Path) {
    let done = Command::new("cp").args(["-rL", "--"]).arg(from).arg(into).status().unwrap();
    assert!(done.success(), "{}", from.display());
}

fn find(folder: &Path, name: &str) -> Vec<PathBuf> {
    let output = Command::new("find").arg(folder).args(["-name", name]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect()
}

/// Adds a shell, the libraries of all programs and a user, and imports it.
fn image(name: &str, root: &Path, programs: &[PathBuf], libraries: &[PathBuf]) -> Image {
    for folder in ["bin", "etc", "tmp", "usr/bin"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    std::fs::set_permissions(root.join("tmp"), std::fs::Permissions::from_mode(0o1777)).unwrap();
    std::fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nserver:x:999:999::/tmp:/bin/sh\n")
        .unwrap();
    std::fs::write(root.join("etc/group"), "root:x:0:\nserver:x:999:\n").unwrap();
    std::fs::write(root.join("entrypoint"), ENTRYPOINT).unwrap();
    std::fs::set_permissions(root.join("entrypoint"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let shell = ["/bin/bash", "/bin/cat"].map(PathBuf::from);
    let mut needed = BTreeSet::new();
    for program in shell.iter().chain(programs) {
        let mut ldd = Command::new("ldd");
        let output =
            ldd.arg(program).env("LD_LIBRARY_PATH", std::env::join_paths(libraries).unwrap()).output();
        let text = String::from_utf8_lossy(&output.unwrap().stdout).into_owned();
        let words = text.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':'));
        needed.extend(words.map(PathBuf::from));
    }
    needed.extend(shell);
    for file in needed {
        let to = root.join(file.strip_prefix("/").unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&file, to).unwrap();
    }
    std::os::unix::fs::symlink("bash", root.join("bin/sh")).unwrap();
    let image = Image(format!("dbhaul-test-{name}:{}", std::process::id()));
    let mut tar = Command::new("tar");
    let tar = tar.args(["--owner=0", "--group=0", "-c", "-C"]).arg(root).arg(".");
    let mut tar = tar.stdout(Stdio::piped()).spawn().unwrap();
    let changes = [
        "USER 999:999",
        "ENV PATH=/usr/local/bin:/usr/bin:/bin PGDATA=/tmp/data LD_LIBRARY_PATH=/usr/local/pg/lib",
        "ENTRYPOINT [\"/entrypoint\"]",
    ];
    let mut import = Command::new("docker");
    import.arg("import");
    for change in changes {
        import.args(["--change", change]);
    }
    let import =
        import.args(["-", &image.0]).stdin(tar.stdout.take().unwrap()).stdout(Stdio::null()).status();
    assert!(import.unwrap().success() && tar.wait().unwrap().success());
    image
}
