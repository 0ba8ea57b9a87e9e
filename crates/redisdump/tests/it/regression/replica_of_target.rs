//! A target that the source follows by replication. Reported as "`migrate --from REPLICA --to ITS-MASTER --flush` destroys
//! both".
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use std::time::Duration;

use crate::support::{Client, options, start};
use redisdump::{ConnectOptions, Environment, refuse_shared_data};
use sandbox::testing::require_redis;
use sandbox::{Listen, Redis, RedisOptions};

/// Servers that reach each other by their ports, with one password.
fn on_ports() -> RedisOptions {
    RedisOptions { listen: Listen::Port, password: Some("pw".into()), ..RedisOptions::default() }
}

fn follow(replica: &Redis, port: u16) {
    let mut client = Client::new(replica);
    client.ask(&format!("SLAVEOF 127.0.0.1 {port}"));
}

fn wait_for_link(replica: &Redis) {
    for _ in 0..300 {
        if Client::new(replica).ask("INFO replication").contains("master_link_status:up") {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the replica does not come up");
}

async fn refused(source: &Redis, target: &Redis, words: &str) {
    for destructive in [false, true] {
        let error = refuse_shared_data(&options(source), &options(target), destructive).await.unwrap_err();
        assert!(error.is_refused() && error.to_string().contains(words), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_is_no_target_for_its_replicas() {
    for version in ["3.2", "5.0", "7.0", "valkey-9"] {
        let Some(binaries) = require_redis(version) else { continue };
        let [master, replica, chained, other] = [0; 4].map(|_| start(&binaries, on_ports()));
        Client::new(&master).ask("SET a b");
        follow(&replica, master.port().unwrap());
        wait_for_link(&replica);
        follow(&chained, replica.port().unwrap());
        wait_for_link(&chained);
        let words = if version == "3.2" { "the master of the source" } else { "replication id" };
        refused(&replica, &master, words).await;
        refused(&chained, &master, words).await;
        refused(&master, &master, "the same server").await;
        // By the other's socket it is the same one.
        let socket = format!("redis+unix://:pw@{}", master.socket().display());
        let socket = ConnectOptions::parse(&socket, &Environment::default()).unwrap();
        assert!(refuse_shared_data(&options(&chained), &socket, true).await.unwrap_err().is_refused());
        for source in [&master, &replica, &chained] {
            refuse_shared_data(&options(source), &options(&other), true).await.unwrap();
        }
        // Once replication is off, it is an independent server.
        Client::new(&replica).ask("SLAVEOF NO ONE");
        refuse_shared_data(&options(&replica), &options(&master), true).await.unwrap();
    }
}

/// A link that has never been up comes up later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_without_its_master_follows_it_all_the_same() {
    let Some(binaries) = require_redis("7.0") else { return };
    let [master, replica, other] = [0; 3].map(|_| start(&binaries, on_ports()));
    let connect = async |server: &Redis, words: &[&str]| {
        let mut client = Client::new(server);
        words.iter().for_each(|line| drop(client.ask(line)));
    };
    // Its password for the master is wrong.
    let follow = format!("REPLICAOF 127.0.0.1 {}", master.port().unwrap());
    connect(&replica, &["SET mine 1", "CONFIG SET masterauth wrong", &follow]).await;
    refused(&replica, &master, "the master of the source").await;
    // Nobody is there now: whether it is this target cannot be known.
    connect(&replica, &["REPLICAOF 127.0.0.1 1"]).await;
    let error = refuse_shared_data(&options(&replica), &options(&other), true).await.unwrap_err();
    assert!(error.is_refused() && error.to_string().contains("cannot be asked"), "{error}");
    refuse_shared_data(&options(&replica), &options(&other), false).await.unwrap();
}
