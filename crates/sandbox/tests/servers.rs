//! Each server on this host starts, survives a crash, and leaves nothing behind.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sandbox::testing::{long, require_postgres, require_redis};
use sandbox::{
    Flavor, Listen, Places, Postgres, PostgresBinaries, PostgresOptions, Redis, RedisBinaries, RedisOptions,
    Tls,
};

fn postgres_lives(major: u32, binaries: Option<PostgresBinaries>) {
    let Some(binaries) = binaries else { return };
    let mut server = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    assert_eq!(server.version().major(), major);
    assert!(binaries.available_extensions().contains(&"plpgsql".to_owned()), "{:?}", binaries.bin());
    let folder = server.socket_dir().to_owned();
    assert_eq!(server.port(), None);
    let socket = folder.join(".s.PGSQL.5432");
    assert_eq!(startup(UnixStream::connect(&socket).unwrap(), "postgres"), authentication(0));
    server.kill();
    assert!(UnixStream::connect(&socket).is_err(), "it still listens");
    server.restart().unwrap();
    assert_eq!(startup(UnixStream::connect(&socket).unwrap(), "postgres"), authentication(0));
    drop(server);
    assert!(!folder.exists(), "{} was left behind", folder.display());
}

#[test]
fn servers_for_tests_have_identities_of_their_own() {
    let Some(binaries) = require_postgres(15) else { return };
    let started = [(); 3].map(|()| Postgres::start(&binaries, PostgresOptions::default()).unwrap());
    let identifiers = started.map(|server| {
        // `pg_control` begins with the system identifier.
        std::fs::read(server.data_dir().join("global/pg_control")).unwrap()[..8].to_vec()
    });
    let [first, second, third] = &identifiers;
    assert!(first != second && second != third && first != third, "{identifiers:?}");
}

/// PostgreSQL's first response to a startup packet (protocol 3.0).
fn startup(mut stream: impl Read + Write, user: &str) -> Vec<u8> {
    let body = format!("user\0{user}\0database\0postgres\0\0");
    let mut packet = u32::try_from(body.len() + 8).unwrap().to_be_bytes().to_vec();
    packet.extend_from_slice(&196_608_u32.to_be_bytes());
    packet.extend_from_slice(body.as_bytes());
    stream.write_all(&packet).unwrap();
    let mut reply = [0; 9];
    stream.read_exact(&mut reply).unwrap();
    // The length depends on the mechanisms that follow.
    [reply[..1].to_vec(), reply[5..].to_vec()].concat()
}

/// AuthenticationOk is 0, AuthenticationSASL is 10.
fn authentication(kind: u8) -> Vec<u8> {
    vec![b'R', 0, 0, 0, kind]
}

fn ask(stream: &mut (impl Read + Write), command: &str) -> String {
    stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply).unwrap();
    reply.trim_end().to_owned()
}

fn redis_lives(version: &str, binaries: Option<RedisBinaries>) {
    let Some(binaries) = binaries else { return };
    let options = RedisOptions {
        appendonly: true,
        settings: vec![("appendfsync".into(), "always".into())],
        ..RedisOptions::default()
    };
    let mut server = Redis::start(&binaries, options).unwrap();
    assert_eq!(server.flavor() == Flavor::Valkey, version.starts_with("valkey"));
    let folder = server.dir().to_owned();
    assert_eq!(server.port(), None);
    let mut stream = UnixStream::connect(server.socket()).unwrap();
    assert_eq!(ask(&mut stream, "SET k v"), "+OK");
    server.kill();
    assert!(UnixStream::connect(server.socket()).is_err(), "it still listens");
    server.restart().unwrap();
    let mut stream = UnixStream::connect(server.socket()).unwrap();
    assert_eq!(ask(&mut stream, "STRLEN k"), ":1", "the append-only file holds it");
    drop(server);
    assert!(!folder.exists(), "{} was left behind", folder.display());
}

#[test]
fn postgres_15() {
    postgres_lives(15, require_postgres(15));
}

#[test]
fn postgres_18() {
    postgres_lives(18, require_postgres(18));
}

#[test]
fn redis_and_valkey() {
    for version in ["7.0", "8.2", "valkey-9"] {
        redis_lives(version, require_redis(version));
    }
}

#[test]
#[ignore = "long: run by scripts/test --all"]
fn every_other_version() {
    for major in [12, 13, 14, 16, 17] {
        postgres_lives(major, long::require_postgres(major));
    }
    for version in ["3.0", "3.2", "5.0", "6.2", "8.6", "valkey-8.1"] {
        redis_lives(version, long::require_redis(version));
    }
}

#[test]
fn a_password_is_prompted_for_and_never_shown() {
    let password = "p@ss:w/o#rd'\"\\ 1";
    let in_url = "p%40ss%3Aw%2Fo%23rd%27%22%5C%201";
    if let Some(binaries) = require_postgres(15) {
        let options = PostgresOptions {
            listen: Listen::Port,
            password: Some(password.into()),
            ..PostgresOptions::default()
        };
        let server = Postgres::start(&binaries, options).unwrap();
        let port = server.port().unwrap();
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert_eq!(startup(stream, "postgres"), authentication(10));
        assert_eq!(server.url("db"), format!("postgres://postgres:{in_url}@127.0.0.1:{port}/db"));
        assert!(!format!("{server:?}").contains("p@ss"));
        assert!(!server.socket_dir().join("password").exists());
    }
    if let Some(binaries) = require_redis("7.0") {
        let options =
            RedisOptions { listen: Listen::Port, password: Some(password.into()), ..RedisOptions::default() };
        let server = Redis::start(&binaries, options).unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", server.port().unwrap())).unwrap();
        assert!(ask(&mut stream, "PING").starts_with("-NOAUTH"));
        assert!(ask(&mut stream, "AUTH wrong").starts_with('-'));
        let right = format!("*2\r\n$4\r\nAUTH\r\n${}\r\n{password}", password.len());
        assert_eq!(ask(&mut stream, &right), "+OK");
        assert!(server.url().contains(in_url) && !format!("{server:?}").contains("p@ss"));
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let arguments = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&arguments).contains(password), "{}", process.path().display());
        }
    }
}

#[test]
fn redis_begins_with_an_rdb_file() {
    let Some(binaries) = require_redis("7.0") else { return };
    let first = Redis::start(&binaries, RedisOptions::default()).unwrap();
    let mut stream = UnixStream::connect(first.socket()).unwrap();
    ask(&mut stream, "SET k value");
    assert_eq!(ask(&mut stream, "SAVE"), "+OK");
    let options = RedisOptions { rdb: Some(first.dir().join("dump.rdb")), ..RedisOptions::default() };
    let second = Redis::start(&binaries, options).unwrap();
    let mut stream = UnixStream::connect(second.socket()).unwrap();
    assert_eq!(ask(&mut stream, "STRLEN k"), ":5");
}

#[test]
fn tls_is_offered_with_a_certificate() {
    let Some(binaries) = require_postgres(15) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=localhost",
            "-keyout",
        ])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl makes the test's certificate; ca-certificates brings it on Debian and Ubuntu");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let offered = |tls| {
        let options = PostgresOptions { listen: Listen::Port, tls, ..PostgresOptions::default() };
        let server = Postgres::start(&binaries, options).unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", server.port().unwrap())).unwrap();
        stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).unwrap(); // SSLRequest
        let mut reply = [0];
        stream.read_exact(&mut reply).unwrap();
        reply[0]
    };
    assert_eq!(offered(Some(Tls { certificate, key })), b'S');
    assert_eq!(offered(None), b'N');
}

#[test]
fn a_wrong_setting_shows_the_servers_message_and_leaves_no_folder() {
    let Some(binaries) = require_postgres(15) else { return };
    let options = PostgresOptions {
        settings: vec![("shared_preload_libraries".into(), "no_such_library".into())],
        ..PostgresOptions::default()
    };
    let error = Postgres::start(&binaries, options).unwrap_err().to_string();
    assert!(error.contains("no_such_library"), "{error}");

    let Some(binaries) = require_redis("7.0") else { return };
    let options =
        RedisOptions { settings: vec![("no-such-setting".into(), "1".into())], ..RedisOptions::default() };
    let error = Redis::start(&binaries, options).unwrap_err().to_string();
    assert!(error.contains("no-such-setting"), "{error}");
}

#[test]
fn missing_programs_are_reported_with_the_searched_places() {
    let nowhere = Places::default();
    let error = sandbox::postgres::find(Some(15), &nowhere).unwrap_err().to_string();
    assert!(error.contains("PostgreSQL 15") && error.contains("PATH"), "{error}");
    assert!(sandbox::redis::find(Flavor::Valkey, "9", &nowhere).is_err());
}

/// Not a test: the process that the next test kills.
#[test]
#[ignore = "started by servers_end_with_the_process_that_started_them"]
fn start_servers_and_wait() {
    if std::env::var_os("SANDBOX_TEST_WAITS").is_none() {
        return;
    }
    let postgres = Postgres::start(&require_postgres(15).unwrap(), PostgresOptions::default()).unwrap();
    let redis = Redis::start(&require_redis("7.0").unwrap(), RedisOptions::default()).unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "\nstarted {}", postgres.socket_dir().join(".s.PGSQL.5432").display()).unwrap();
    writeln!(out, "started {}", redis.socket().display()).unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn servers_end_with_the_process_that_started_them() {
    if require_postgres(15).is_none() || require_redis("7.0").is_none() {
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "start_servers_and_wait", "--ignored", "--nocapture"])
        .env("SANDBOX_TEST_WAITS", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let started: Vec<PathBuf> =
        lines.filter_map(|line| Some(Path::new(line.strip_prefix("started ")?).to_owned())).take(2).collect();
    assert_eq!(started.len(), 2);
    assert!(started.iter().all(|socket| UnixStream::connect(socket).is_ok()));
    // SIGKILL: it cannot clean up.
    child.kill().unwrap();
    let deadline = Instant::now() + Duration::from_secs(15);
    for socket in started {
        while socket.parent().unwrap().exists() || UnixStream::connect(&socket).is_ok() {
            assert!(Instant::now() < deadline, "{} or its folder is left", socket.display());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    child.wait().unwrap();
}
