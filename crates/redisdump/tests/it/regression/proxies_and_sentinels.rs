//! Servers that are not Redis, or hide one. Reported as "a Sentinel's port is backed up with 0 keys and exit 0" and
//! "behind a proxy with an INFO of its own the snapshot is empty".
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::proxy::{before, bulk};
use crate::support::{Client, Corners, captured, fill, start, stream};
use bytes::Bytes;
use futures::TryStreamExt as _;
use redisdump::{
    Capture, CaptureOptions, CaptureReport, CompareOptions, ConnectOptions, Environment, Error,
    RestoreOptions, compare, restore, server_identity,
};
use sandbox::testing::require_redis;
use sandbox::{Listen, Redis, RedisBinaries, RedisOptions};

async fn taken(options: &ConnectOptions) -> Result<(Vec<u8>, CaptureReport), Error> {
    let mut capture = Capture::start(options, &CaptureOptions::default()).await?;
    let pieces: Vec<Bytes> = (&mut capture).try_collect().await?;
    Ok((pieces.concat(), capture.report().unwrap()))
}

/// A proxy without PSYNC and with an INFO of its own.
fn proxy(words: &[Vec<u8>]) -> Option<Vec<u8>> {
    match words[0].to_ascii_uppercase().as_slice() {
        b"INFO" => Some(bulk("# Proxy\r\nproxy_version:1.7\r\nclients:3\r\n")),
        b"PSYNC" | b"REPLCONF" | b"CONFIG" => Some(b"-ERR unknown command\r\n".to_vec()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_are_found_without_info() {
    let Some(binaries) = require_redis("7.0") else { return };
    let (source, target) =
        (start(&binaries, RedisOptions::default()), start(&binaries, RedisOptions::default()));
    fill(&source, Corners::All);
    let (_, snapshot) = captured(&source).await;
    let behind = before(&source, proxy);
    let (rdb, report) = taken(&behind).await.unwrap();
    assert_eq!((report.digest, &report.databases), (snapshot.digest, &snapshot.databases));
    let to = before(&target, proxy);
    restore(stream(&rdb), &to, &RestoreOptions::default(), &|_| ()).await.unwrap();
    let found = compare(&behind, &to, &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(found.equal() && found.keys == snapshot.keys(), "{found}");
    // Keys in another database prevent filling it.
    let mut client = Client::new(&target);
    client.ask("FLUSHALL");
    client.ask("FUNCTION FLUSH");
    client.ask("SELECT 9");
    client.ask("SET a b");
    let error = restore(stream(&rdb), &to, &RestoreOptions::default(), &|_| ()).await.unwrap_err();
    assert!(error.is_refused() && error.to_string().contains("database 9 is not empty"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_be_identified_is_refused() {
    let Some(binaries) = require_redis("7.0") else { return };
    let source = start(&binaries, RedisOptions::default());
    fill(&source, Corners::All);
    // Neither the version nor the other databases can be determined.
    let mute = before(&source, |words| match words[0].to_ascii_uppercase().as_slice() {
        b"HELLO" => Some(b"-ERR unknown command\r\n".to_vec()),
        _ => proxy(words),
    });
    let narrow = before(&source, |words| match words[0].to_ascii_uppercase().as_slice() {
        b"SELECT" => Some(b"-ERR unsupported\r\n".to_vec()),
        _ => proxy(words),
    });
    for (options, words) in [(mute, "cannot identify"), (narrow, "cannot determine the keys")] {
        let error = taken(&options).await.unwrap_err();
        assert!(error.is_refused() && error.to_string().contains(words), "{error}");
        let error = compare(&options, &options, &CompareOptions::default(), &|_| ()).await.unwrap_err();
        assert!(error.is_refused(), "{error}");
    }
    // It counts the keys of all its servers, and goes over those of none.
    let blind = before(&source, |words| match words[0].to_ascii_uppercase().as_slice() {
        b"SCAN" => Some(b"*2\r\n$1\r\n0\r\n*0\r\n".to_vec()),
        _ => proxy(words),
    });
    let error = taken(&blind).await.unwrap_err().to_string();
    assert!(error.contains("DBSIZE counts") && error.contains("SCAN returned 0"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_may_not_ask_info_gets_all_databases() {
    let Some(binaries) = require_redis("7.0") else { return };
    let source = start(&binaries, RedisOptions::default());
    fill(&source, Corners::All);
    let (_, snapshot) = captured(&source).await;
    Client::new(&source).ask("ACL SETUSER poor on >pw ~* &* +@all -psync -info -config");
    let poor = ConnectOptions::parse(&source.url_as("poor", "pw"), &Environment::default()).unwrap();
    let (_, report) = taken(&poor).await.unwrap();
    assert_eq!((report.digest, report.databases), (snapshot.digest, snapshot.databases));
}

struct Sentinel {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Of the servers that the Sentinel watches, which reach each other by their ports.
const PASSWORD: &str = "of-the-servers";

fn sentinel(binaries: &RedisBinaries, master: &Redis) -> Sentinel {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = folder.path().join("sentinel.conf");
    let text = format!(
        "port {port}\ndir {}\nsentinel monitor mymaster 127.0.0.1 {} 1\nsentinel auth-pass mymaster {PASSWORD}\nsentinel down-after-milliseconds mymaster 1000\n",
        folder.path().display(),
        master.port().unwrap()
    );
    std::fs::write(&file, text).unwrap();
    let process =
        Command::new(binaries.program()).arg(&file).arg("--sentinel").stdout(Stdio::null()).spawn().unwrap();
    let sentinel = Sentinel { process, port, _folder: folder };
    for _ in 0..100 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return sentinel;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the Sentinel does not come up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_is_refused_with_the_url_of_its_master() {
    let Some(binaries) = require_redis("7.0") else { return };
    let password = Some(PASSWORD.to_owned());
    let options =
        RedisOptions { listen: Listen::Port, password: password.clone(), ..RedisOptions::default() };
    let (one, two) = (start(&binaries, options.clone()), start(&binaries, options));
    Client::new(&one).ask("SET a b");
    Client::new(&two).ask(&format!("REPLICAOF 127.0.0.1 {}", one.port().unwrap()));
    let sentinel = sentinel(&binaries, &one);
    let env = Environment { password };
    let at = |url: String| ConnectOptions::parse(&url, &env).unwrap();
    let port = sentinel.port;

    // The Sentinel itself asks for no password.
    let direct =
        ConnectOptions::parse(&format!("redis://127.0.0.1:{port}"), &Environment::default()).unwrap();
    let refused = taken(&direct).await.unwrap_err();
    let words = format!("redis+sentinel://127.0.0.1:{port}/mymaster");
    assert!(refused.is_refused() && refused.to_string().contains(&words), "{refused}");
    let refused = restore(stream(b""), &direct, &RestoreOptions::default(), &|_| ()).await.unwrap_err();
    assert!(refused.is_refused(), "{refused}");

    // The first of the Sentinels is not there.
    let url = || format!("redis+sentinel://127.0.0.1:1,127.0.0.1:{port}/mymaster");
    let (_, report) = taken(&at(url())).await.unwrap();
    assert_eq!((report.keys(), report.server.address), (1, one.address()));
    let unknown = server_identity(&at(format!("redis+sentinel://127.0.0.1:{port}/other"))).await.unwrap_err();
    assert!(unknown.to_string().contains("does not monitor a master `other`"), "{unknown}");

    // After a failover the other one is found; a job that has begun stays with its server.
    let begun = at(url());
    server_identity(&begun).await.unwrap();
    let mut client = Client::at(port);
    for _ in 0..100 {
        if client.ask("SENTINEL REPLICAS mymaster").contains("master-link-status ok") {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    client.ask("SENTINEL FAILOVER mymaster");
    for _ in 0..150 {
        if client.ask("SENTINEL GET-MASTER-ADDR-BY-NAME mymaster").ends_with(&two.port().unwrap().to_string())
        {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let after = server_identity(&at(url())).await.unwrap();
    assert_eq!((after.address, after.role.as_str()), (two.address(), "master"));
    assert_eq!(server_identity(&begun).await.unwrap().address, one.address());
}
