//! TLS to a real server, with authorities and certificates created by the test.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, reason = "test code")]

use std::path::Path;
use std::process::Command;

use crate::support::{Client, Corners, fill, stream};
use bytes::Bytes;
use futures::TryStreamExt as _;
use redisdump::{
    Capture, CaptureMethod, CaptureOptions, CompareOptions, ConnectOptions, Environment, RestoreOptions,
    prove, restore, server_identity,
};
use sandbox::testing::require_redis;
use sandbox::{Redis, RedisOptions};

fn openssl(folder: &Path, line: &str) {
    let mut words: Vec<&str> = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        if at % 2 == 1 { words.push(part) } else { words.extend(part.split_whitespace()) }
    }
    let made = Command::new("openssl").args(&words).current_dir(folder).output().unwrap();
    assert!(made.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&made.stderr));
}

/// Two authorities; of the first a certificate of a server and one of a client.
fn certificates() -> Option<tempfile::TempDir> {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("SKIPPED: there is no openssl here to make certificates with");
        assert!(std::env::var_os("DBHAUL_REQUIRE_SERVERS").is_none(), "openssl is missing");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let extensions = "basicConstraints=CA:FALSE\nsubjectAltName=DNS:redis.test,IP:127.0.0.1\n";
    std::fs::write(at.join("extensions"), extensions).unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for ca in ["ca", "other"] {
        openssl(
            at,
            &format!("req -x509 {key} -keyout {ca}.key -out {ca}.pem -days 2 -subj '/CN=authority {ca}'"),
        );
    }
    for of in ["server", "client"] {
        openssl(at, &format!("req {key} -keyout {of}.key -out {of}.csr -subj '/CN={of}'"));
        openssl(
            at,
            &format!(
                "x509 -req -in {of}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out {of}.pem"
            ),
        );
    }
    Some(folder)
}

/// Whoever can reach the port of TLS needs it.
const PASSWORD: &str = "of the server";

/// A server that speaks TLS on a port, and that port; nothing where its build knows no TLS.
fn secured(folder: &Path, clients: &str) -> Option<(Redis, u16)> {
    let binaries = require_redis("7.0")?;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = |name: &str| folder.join(name).display().to_string();
    let settings = [
        ("tls-port", port.to_string()),
        ("tls-cert-file", file("server.pem")),
        ("tls-key-file", file("server.key")),
        ("tls-ca-cert-file", file("ca.pem")),
        ("tls-auth-clients", clients.to_owned()),
        ("repl-diskless-sync-delay", "0".to_owned()),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let password = Some(PASSWORD.to_owned());
    match Redis::start(&binaries, RedisOptions { password, settings, ..RedisOptions::default() }) {
        Ok(server) => Some((server, port)),
        Err(error) => {
            let said = error.to_string();
            assert!(said.contains("TLS support") || said.contains("connection type tls"), "{said}");
            eprintln!("SKIPPED: this Redis 7.0 was built without TLS");
            None
        }
    }
}

fn at(url: &str) -> ConnectOptions {
    ConnectOptions::parse(url, &Environment { password: Some(PASSWORD.to_owned()) }).unwrap()
}

#[tokio::test]
async fn the_server_is_checked_by_the_authority_that_is_named() {
    let Some(folder) = certificates() else { return };
    let Some((_server, port)) = secured(folder.path(), "no") else { return };
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (ca, other) = (file("ca.pem"), file("other.pem"));
    server_identity(&at(&format!("rediss://127.0.0.1:{port}?cacert={ca}"))).await.unwrap();
    server_identity(&at(&format!("rediss://localhost:{port}?cacert={ca}&sni=redis.test"))).await.unwrap();
    server_identity(&at(&format!("rediss://localhost:{port}?insecure=true"))).await.unwrap();
    for (query, expected) in [
        (format!("cacert={other}"), "is not signed by"),
        (String::new(), "?cacert=FILE"),
        (format!("cacert={ca}&sni=else.test"), "is not for else.test"),
        ("cacert=/nowhere/ca.pem".to_owned(), "cacert /nowhere/ca.pem: No such file"),
        (format!("cacert={}", file("extensions")), "no PEM certificate"),
    ] {
        let error = server_identity(&at(&format!("rediss://127.0.0.1:{port}?{query}"))).await.unwrap_err();
        let error = error.to_string();
        assert!(error.contains(expected) && error.contains("cannot connect"), "{query}: {error}");
    }
    // Without TLS on the port of TLS, and the other way round.
    let error = server_identity(&at(&format!("redis://127.0.0.1:{port}?timeout=5"))).await.unwrap_err();
    assert!(!error.to_string().is_empty());
}

#[tokio::test]
async fn a_client_shows_its_certificate_where_one_is_wanted() {
    let Some(folder) = certificates() else { return };
    let (Some((source, from)), Some((target, to))) =
        (secured(folder.path(), "yes"), secured(folder.path(), "yes"))
    else {
        return;
    };
    fill(&source, Corners::All);
    for server in [&source, &target] {
        Client::new(server).ask("ACL SETUSER bot on >pw ~* &* +@all");
        Client::new(server).ask("ACL SETUSER default off");
    }
    let file = |name: &str| folder.path().join(name).display().to_string();
    let ca = file("ca.pem");
    let none =
        server_identity(&at(&format!("rediss://bot:pw@127.0.0.1:{from}?cacert={ca}"))).await.unwrap_err();
    assert!(none.to_string().contains("?cert=FILE&key=FILE"), "{none}");
    let with = |port: u16, cert: &str, key: &str| {
        let (cert, key) = (file(cert), file(key));
        at(&format!("rediss://bot:pw@127.0.0.1:{port}?cacert={ca}&cert={cert}&key={key}"))
    };
    let (left, right) = (with(from, "client.pem", "client.key"), with(to, "client.pem", "client.key"));
    for method in [CaptureMethod::Psync, CaptureMethod::Scan] {
        let mut capture = Capture::start(&left, &CaptureOptions::by(method)).await.unwrap();
        let pieces: Vec<Bytes> = (&mut capture).try_collect().await.unwrap();
        let rdb = pieces.concat();
        let settings = RestoreOptions { flush: Some(right.address()), ..RestoreOptions::default() };
        let restored = restore(stream(&rdb), &right, &settings, &|_| ()).await.unwrap();
        assert_eq!(restored.keys, capture.report().unwrap().keys());
        let proof = prove(stream(&rdb), &right, &CompareOptions::default(), &|_| ()).await.unwrap();
        assert!(proof.equal(), "{proof}");
    }
    // Errors about confused files name them, but never quote their content.
    let secret = std::fs::read_to_string(folder.path().join("client.key")).unwrap();
    for (cert, key, expected) in [
        ("client.pem", "server.key", "not a valid client certificate"),
        ("client.pem", "client.pem", "not a PEM private key"),
        ("client.key", "client.key", "no PEM certificate"),
        ("client.pem", "missing.key", "missing.key: No such file"),
    ] {
        let error = server_identity(&with(from, cert, key)).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{cert} {key}: {error}");
        assert!(!secret.lines().any(|line| error.contains(line)), "{error}");
    }
}
