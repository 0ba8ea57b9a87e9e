//! The container image: its last stage, built from deploy/image/Dockerfile around the binary of the tests.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use sandbox::Redis;
use sandbox::testing::require_redis;

use super::schedules::deploy;
use crate::common::image::{Image, docker, has_docker};
use crate::common::{Run, ask, folder, quick_redis};

/// The first stage of the file compiles, which needs a registry. What it leaves, `/root-fs`, is made here: the binary of the
/// tests, or that of `DBHAUL_STATIC_BINARY`, with the libraries that it needs.
fn root_fs(root: &Path) {
    let ours = env!("CARGO_BIN_EXE_dbhaul").to_owned();
    let binary = std::env::var("DBHAUL_STATIC_BINARY").unwrap_or(ours);
    for folder in ["etc/ssl/certs", "tmp", "var/lib/dbhaul"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    std::fs::copy(&binary, root.join("dbhaul")).unwrap();
    let needed = Command::new("ldd").arg(&binary).output().unwrap();
    let needed = String::from_utf8_lossy(&needed.stdout).into_owned();
    for library in needed.split_whitespace().filter(|word| word.starts_with('/')) {
        let to = root.join(library.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(library, to).unwrap();
    }
}

#[test]
fn the_image_runs_as_an_unprivileged_user_and_backs_up() {
    if !has_docker() {
        return;
    }
    let text = std::fs::read_to_string(deploy().join("image/Dockerfile")).unwrap();
    let (first, last) = text.split_once("FROM scratch\n").unwrap();
    assert!(first.contains("FROM rust:1-alpine AS build\n") && last.contains("COPY --from=build"));
    let context = folder();
    root_fs(&context.path().join("root-fs"));
    let tried = format!("FROM scratch AS build\nCOPY root-fs /root-fs\n\nFROM scratch\n{last}");
    std::fs::write(context.path().join("Dockerfile"), tried).unwrap();
    let image = Image(format!("dbhaul-test-image:{}", std::process::id()));
    let mut build = Command::new("docker");
    // BuildKit is a program of its own, which not every host has.
    build.env("DOCKER_BUILDKIT", "0").args(["build", "--quiet", "--tag", &image.0]);
    Run::of(build.arg(context.path()).output().unwrap()).exits(0);

    let version = docker(&["run", "--rm", "--network=none", &image.0, "--version"]);
    assert_eq!(version, format!("dbhaul {}", env!("CARGO_PKG_VERSION")));

    // A data folder is a source without a network.
    let Some(binaries) = require_redis("7.0") else { return };
    let server = Redis::start(&binaries, quick_redis()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let rdb = runtime.block_on(async {
        ask(&server.url(), &["SET", "k", "v"]).await.unwrap();
        ask(&server.url(), &["SAVE"]).await.unwrap();
        let folder = ask(&server.url(), &["CONFIG", "GET", "dir"]).await.unwrap();
        Path::new(&folder[1]).join("dump.rdb")
    });
    let data = context.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::copy(rdb, data.join("dump.rdb")).unwrap();
    let config = context.path().join("dbhaul.toml");
    let text = "[repository]\nurl = \"/var/lib/dbhaul/backups\"\n[[source]]\nname = \"redis\"\nkind = \"redis\"\ndata-dir = \"/data\"\n";
    std::fs::write(&config, text).unwrap();
    for path in [&data, &data.join("dump.rdb"), &config, context.path()] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let volume = format!("dbhaul-test-{}", std::process::id());
    let run = |args: &[&str]| {
        let mut command = Command::new("docker");
        command.args(["run", "--rm", "--network=none", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL"]);
        command.args(["--volume", &format!("{volume}:/var/lib/dbhaul")]);
        command.args(["--volume", &format!("{}:/data:ro", data.display())]);
        command.args(["--volume", &format!("{}:/etc/dbhaul/dbhaul.toml:ro", config.display())]);
        Run::of(command.arg(&image.0).args(args).output().unwrap())
    };
    let ran = [&["init"][..], &["nightly"], &["check", "--read-data"], &["snapshots"]].map(run);
    docker(&["volume", "rm", &volume]);
    let [init, nightly, check, snapshots] = ran;
    init.exits(0);
    nightly.exits(0);
    check.exits(0);
    snapshots.exits(0).shows("redis");
    let user = docker(&["inspect", "--format", "{{.Config.User}} {{json .Config.Entrypoint}}", &image.0]);
    assert_eq!(user, "65532:65532 [\"/dbhaul\"]");
}
