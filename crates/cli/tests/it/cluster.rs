//! A cluster as a source and as a target of every job.
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::{ask, dbhaul, folder, quick_redis, redis};
use sandbox::testing::require_redis;
use sandbox::{ClusterOptions, Redis, RedisCluster};

fn cluster(version: &str) -> Option<RedisCluster> {
    with_replicas(version, 0)
}

fn with_replicas(version: &str, replicas: u16) -> Option<RedisCluster> {
    let settings = [("repl-diskless-sync-delay", "0"), ("cluster-node-timeout", "2000")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let options = ClusterOptions { replicas, settings, ..ClusterOptions::default() };
    Some(RedisCluster::start(&require_redis(version)?, &options).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_supports_a_cluster() {
    let (Some(source), Some(binaries)) = (cluster("7.0"), require_redis("7.0")) else { return };
    let single = Redis::start(&binaries, quick_redis()).unwrap();
    let mut connection = redis(&single.url()).await;
    for n in 0..500 {
        ::redis::cmd("SET").arg(format!("bot:{n}")).arg(n).exec_async(&mut connection).await.unwrap();
    }
    let code = "#!lua name=mine\nredis.register_function('one', function() return 1 end)";
    ask(&single.url(), &["FUNCTION", "LOAD", code]).await.unwrap();
    let here = folder();
    let (cluster_url, single_url) = (source.url(), single.url());

    let migrated = ["migrate", "--from", &single_url, "--to", &cluster_url];
    dbhaul(here.path(), &migrated).exits(0).shows("500 keys").shows("into 3 masters");
    // It is not empty any more.
    dbhaul(here.path(), &migrated).exits(5).says("is not empty");
    dbhaul(here.path(), &["compare", &single_url, &cluster_url]).exits(0).shows("500 equal, 0 different");

    dbhaul(here.path(), &["init"]).exits(0);
    let text = format!(
        "[repository]\nurl = \"backup\"\n[[source]]\nname = \"cache\"\nkind = \"redis\"\nurl = \"{cluster_url}\"\n"
    );
    std::fs::write(here.path().join("dbhaul.toml"), text).unwrap();
    dbhaul(here.path(), &["backup"]).exits(0).says("500 keys of 3 masters").says("ms apart");
    dbhaul(here.path(), &["rehearse", "latest"]).exits(0).shows("500 keys").shows("into 3 masters");
    dbhaul(here.path(), &["inspect", "latest", "--source", "cache"]).exits(0).shows("500");
    dbhaul(here.path(), &["inspect", "latest"]).exits(0).shows("0-5460").shows("ms after the first");
    let listed = dbhaul(here.path(), &["inspect", "latest", "--json"]).exits(0).json();
    let nodes = listed.pointer("/sources/0/details/nodes").and_then(|nodes| nodes.as_array()).unwrap();
    assert_eq!((nodes.len(), nodes[0]["slots"].as_str()), (3, Some("0-5460")));
    dbhaul(here.path(), &["compare", "latest", &single_url]).exits(0).shows("500 equal, 0 different");
    let export = ["export", "latest", "--source", "cache", "--format", "json"];
    dbhaul(here.path(), &export).exits(0).shows("bot:499");

    // Into a single server, and into a cluster that is not empty.
    let back = Redis::start(&binaries, quick_redis()).unwrap();
    dbhaul(here.path(), &["restore", "latest", "--redis", &back.url()]).exits(0).shows("500 keys");
    dbhaul(here.path(), &["compare", &cluster_url, &back.url()]).exits(0).shows("500 equal, 0 different");
    let flush = ["restore", "latest", "--redis", &cluster_url, "--flush", &source.address()];
    dbhaul(here.path(), &flush).exits(0).shows("500 equal, 0 different");
    let itself = ["migrate", "--from", &cluster_url, "--to", &cluster_url, "--flush", &source.address()];
    dbhaul(here.path(), &itself).exits(5).says("the same server");
    // From a cluster to a cluster of the other fork, and back to one server.
    let other = cluster("valkey-9").unwrap();
    dbhaul(here.path(), &["migrate", "--from", &cluster_url, "--to", &other.url()])
        .exits(0)
        .shows("500 equal, 0 different");
    ask(&single_url, &["SET", "bot:0", "changed"]).await.unwrap();
    dbhaul(here.path(), &["compare", &single_url, &other.url()]).exits(3).shows("1 different");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_not_complete_gives_no_snapshot() {
    let Some(mut source) = cluster("7.0") else { return };
    let here = folder();
    dbhaul(here.path(), &["init"]).exits(0);
    let text = format!(
        "[repository]\nurl = \"backup\"\n[[source]]\nname = \"cache\"\nkind = \"redis\"\nurl = \"{}\"\n",
        source.url()
    );
    std::fs::write(here.path().join("dbhaul.toml"), text).unwrap();
    ask(&source.nodes()[1].url(), &["CLUSTER", "DELSLOTS", "6000"]).await.unwrap();
    dbhaul(here.path(), &["backup"]).exits(5).says("1 of 16384 slots belong to no master: 6000");
    source.nodes_mut()[2].kill();
    ask(&source.nodes()[1].url(), &["CLUSTER", "ADDSLOTS", "6000"]).await.unwrap();
    let address = source.nodes()[2].address();
    let failed = dbhaul(here.path(), &["compare", &source.url(), &source.url()]).exits(1);
    assert!(failed.stderr.contains(&address), "{}", failed.stderr);
    let listed = dbhaul(here.path(), &["snapshots", "--json"]).exits(0).json();
    assert!(!listed.to_string().contains("cache"), "{listed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_begins_again_when_a_replica_takes_its_masters_place() {
    let (Some(cluster), Some(binaries)) = (with_replicas("7.0", 1), require_redis("7.0")) else { return };
    let single = Redis::start(&binaries, quick_redis()).unwrap();
    let mut connection = redis(&single.url()).await;
    for n in 0..900 {
        ::redis::cmd("SET").arg(n).arg(n).exec_async(&mut connection).await.unwrap();
    }
    let here = folder();
    dbhaul(here.path(), &["migrate", "--from", &single.url(), "--to", &cluster.url()]).exits(0);
    dbhaul(here.path(), &["init"]).exits(0);
    let text = format!(
        "[repository]\nurl = \"backup\"\n[[source]]\nname = \"cache\"\nkind = \"redis\"\nurl = \"{}\"\n",
        cluster.url()
    );
    std::fs::write(here.path().join("dbhaul.toml"), text).unwrap();
    // About 300 keys of each master take 3 seconds.
    for node in &cluster.nodes()[..3] {
        ask(&node.url(), &["CONFIG", "SET", "rdb-key-save-delay", "10000"]).await.unwrap();
    }
    let path = here.path().to_owned();
    let backup = tokio::task::spawn_blocking(move || dbhaul(&path, &["backup"]));
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    ask(&cluster.nodes()[4].url(), &["CLUSTER", "FAILOVER"]).await.unwrap();
    let done = backup.await.unwrap().exits(0);
    done.says("capturing again (2 of 3)").says("900 keys of 3 masters");
    dbhaul(here.path(), &["compare", "latest", &single.url()]).exits(0).shows("900 equal, 0 different");
}
