//! An encrypted repository from the user's point of view: keys are created, one host backs up and cannot read,
//! another restores.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::os::unix::fs::PermissionsExt as _;

use crate::common::{command, dbhaul, folder, quick_redis, redis};
use sandbox::testing::require_redis;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_writes_cannot_read_and_another_restores() {
    let Some(binaries) = require_redis("7.0") else { return };
    let server = sandbox::Redis::start(&binaries, quick_redis()).unwrap();
    let target = sandbox::Redis::start(&binaries, quick_redis()).unwrap();
    let mut connection = redis(&server.url()).await;
    ::redis::cmd("SET").arg("greeting").arg("안녕하세요").exec_async(&mut connection).await.unwrap();

    let (admin, host) = (folder(), folder());
    dbhaul(admin.path(), &["key", "generate", "-o", "identity.txt"]).exits(0).shows("recipient: age1");
    let identity = admin.path().join("identity.txt");
    assert_eq!(std::fs::metadata(&identity).unwrap().permissions().mode() & 0o777, 0o600);
    dbhaul(admin.path(), &["key", "generate", "-o", "identity.txt"]).exits(5).says("not overwritten");
    let text = std::fs::read_to_string(&identity).unwrap();
    let recipient = text.lines().find_map(|line| line.strip_prefix("# recipient: ")).unwrap().to_owned();
    let secret = text.lines().last().unwrap().to_owned();

    let run = dbhaul(host.path(), &["init", "--recipient", &secret]).exits(2).says("is secret");
    assert!(!run.stderr.contains(&secret[20..]), "{}", run.stderr);
    dbhaul(host.path(), &["init", "--recipient", &recipient]).exits(0).shows("wrote dbhaul.key");
    let key = host.path().join("dbhaul.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    // The configuration that init wrote names the key file: nothing more is needed to back up.
    let url = server.url();
    dbhaul(host.path(), &["backup", "--redis", &url]).exits(0);
    dbhaul(host.path(), &["snapshots"]).exits(0).shows("(encrypted)");
    dbhaul(host.path(), &["check"]).exits(0);
    dbhaul(host.path(), &["check", "--read-data"]).exits(2).says("--identity");
    dbhaul(host.path(), &["key", "list"]).exits(0).shows(&recipient).shows("but not read");
    let to = target.url();
    dbhaul(host.path(), &["restore", "latest", "--redis", &to]).exits(2).says("--identity");

    // Elsewhere, with the identity alone.
    let place = host.path().join("backup");
    let repository = ["--repository", place.to_str().unwrap(), "--identity", "identity.txt"];
    let with = |args: &[&str]| dbhaul(admin.path(), &[args, repository.as_slice()].concat());
    with(&["check", "--read-data"]).exits(0);
    with(&["restore", "latest", "--redis", &to]).exits(0);
    let mut restored = redis(&to).await;
    let value: String = ::redis::cmd("GET").arg("greeting").query_async(&mut restored).await.unwrap();
    assert_eq!(value, "안녕하세요");
    dbhaul(admin.path(), &["snapshots", "--repository", place.to_str().unwrap()]).exits(2).says("--key-file");

    // A second recipient, and the first one removed again; the last cannot go.
    dbhaul(admin.path(), &["key", "generate", "-o", "second.txt"]).exits(0);
    let text = std::fs::read_to_string(admin.path().join("second.txt")).unwrap();
    let second = text.lines().find_map(|line| line.strip_prefix("# recipient: ")).unwrap().to_owned();
    dbhaul(host.path(), &["key", "add", &second]).exits(0).shows("new data is encrypted to");
    dbhaul(host.path(), &["key", "add", &second]).exits(2).says("already");
    dbhaul(host.path(), &["key", "remove", &recipient]).exits(0).shows("can still decrypt");
    dbhaul(host.path(), &["key", "remove", &second]).exits(2).says("nobody could decrypt");
    with(&["snapshots"]).exits(2).says("none of the given identities can decrypt it");
    let both = ["--identity", "second.txt"];
    dbhaul(admin.path(), &[&["check", "--read-data"], repository.as_slice(), &both].concat()).exits(0);
    let exported =
        dbhaul(admin.path(), &[&["key", "export"], repository.as_slice(), &both].concat()).exits(0);
    assert_eq!(exported.stdout, std::fs::read_to_string(&key).unwrap());
}

#[test]
fn a_passphrase_comes_from_the_environment() {
    let here = folder();
    dbhaul(here.path(), &["init", "--passphrase"]).exits(2).says("DBHAUL_PASSPHRASE");
    let init =
        command(here.path(), &["init", "--passphrase"]).env("DBHAUL_PASSPHRASE", "long words").output();
    assert!(init.unwrap().status.success());
    let files = std::fs::read_to_string(here.path().join("dbhaul.toml")).unwrap();
    assert!(files.contains("key-file = \"dbhaul.key\"") && !files.contains("long words"));
    dbhaul(here.path(), &["key", "list"])
        .exits(0)
        .shows("can only be determined with the passphrase: set DBHAUL_PASSPHRASE")
        .shows("but not read");
    let list =
        command(here.path(), &["key", "list"]).env("DBHAUL_PASSPHRASE", "long words").output().unwrap();
    let text = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(
        text.contains("the passphrase decrypts it too") && text.contains("backups can be read here"),
        "{text}"
    );
    let wrong = command(here.path(), &["key", "list"]).env("DBHAUL_PASSPHRASE", "other").output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));

    // Its recipient is removed: it can still decrypt old data, and nothing else.
    let own = text.lines().find_map(|line| line.trim().strip_prefix("age1")).unwrap();
    let own = format!("age1{own}");
    dbhaul(here.path(), &["key", "generate", "-o", "second.txt"]).exits(0);
    let second = std::fs::read_to_string(here.path().join("second.txt")).unwrap();
    let second = second.lines().find_map(|line| line.strip_prefix("# recipient: ")).unwrap().to_owned();
    dbhaul(here.path(), &["key", "add", &second]).exits(0);
    dbhaul(here.path(), &["key", "remove", &own]).exits(0).shows("the identity behind the passphrase stays");
    let list =
        command(here.path(), &["key", "list"]).env("DBHAUL_PASSPHRASE", "long words").output().unwrap();
    let text = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(text.contains("decrypts only data stored before"), "{text}");
}
