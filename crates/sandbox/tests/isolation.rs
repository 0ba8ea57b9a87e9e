//! Other users of the host cannot access a private server.
#![allow(clippy::print_stderr, reason = "a skipped test must be seen")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use sandbox::testing::{require_postgres, require_redis};
use sandbox::{Listen, Postgres, PostgresOptions, Redis, RedisOptions};

/// Not a test: starts servers with both kinds of listening, prints their addresses, and waits until its input ends.
#[test]
#[ignore = "started by other_users_cannot_read_or_reach_a_private_server"]
fn start_servers_and_tell() {
    if std::env::var_os("SANDBOX_TEST_TELLS").is_none() {
        return;
    }
    let (pg, rd) = (require_postgres(15).unwrap(), require_redis("7.0").unwrap());
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir_all(data.join("inner")).unwrap();
    for file in ["dump.rdb.before", "inner/file"] {
        std::fs::write(data.join(file), "open").unwrap();
        std::fs::set_permissions(data.join(file), std::fs::Permissions::from_mode(0o666)).unwrap();
    }
    let mut kept = Vec::new();
    let mut out = std::io::stdout();
    writeln!(out).unwrap();
    for listen in [Listen::Socket, Listen::Port] {
        let postgres =
            Postgres::start(&pg, PostgresOptions { listen, ..PostgresOptions::default() }).unwrap();
        if listen == Listen::Socket {
            tell_environment(&postgres.socket_dir().join(".s.PGSQL.5432"));
        }
        let options =
            RedisOptions { listen, appendonly: true, data: Some(data.clone()), ..RedisOptions::default() };
        let redis = Redis::start(&rd, options).unwrap();
        let mut stream = UnixStream::connect(redis.socket()).unwrap();
        if let Some(password) = redis.password() {
            stream.write_all(format!("AUTH {password}\r\n").as_bytes()).unwrap();
        }
        stream.write_all(b"SET k v\r\nSAVE\r\n").unwrap();
        let mut replies = vec![0; if redis.password().is_some() { 15 } else { 10 }];
        stream.read_exact(&mut replies).unwrap();
        assert!(replies.ends_with(b"+OK\r\n"), "{}", String::from_utf8_lossy(&replies));
        for (folder, port) in [(postgres.socket_dir(), postgres.port()), (redis.dir(), redis.port())] {
            writeln!(out, "started {} {}", port.unwrap_or(0), folder.display()).unwrap();
        }
        kept.push((postgres, redis));
    }
    writeln!(out, "ready").unwrap();
    let _ = std::io::stdin().read(&mut [0]);
}

/// Makes PostgreSQL write its environment into its data folder: it hides it in /proc.
fn tell_environment(socket: &Path) {
    let mut stream = UnixStream::connect(socket).unwrap();
    let ready = |stream: &mut UnixStream| loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head).unwrap();
        let mut body = vec![0; u32::from_be_bytes(head[1..].try_into().unwrap()) as usize - 4];
        stream.read_exact(&mut body).unwrap();
        assert_ne!(head[0], b'E', "{}", String::from_utf8_lossy(&body));
        if head[0] == b'Z' {
            return;
        }
    };
    stream.write_all(&startup_packet()).unwrap();
    ready(&mut stream);
    let sql = b"COPY (SELECT 1) TO PROGRAM 'env > environment'\0";
    stream.write_all(b"Q").unwrap();
    stream.write_all(&(u32::try_from(sql.len()).unwrap() + 4).to_be_bytes()).unwrap();
    stream.write_all(sql).unwrap();
    ready(&mut stream);
}

/// PostgreSQL's startup packet, for `postgres`.
fn startup_packet() -> Vec<u8> {
    let body = b"user\0postgres\0database\0postgres\0\0";
    let mut packet = (u32::try_from(body.len()).unwrap() + 8).to_be_bytes().to_vec();
    packet.extend_from_slice(&196_608_u32.to_be_bytes());
    packet.extend_from_slice(body);
    packet
}

/// Not a test: what another user of the host tries.
#[test]
#[ignore = "started by other_users_cannot_read_or_reach_a_private_server"]
fn try_everything() {
    let Some(said) = std::env::var_os("SANDBOX_TEST_TRIES") else { return };
    let mut got = Vec::new();
    for line in said.to_str().unwrap().lines() {
        let (port, folder) = line.split_once(' ').unwrap();
        let folder = Path::new(folder);
        if std::fs::read_dir(folder).is_ok() {
            got.push(format!("list {line}"));
        }
        for name in ["log", "redis.conf", "dump.rdb", "data/PG_VERSION", "dump.rdb.before"] {
            if std::fs::File::open(folder.join(name)).is_ok() {
                got.push(format!("read {name} of {line}"));
            }
        }
        for name in ["socket", ".s.PGSQL.5432"] {
            if UnixStream::connect(folder.join(name)).is_ok() {
                got.push(format!("connect to {name} of {line}"));
            }
        }
        let Ok(port) = port.parse::<u16>() else { continue };
        if port > 0 {
            got.extend(guests(port).into_iter().map(|what| format!("{what} of {line}")));
        }
    }
    assert!(got.is_empty(), "another user can: {got:#?}");
}

/// What a port gives to a client without a password.
fn guests(port: u16) -> Vec<String> {
    let mut got = Vec::new();
    // AuthenticationOk ends with 0.
    let mut reply = [0; 9];
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    if stream.write_all(&startup_packet()).and_then(|()| stream.read_exact(&mut reply)).is_ok()
        && reply[0] == b'R'
        && reply[5..] == [0; 4]
    {
        got.push("a session of PostgreSQL".to_owned());
    }
    let mut reply = [0; 5];
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    if stream.write_all(b"PING\r\n").and_then(|()| stream.read_exact(&mut reply)).is_ok()
        && &reply == b"+PONG"
    {
        got.push("an answer of Redis".to_owned());
    }
    got
}

#[test]
fn other_users_cannot_read_or_reach_a_private_server() {
    if require_postgres(15).is_none() || require_redis("7.0").is_none() {
        return;
    }
    // With a umask that would leave everything open, and variables that the servers must not see.
    let mut child = Command::new("/bin/sh")
        .args(["-c", "umask 0; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "start_servers_and_tell", "--ignored", "--nocapture"])
        .env("SANDBOX_TEST_TELLS", "1")
        .env("SANDBOX_TEST_SECRET", "of the caller")
        .env("PGPASSWORD", "of the caller")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    while !said.ends_with("ready\n") {
        assert!(std::io::BufRead::read_line(&mut out, &mut said).unwrap() > 0, "{said}");
    }
    let started: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("started ")).collect();
    assert_eq!(started.len(), 4, "{said}");

    let (mut owners, mut told) = (Vec::new(), 0);
    for line in &started {
        let folder = Path::new(line.split_once(' ').unwrap().1);
        closed(folder, &mut owners);
        if let Ok(environment) = std::fs::read_to_string(folder.join("data/environment")) {
            assert!(environment.contains(&format!("HOME={}", folder.display())), "{environment}");
            assert!(!environment.contains("of the caller"), "{environment}");
            told += 1;
        }
    }
    assert_eq!(told, 1, "the environment of a server");
    if owners.contains(&0) {
        let stranger = [65_534, 65_533].into_iter().find(|uid| !owners.contains(uid)).unwrap();
        as_another_user(stranger, &started.join("\n"));
    } else {
        eprintln!("SKIPPED: only root can try as another user");
    }
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

/// The folder is accessible only to its owner; sockets in it are protected by the folder alone.
fn closed(folder: &Path, owners: &mut Vec<u32>) {
    let metadata = folder.metadata().unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o700, "{}", folder.display());
    owners.push(metadata.uid());
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            let Ok(metadata) = entry.path().symlink_metadata() else { continue };
            let open = metadata.mode() & 0o077;
            assert_eq!(open, 0, "{} is open: {:o}", entry.path().display(), metadata.mode());
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
}

fn as_another_user(uid: u32, places: &str) {
    // In a place where that user can execute it.
    let folder = tempfile::Builder::new().tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("tries");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let id = uid.to_string();
    let tried = Command::new("setpriv")
        .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
        .arg(program)
        .args(["--exact", "try_everything", "--ignored", "--nocapture"])
        .env("SANDBOX_TEST_TRIES", places)
        .output()
        .expect("setpriv is part of util-linux");
    let text = [tried.stdout, tried.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(tried.status.success() && text.contains("1 passed"), "{text}");
}
