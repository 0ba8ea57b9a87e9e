//! Other users of the host: what they could read of a rehearsal, of files with secrets, and of error messages.
#![allow(clippy::print_stderr, reason = "a skipped test must be seen")]

use std::collections::HashSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{self, command, dbhaul, folder};
use sandbox::testing::{require_postgres, require_redis};
use sandbox::{Postgres, PostgresOptions, Redis};

/// A child that is stopped while it is looked at.
struct Stopped<'a>(&'a std::process::Child);

impl<'a> Stopped<'a> {
    fn new(child: &'a std::process::Child) -> Stopped<'a> {
        signal(child, "STOP");
        Stopped(child)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        signal(self.0, "CONT");
    }
}

fn signal(child: &std::process::Child, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// The folder of a private server as soon as its socket is there.
fn server_folder(temporary: &Path, prefix: &str, socket: &str, child: &mut std::process::Child) -> PathBuf {
    let begun = Instant::now();
    loop {
        for entry in std::fs::read_dir(temporary).unwrap().flatten() {
            let named = entry.file_name().to_string_lossy().starts_with(prefix);
            if named && entry.path().join(socket).exists() {
                return entry.path();
            }
        }
        assert!(child.try_wait().unwrap().is_none(), "the rehearsal ended before {prefix} was seen");
        assert!(begun.elapsed() < Duration::from_secs(120), "no {prefix}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Processes that work in this folder or below it.
fn processes_in(folder: &Path) -> Vec<PathBuf> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let inside =
        |process: &PathBuf| std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
    processes.filter(inside).collect()
}

/// The sockets of a process that listen on a port, by the kernel's tables.
fn ports(process: &Path) -> Vec<String> {
    let files = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let own: HashSet<String> = files
        .filter_map(|file| std::fs::read_link(file.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6", "/proc/net/udp", "/proc/net/udp6"] {
        for line in std::fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            // 0A is LISTEN; 07 is an open UDP socket, which takes from everybody.
            if matches!(words[3], "0A" | "07") && own.contains(words[9]) {
                found.push(words[1].to_owned());
            }
        }
    }
    found
}

/// Runs a shell script as another user.
fn as_another_user(uid: u32, script: &str, folder: &Path) -> std::process::Output {
    let id = uid.to_string();
    Command::new("setpriv")
        .args(["--reuid", &id, "--regid", &id, "--clear-groups", "sh", "-c", script, "sh"])
        .arg(folder)
        .output()
        .expect("setpriv is part of util-linux")
}

fn nobody_else_gets_in(folder: &Path) {
    let metadata = folder.metadata().unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o700, "{}", folder.display());
    let processes = processes_in(folder);
    assert!(!processes.is_empty(), "no server works in {}", folder.display());
    for process in processes {
        let open = ports(&process);
        assert!(open.is_empty(), "{} listens on {open:?}", process.display());
    }
    let me = std::fs::metadata("/proc/self").unwrap().uid();
    if me != 0 {
        eprintln!("SKIPPED: only root can try as another user");
        return;
    }
    let stranger = [65_534, 65_533].into_iter().find(|uid| *uid != metadata.uid()).unwrap();
    let script = "for f in \"$1\" \"$1/data\"; do ls \"$f\" && echo got in; done; \
                  cat \"$1/log\" \"$1/redis.conf\" \"$1/data/PG_VERSION\" && echo read; \
                  test -e \"$1/socket\" && echo seen; test -e \"$1/.s.PGSQL.5432\" && echo seen";
    let tried = as_another_user(stranger, script, folder);
    assert!(tried.stdout.is_empty(), "{}", String::from_utf8_lossy(&tried.stdout));
    let said = String::from_utf8_lossy(&tried.stderr).into_owned();
    assert!(said.matches("Permission denied").count() >= 5, "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_rehearsal_is_inaccessible_to_other_users() {
    let (Some(pg), Some(rd)) = (require_postgres(15), require_redis("7.0")) else { return };
    let server = Postgres::start(&pg, PostgresOptions::default()).unwrap();
    let mut options = common::quick_redis();
    options.settings.push(("enable-debug-command".to_owned(), "yes".to_owned()));
    let redis = Redis::start(&rd, options).unwrap();
    common::postgres(&server.url("postgres"))
        .await
        .batch_execute("CREATE TABLE t AS SELECT i, repeat('x', 100) x FROM generate_series(1, 50000) i")
        .await
        .unwrap();
    common::ask(&redis.url(), &["DEBUG", "POPULATE", "100000"]).await.unwrap();
    let here = folder();
    std::fs::set_permissions(here.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let temporary = here.path().join("t");
    std::fs::create_dir(&temporary).unwrap();
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o777)).unwrap();
    dbhaul(here.path(), &["init", "--repository", "store"]).exits(0);
    let (from, keys) = (server.url("postgres"), redis.url());
    dbhaul(here.path(), &["backup", "--repository", "store", "--postgres", &from, "--redis", &keys]).exits(0);

    // A file mode mask that leaves everything open changes nothing.
    let plain = command(here.path(), &[]);
    let mut child = Command::new("/bin/sh")
        .args(["-c", "umask 0; exec \"$0\" \"$@\""])
        .arg(plain.get_program())
        .args(["rehearse", "latest", "--repository", "store"])
        .current_dir(here.path())
        .env("TMPDIR", &temporary)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    for (prefix, socket) in [("dbhaul-pg-", ".s.PGSQL.5432"), ("dbhaul-redis-", "socket")] {
        let folder = server_folder(&temporary, prefix, socket, &mut child);
        let _stopped = Stopped::new(&child);
        nobody_else_gets_in(&folder);
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "something was left behind");
}

#[test]
fn files_with_secrets_that_others_can_read_are_named() {
    let here = folder();
    let write = |name: &str, text: &str, mode: u32| {
        let path = here.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let source = "[[source]]\nname = \"a\"\nkind = \"redis\"\nurl = \"redis://127.0.0.1:1\"\n";
    let config = |more: &str| format!("[repository]\nurl = \"store\"\n{source}{more}");
    write("pw", "secret\n", 0o644);
    write("dbhaul.toml", &config("password-file = \"pw\"\n"), 0o644);
    let run = dbhaul(here.path(), &["snapshots"]).exits(1).says("pw can be read by other users");
    assert!(!run.stderr.contains("dbhaul.toml can"), "{}", run.stderr);
    write("pw", "secret\n", 0o600);
    let run = dbhaul(here.path(), &["snapshots"]).exits(1);
    assert!(!run.stderr.contains("can be read by other users"), "{}", run.stderr);
    write("dbhaul.toml", &config("password = \"hush\"\n"), 0o644);
    let run = dbhaul(here.path(), &["snapshots"]).says("dbhaul.toml can be read by other users");
    assert!(!run.stderr.contains("hush"), "{}", run.stderr);
    std::fs::remove_file(here.path().join("dbhaul.toml")).unwrap();
    write("key", "nothing", 0o604);
    dbhaul(here.path(), &["snapshots", "--repository", "store", "--key-file", "key"])
        .says("the key file key can be read by other users");
}

#[test]
fn an_empty_passphrase_is_refused() {
    let here = folder();
    let output = command(here.path(), &["init", "--repository", "store", "--passphrase"])
        .env("DBHAUL_PASSPHRASE", "")
        .output()
        .unwrap();
    assert_ne!(output.status.code(), Some(0), "{output:?}");
    std::fs::write(here.path().join("empty"), "\nsecond line\n").unwrap();
    std::fs::write(
        here.path().join("dbhaul.toml"),
        "[repository]\nurl = \"store\"\npassphrase-file = \"empty\"\n",
    )
    .unwrap();
    dbhaul(here.path(), &["init", "--repository", "store", "--passphrase", "--config", "other.toml"])
        .exits(2);
    dbhaul(here.path(), &["snapshots"]).says("it is empty");
    assert!(!here.path().join("store").join("dbhaul.json").exists());
}

/// Passwords whose raw characters divide a URL otherwise than its writer thinks. `hush` may be seen nowhere.
const PASSWORDS: [&str; 8] = [
    "hush",
    "hushA@hushB",
    "hushA/hushB",
    "12/hush",
    "hushA?hushB",
    "hushA?hushB=1",
    "hushA#hushB@hushC",
    "%zzhush",
];

#[test]
fn no_message_shows_a_password_of_a_url() {
    let here = folder();
    std::fs::write(here.path().join("baseline.toml"), "").unwrap();
    let quiet = |args: &[&str]| {
        let run = dbhaul(here.path(), args);
        assert_ne!(run.code, 0, "{args:?}");
        let shown = format!("{}{}", run.stdout, run.stderr);
        assert!(!shown.contains("hush"), "{args:?}: {shown}");
        assert!(!shown.contains("panicked"), "{args:?}: {shown}");
    };
    let local = "127.0.0.1:1";
    for password in PASSWORDS {
        let pg = format!("postgres://u:{password}@{local}/d");
        let rd = format!("redis://u:{password}@{local}");
        let plain = format!("redis://{local}");
        quiet(&["backup", "--repository", "store", "--postgres", &pg]);
        quiet(&["backup", "--repository", "store", "--redis", &rd]);
        quiet(&["migrate", "--from", &pg, "--to", &pg]);
        quiet(&["migrate", "--from", &rd, "--to", &plain]);
        quiet(&["compare", &rd, &pg]);
        quiet(&["compare", &pg, &pg]);
        quiet(&["restore", "latest", "--repository", "store", "--postgres", &pg]);
        quiet(&["baseline", "check", "--baseline", "baseline.toml", "--to", &pg]);
        // Where no URL of a server belongs, or none of this kind.
        quiet(&["backup", "--repository", "store", "--postgres", &rd]);
        quiet(&["migrate", &pg]);
        quiet(&["inspect", &rd, "--repository", "store"]);
        quiet(&["verify-file", &rd]);
        quiet(&["compare", &format!("mysql://u:{password}@{local}/d"), &pg]);
        quiet(&["compare", &format!("postgres:/u:{password}@{local}/d?sslmode=require"), &pg]);
        for repository in [
            format!("s3://key:{password}@bucket/prefix"),
            format!("s3://bucket/prefix?endpoint=http://key:{password}@{local}"),
            format!("ftp://key:{password}@host/prefix"),
        ] {
            quiet(&["snapshots", "--repository", &repository]);
        }
    }
    quiet(&["compare", "host=127.0.0.1 port=1 password=hush", "host=127.0.0.1 port=1 password='hush"]);
    quiet(&["compare", "host=u:hush@127.0.0.1 port=1 user=u", "host=127.0.0.1 port=1 password=hush user=u"]);
    std::fs::write(
        here.path().join("dbhaul.toml"),
        "[repository]\nurl = \"s3://bucket?endpoint=http://key:hush@127.0.0.1:1\"\n\
         [[source]]\nname = \"a\"\nkind = \"postgres\"\nurl = \"postgres://u:12/hush@127.0.0.1:1/d\"\n",
    )
    .unwrap();
    quiet(&["backup"]);
    quiet(&["snapshots"]);
}
