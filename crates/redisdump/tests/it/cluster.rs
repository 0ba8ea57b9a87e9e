//! Clusters on real servers: captured as one source, filled as one target, compared; also while slots and roles
//! change.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "test code")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Client, Corners, at_least, captured, fill, options, start, stream, words};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use redisdump::{
    Capture, CaptureMethod, CaptureOptions, CaptureReport, ClusterCapture, CompareOptions, ConnectOptions,
    Consistency, DigestLog, Environment, OnExisting, RestoreOptions, RestoreReport, compare, prove,
    prove_digests, restore,
};
use sandbox::testing::require_redis;
use sandbox::{ClusterOptions, Redis, RedisCluster, RedisOptions};

fn cluster(version: &str, replicas: u16) -> Option<RedisCluster> {
    let old = version.starts_with('3');
    let delay = ("repl-diskless-sync-delay", "0");
    let settings = [("cluster-node-timeout", "2000"), delay, ("repl-ping-replica-period", "1")];
    let known = settings.into_iter().filter(|(name, _)| !old || *name == "cluster-node-timeout");
    let settings = known.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let options = ClusterOptions { replicas, settings, ..ClusterOptions::default() };
    Some(RedisCluster::start(&require_redis(version)?, &options).unwrap())
}

fn whole(cluster: &RedisCluster) -> ConnectOptions {
    ConnectOptions::parse(&cluster.url(), &Environment::default()).unwrap()
}

/// A server with every corner in the one database that a cluster has.
fn filled(version: &str) -> Option<Redis> {
    let server = start(&require_redis(version)?, RedisOptions::default());
    fill(&server, Corners::All);
    let mut client = Client::new(&server);
    for line in ["SELECT 3", "FLUSHDB", "SELECT 0"] {
        client.ask(line);
    }
    // Values of more than 8 MB are sent as several commands.
    for n in 0..12 {
        let mut command = words("RPUSH giant{of}list");
        command.extend((0..100).map(|m| format!("{n} {m} {}", "x".repeat(10_000)).into_bytes()));
        client.send(&command).unwrap();
    }
    Some(server)
}

/// A server with so many small keys beside each other.
fn many(version: &str, keys: usize) -> Option<Redis> {
    let server = start(&require_redis(version)?, RedisOptions::default());
    let mut client = Client::new(&server);
    let mut pipeline = redis::pipe();
    for n in 0..keys {
        pipeline.cmd("SET").arg(format!("key:{n}")).arg(format!("value {n} {}", "x".repeat(n % 300)));
    }
    client.pipe(&pipeline.get_packed_pipeline(), keys as u64).unwrap();
    Some(server)
}

async fn taken(of: &ConnectOptions, method: CaptureMethod) -> (Vec<u8>, CaptureReport) {
    let mut capture = Capture::start(of, &CaptureOptions::by(method)).await.unwrap();
    let pieces: Vec<Bytes> = (&mut capture).try_collect().await.unwrap();
    (pieces.concat(), capture.report().unwrap())
}

async fn equal(left: &ConnectOptions, right: &ConnectOptions) {
    // The nodes tell each other of slots that moved, and of masters that took over, within some seconds.
    let mut tries = 0;
    let found = loop {
        match compare(left, right, &CompareOptions::default(), &|_| ()).await {
            Err(redisdump::Error::ClusterChanged { .. }) if tries < 20 => tries += 1,
            found => break found.unwrap(),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    assert!(found.equal() && found.keys > 0, "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_one_source_and_one_target() {
    for version in ["7.0", "valkey-9", "3.2", "8.2"] {
        let (Some(cluster), Some(source)) = (cluster(version, 0), filled(version)) else { continue };
        let (rdb, before) = captured(&source).await;
        let settings = RestoreOptions::default();
        let report = restore(stream(&rdb), &whole(&cluster), &settings, &|_| ()).await.unwrap();
        assert_eq!((report.keys, report.server.masters), (before.keys(), 3), "{version}: {report}");
        assert!(report.by_commands.is_none(), "{report}");
        let proof = prove(stream(&rdb), &whole(&cluster), &CompareOptions::default(), &|_| ()).await.unwrap();
        assert!(proof.equal() && proof.equal_keys == before.keys(), "{version}: {proof}");
        equal(&options(&source), &whole(&cluster)).await;
        // Each node has a part, and all have the functions.
        for node in cluster.nodes() {
            let mut client = Client::new(node);
            assert!(client.ask("DBSIZE").parse::<u64>().unwrap() > 0);
            let functions =
                if at_least(node, 7, 0) { client.ask("FUNCTION LIST") } else { "mine".to_owned() };
            assert!(functions.contains("mine"), "{functions}");
        }

        for method in [CaptureMethod::Psync, CaptureMethod::Scan] {
            let (again, after) = taken(&whole(&cluster), method).await;
            assert_eq!(
                (after.digest, after.functions),
                (before.digest, before.functions),
                "{version} {method:?}"
            );
            assert_eq!((after.nodes.len(), &after.types), (3, &before.types));
            assert_eq!(after.nodes.iter().map(|node| node.keys).sum::<u64>(), after.keys());
            if method == CaptureMethod::Psync {
                assert_eq!(after.consistency, Consistency::EachNode);
                assert_eq!(after.nodes[0].slots, "0-5460");
            }
            let back = start(&require_redis(version).unwrap(), RedisOptions::default());
            restore(stream(&again), &options(&back), &settings, &|_| ()).await.unwrap();
            equal(&options(&source), &options(&back)).await;
        }
        // It is not empty any more, and each master says so.
        let refused = restore(stream(&rdb), &whole(&cluster), &settings, &|_| ()).await.unwrap_err();
        assert!(
            refused.is_refused() && refused.to_string().matches("is not empty").count() == 3,
            "{refused}"
        );
        let flush = RestoreOptions { flush: Some(cluster.address()), ..RestoreOptions::default() };
        restore(stream(&rdb), &whole(&cluster), &flush, &|_| ()).await.unwrap();
        let skip = RestoreOptions { on_existing: OnExisting::Skip, ..RestoreOptions::default() };
        Client::new(&cluster.nodes()[0]).ask("FLUSHALL");
        let report = restore(stream(&rdb), &whole(&cluster), &skip, &|_| ()).await.unwrap();
        assert!(report.keys > 0 && report.skipped > 0, "{report}");
        let replace = RestoreOptions { on_existing: OnExisting::Replace, ..RestoreOptions::default() };
        restore(stream(&rdb), &whole(&cluster), &replace, &|_| ()).await.unwrap();
        equal(&whole(&cluster), &options(&source)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn differences_are_found_on_every_node() {
    let (Some(left), Some(source)) = (cluster("7.0", 0), many("7.0", 3000)) else { return };
    let right = cluster("valkey-9", 0).unwrap();
    let log = DigestLog::against(&whole(&right)).await.unwrap();
    let (rdb, _) = captured(&source).await;
    restore(stream(&rdb), &whole(&left), &RestoreOptions::default(), &|_| ()).await.unwrap();
    let settings = CaptureOptions::default();
    let mut capture = Capture::start_with_digests(&whole(&left), &settings, log).await.unwrap();
    restore(&mut capture, &whole(&right), &RestoreOptions::default(), &|_| ()).await.unwrap();
    let log = capture.digests().unwrap();
    assert_eq!(log.keys(), 3000);
    for (at, node) in right.nodes().iter().enumerate() {
        let mut client = Client::new(node);
        let key = client.ask("RANDOMKEY");
        client.ask(&format!("SET {key} changed"));
        let key = format!("{{{}}}beside", client.ask("RANDOMKEY"));
        client.ask(&format!("SET {key} {at}"));
    }
    let compared = compare(&whole(&left), &whole(&right), &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(compared.different_keys >= 6 && !compared.equal(), "{compared}");
    let proof =
        prove_digests(log, "left", &whole(&right), &CompareOptions::default(), &|_| ()).await.unwrap();
    assert_eq!((proof.different_keys, proof.equal()), (compared.different_keys, false), "{proof}");
}

#[tokio::test]
async fn keys_of_other_databases_and_commands_are_refused_before_the_first_write() {
    let Some(cluster) = cluster("7.0", 0) else { return };
    let source = start(&require_redis("7.0").unwrap(), RedisOptions::default());
    fill(&source, Corners::Oldest);
    let (rdb, _) = captured(&source).await;
    let refused =
        redisdump::unsupported(stream(&rdb), &whole(&cluster), &RestoreOptions::default()).await.unwrap_err();
    assert!(refused.is_refused() && refused.to_string().contains("database 3"), "{refused}");
    let node = options(&cluster.nodes()[0]);
    let refused = restore(stream(&rdb), &node, &RestoreOptions::default(), &|_| ()).await.unwrap_err();
    assert!(refused.to_string().contains("redis+cluster://"), "{refused}");
    for node in cluster.nodes() {
        assert_eq!(Client::new(node).ask("DBSIZE"), "0");
    }
    // A server that is none of a cluster.
    let alone = start(
        &require_redis("7.0").unwrap(),
        RedisOptions { listen: sandbox::Listen::Port, ..RedisOptions::default() },
    );
    let url = alone.url().replacen("redis://", "redis+cluster://", 1);
    let wrong = ConnectOptions::parse(&url, &Environment::default()).unwrap();
    let refused = Capture::start(&wrong, &CaptureOptions::default()).await.err().unwrap();
    assert!(refused.to_string().contains("not a node of a cluster"), "{refused}");
}

fn id(node: &Redis) -> String {
    Client::new(node).ask("CLUSTER MYID")
}

/// Begins to move a slot.
fn open_slot(cluster: &RedisCluster, slot: u16, from: usize, to: usize) {
    let (source, target) = (&cluster.nodes()[from], &cluster.nodes()[to]);
    Client::new(target).ask(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", id(source)));
    Client::new(source).ask(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", id(target)));
}

/// Moves a slot with its keys, as `redis-cli --cluster reshard` does.
fn move_slot(cluster: &RedisCluster, slot: u16, from: usize, to: usize) {
    let (source, target) = (&cluster.nodes()[from], &cluster.nodes()[to]);
    open_slot(cluster, slot, from, to);
    let mut client = Client::new(source);
    loop {
        let keys = client.ask(&format!("CLUSTER GETKEYSINSLOT {slot} 100"));
        if keys.is_empty() {
            break;
        }
        for key in keys.split(' ') {
            let (port, password) = (target.port().unwrap(), target.password().unwrap());
            client.send(&words(&format!("MIGRATE 127.0.0.1 {port} {key} 0 5000 AUTH {password}"))).unwrap();
        }
    }
    for node in [target, source].into_iter().chain(&cluster.nodes()[..cluster.masters()]) {
        // A node that is a replica now learns of it from its master.
        let _ = Client::new(node).send(&words(&format!("CLUSTER SETSLOT {slot} NODE {}", id(target))));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_that_move_during_a_capture_are_found() {
    let (Some(cluster), Some(source)) = (cluster("7.0", 0), many("7.0", 2000)) else { return };
    let (rdb, _) = captured(&source).await;
    restore(stream(&rdb), &whole(&cluster), &RestoreOptions::default(), &|_| ()).await.unwrap();
    // Also where it comes back, and all is as it was.
    for back in [false, true] {
        let mut capture = ClusterCapture::start(&whole(&cluster), &CaptureOptions::default()).await.unwrap();
        move_slot(&cluster, 0, 0, 1);
        if back {
            move_slot(&cluster, 0, 1, 0);
        }
        for node in capture.nodes() {
            while node.capture.next().await.transpose().unwrap().is_some() {}
        }
        let error = capture.finish().await.unwrap_err();
        assert!(error.is_cluster_changed(), "{error}");
        if !back {
            move_slot(&cluster, 0, 1, 0);
        }
    }
    open_slot(&cluster, 5, 0, 1);
    let refused = Capture::start(&whole(&cluster), &CaptureOptions::default()).await.err().unwrap();
    assert!(refused.is_refused() && refused.to_string().contains("slot 5 is being moved"), "{refused}");
    // A key that a node has beside those of its slots is not what clients see.
    for node in cluster.nodes() {
        Client::new(node).ask("CLUSTER SETSLOT 5 STABLE");
    }
    redisdump::wait_until_settled(&whole(&cluster), Duration::from_secs(10)).await.unwrap();
    let (_, report) = taken(&whole(&cluster), CaptureMethod::Auto).await;
    assert_eq!(report.keys(), 2000);
}

/// Restores beside something that goes on with the cluster, again and again until the restore ends.
async fn beside(
    rdb: &[u8],
    cluster: &Arc<RedisCluster>,
    rate: u64,
    disturb: impl Fn(&RedisCluster, usize) + Send + 'static,
) -> RestoreReport {
    let done = Arc::new(AtomicBool::new(false));
    let (disturbed, ended) = (cluster.clone(), done.clone());
    let disturbing = tokio::task::spawn_blocking(move || {
        let mut turn = 0;
        while !ended.load(Ordering::Relaxed) {
            disturb(&disturbed, turn);
            turn += 1;
        }
    });
    let settings = RestoreOptions { rate: Some(rate), ..RestoreOptions::default() };
    let report = restore(stream(rdb), &whole(cluster), &settings, &|_| ()).await;
    done.store(true, Ordering::Relaxed);
    disturbing.await.unwrap();
    report.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_follows_slots_that_move() {
    let (Some(cluster), Some(source)) = (cluster("7.0", 0), many("7.0", 20_000)) else { return };
    let cluster = Arc::new(cluster);
    let (rdb, _) = captured(&source).await;
    let report = beside(&rdb, &cluster, 6000, |cluster, turn| {
        // One after another from the first master, to the others by turns.
        if let Ok(slot) = u16::try_from(turn).map(|turn| turn.min(5000))
            && slot < 5000
        {
            move_slot(cluster, slot, 0, 1 + turn % 2);
        }
    })
    .await;
    assert!(report.cluster.as_ref().unwrap().redirected > 0, "{report}");
    assert_eq!(report.keys, 20_000);
    equal(&options(&source), &whole(&cluster)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_and_a_capture_survive_a_failover_that_loses_nothing() {
    let (Some(cluster), Some(source)) = (cluster("7.0", 1), many("7.0", 20_000)) else { return };
    let cluster = Arc::new(cluster);
    let (rdb, _) = captured(&source).await;
    let report = beside(&rdb, &cluster, 5000, |cluster, turn| {
        std::thread::sleep(Duration::from_millis(500));
        if turn == 0 {
            // The replica takes the place of its master, which hands over first.
            take_over(&cluster.nodes()[3]);
        }
    })
    .await;
    assert_eq!((report.keys, report.cluster.as_ref().unwrap().failovers.len()), (20_000, 1), "{report}");
    equal(&options(&source), &whole(&cluster)).await;

    let mut capture = ClusterCapture::start(&whole(&cluster), &CaptureOptions::default()).await.unwrap();
    take_over(&cluster.nodes()[0]);
    let mut lost = false;
    for node in capture.nodes() {
        while let Some(piece) = node.capture.next().await {
            if let Err(error) = piece {
                lost = error.is_cluster_changed();
                break;
            }
        }
    }
    assert!(lost || capture.finish().await.unwrap_err().is_cluster_changed());
    redisdump::wait_until_settled(&whole(&cluster), Duration::from_secs(30)).await.unwrap();
    let (_, report) = taken(&whole(&cluster), CaptureMethod::Auto).await;
    assert_eq!(report.keys(), 20_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_survives_that_a_master_is_killed() {
    let (Some(mut cluster), Some(source)) = (cluster("7.0", 1), many("7.0", 20_000)) else { return };
    let (rdb, _) = captured(&source).await;
    let settings = RestoreOptions { rate: Some(5000), ..RestoreOptions::default() };
    let of = whole(&cluster);
    let reported = tokio::spawn({
        let (rdb, of) = (rdb.clone(), of.clone());
        async move { restore(stream(&rdb), &of, &settings, &|_| ()).await }
    });
    tokio::time::sleep(Duration::from_millis(1500)).await;
    tokio::task::block_in_place(|| cluster.nodes_mut()[1].kill());
    let report = reported.await.unwrap().unwrap();
    assert_eq!(report.cluster.as_ref().unwrap().failovers.len(), 1, "{report}");
    assert!(report.to_string().contains("failover during the restore"), "{report}");
    // Keys that were not passed on in time are lost, and found to be: nothing else differs.
    let proof = prove(stream(&rdb), &of, &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(proof.different_keys < 2000 && proof.keys == 20_000, "{proof}");
    let missing = proof.differences.iter().all(|found| found.kind == redisdump::DifferenceKind::MissingRight);
    assert!(missing, "{proof}");
    println!("{} keys were lost by the failover", proof.different_keys);
}

/// Lets a replica take the place of its master. The servers give up after 5 s, which a busy host may need: asked again.
fn take_over(node: &Redis) {
    let until = Instant::now() + Duration::from_secs(60);
    let mut asked: Option<Instant> = None;
    while !Client::new(node).ask("INFO replication").contains("role:master") {
        assert!(Instant::now() < until, "{}", node.log());
        if asked.is_none_or(|at| at.elapsed() > Duration::from_secs(7)) {
            Client::new(node).ask("CLUSTER FAILOVER");
            asked = Some(Instant::now());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
