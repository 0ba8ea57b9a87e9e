//! Connecting: logins, timeouts, and servers that are not what they seem.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use std::time::{Duration, Instant};

use crate::support::{Client, captured, options, start, stream};
use bytes::Bytes;
use futures::TryStreamExt as _;
use redisdump::{
    Capture, CaptureMethod, CaptureOptions, CaptureReport, ConnectOptions, Environment, FolderCapture,
    RestoreOptions, restore, server_identity,
};
use sandbox::testing::require_redis;
use sandbox::{Listen, Redis, RedisOptions};

fn at(url: &str) -> ConnectOptions {
    ConnectOptions::parse(url, &Environment::default()).unwrap()
}

async fn taken(options: &ConnectOptions, method: CaptureMethod) -> (Vec<u8>, CaptureReport) {
    let mut capture = Capture::start(options, &CaptureOptions::by(method)).await.unwrap();
    let pieces: Vec<Bytes> = (&mut capture).try_collect().await.unwrap();
    (pieces.concat(), capture.report().unwrap())
}

#[tokio::test]
async fn a_server_that_stops_responding_times_out() {
    let Some(binaries) = require_redis("7.0") else { return };
    let server = start(&binaries, RedisOptions::default());
    let url = format!("{}?timeout=1", server.url());
    server_identity(&at(&url)).await.unwrap();
    Client::new(&server).ask("CLIENT PAUSE 60000 ALL");
    let began = Instant::now();
    let error = server_identity(&at(&url)).await.unwrap_err().to_string();
    assert!(error.contains("connection idle for 1 s") && error.contains("timeout="), "{error}");
    assert!(began.elapsed() < Duration::from_secs(20));
}

/// Newlines are signs of life: a server that waits before it forks is waited for.
#[tokio::test]
async fn a_slow_snapshot_is_waited_for() {
    let Some(binaries) = require_redis("7.0") else { return };
    let server = start(&binaries, RedisOptions::default());
    let mut client = Client::new(&server);
    client.ask("CONFIG SET repl-diskless-sync-delay 5");
    client.ask("SET a b");
    let (_, report) = taken(&at(&format!("{}?timeout=3", server.url())), CaptureMethod::Psync).await;
    assert_eq!(report.keys(), 1);
}

#[tokio::test]
async fn a_user_can_log_in_by_the_socket() {
    let Some(binaries) = require_redis("7.0") else { return };
    let server = start(&binaries, RedisOptions { listen: Listen::Port, ..RedisOptions::default() });
    let mut client = Client::new(&server);
    client.ask("SET a b");
    client.ask("ACL SETUSER bot@home on >pw ~* &* +@all");
    client.ask("ACL SETUSER open on nopass ~* &* +@all");
    client.ask("ACL SETUSER default off");
    let socket = server.socket().display().to_string();
    let env = Environment { password: Some("pw".to_owned()) };
    for url in [format!("redis+unix://bot%40home@{socket}"), format!("redis+unix://{socket}?user=bot%40home")]
    {
        let (_, report) = taken(&ConnectOptions::parse(&url, &env).unwrap(), CaptureMethod::Auto).await;
        assert_eq!(report.keys(), 1);
    }
    // A user of whom no password is known is not taken for `default`.
    server_identity(&at(&format!("redis+unix://open@{socket}"))).await.unwrap();
    server_identity(&at(&format!("redis://open@{}", server.address()))).await.unwrap();
    let error = server_identity(&at(&format!("redis+unix://bot%40home@{socket}"))).await.unwrap_err();
    assert!(error.to_string().contains("WRONGPASS"), "{error}");
}

fn node(slots: &str) -> Option<Redis> {
    let settings = [("cluster-enabled", "yes"), ("cluster-require-full-coverage", "no")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    // Nodes of a cluster know each other by their ports.
    let options = RedisOptions { listen: Listen::Port, settings, ..RedisOptions::default() };
    let server = start(&require_redis("7.0")?, options);
    let mut client = Client::new(&server);
    client.ask(&format!("CLUSTER ADDSLOTSRANGE {slots}"));
    let until = Instant::now() + Duration::from_secs(20);
    while !client.ask("CLUSTER INFO").contains("cluster_state:ok") {
        assert!(Instant::now() < until, "{}", server.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    Some(server)
}

#[tokio::test]
async fn a_part_of_a_cluster_does_not_pass_for_the_whole() {
    // `foo` has slot 12182.
    let Some(server) = node("8192 16383") else { return };
    let mut client = Client::new(&server);
    client.ask("SET foo bar");
    for method in [CaptureMethod::Auto, CaptureMethod::Scan] {
        let refused = Capture::start(&options(&server), &CaptureOptions::by(method)).await.err().unwrap();
        assert!(refused.is_refused(), "{refused}");
        let said = refused.to_string();
        assert!(said.contains("holds only part of its keys") && said.contains("cluster=this-node"), "{said}");
        let meant = at(&format!("{}?cluster=this-node", server.url()));
        let (_, report) = taken(&meant, method).await;
        assert!(report.keys() == 1 && report.server.cluster);
        assert!(report.warnings.join("\n").contains("not the cluster's other keys"), "{:?}", report.warnings);
    }
    while client.ask("INFO persistence").contains("rdb_bgsave_in_progress:1") {
        std::thread::sleep(Duration::from_millis(50));
    }
    client.ask("SAVE");
    let folder = FolderCapture::open(server.dir(), Some(&options(&server))).await.unwrap();
    assert!(folder.warnings().join("\n").contains("node of a cluster"), "{:?}", folder.warnings());

    let other = start(&require_redis("7.0").unwrap(), RedisOptions::default());
    Client::new(&other).ask("SET foo new");
    let (rdb, plain) = captured(&other).await;
    assert!(!plain.server.cluster && plain.warnings.is_empty());
    assert!(!serde_json::to_string(&plain).unwrap().contains("cluster"));
    let settings = RestoreOptions { flush: Some(server.address()), ..RestoreOptions::default() };
    let refused = restore(stream(&rdb), &options(&server), &settings, &|_| ()).await.unwrap_err();
    assert!(refused.is_refused() && refused.to_string().contains("node of a cluster"), "{refused}");
    assert_eq!(client.ask("GET foo"), "bar");
}

#[tokio::test]
async fn a_cluster_of_one_node_is_whole() {
    let Some(server) = node("0 16383") else { return };
    Client::new(&server).ask("SET foo bar");
    let (_, report) = taken(&options(&server), CaptureMethod::Auto).await;
    assert_eq!((report.keys(), report.warnings.len()), (1, 0));
}

/// As the kernel tells it: the timer of our end of the connection is that of keepalive, and due within a minute.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_vanished_peer_is_detected() {
    let Some(binaries) = require_redis("7.0") else { return };
    let server = start(&binaries, RedisOptions { listen: Listen::Port, ..RedisOptions::default() });
    Client::new(&server).ask("SET a b");
    let held = Capture::start(&options(&server), &CaptureOptions::default()).await.unwrap();
    let to = format!(":{:04X}", server.port().unwrap());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let timers: Vec<(&str, u64)> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words[2].ends_with(&to) && words[3] == "01")
        .filter_map(|words| words[5].split_once(':'))
        .map(|(timer, due)| (timer, u64::from_str_radix(due, 16).unwrap()))
        .collect();
    assert!(timers.iter().any(|(timer, due)| *timer == "02" && *due <= 6000), "{timers:?}");
    drop(held);
}
