//! Targets with too little memory: `migrate` checks before it writes, as `restore` does, and counts evictions; in
//! clusters too. Reported as "restored into a cache, and a third of the keys is gone".
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use crate::common::{ask, dbhaul, folder, quick_redis, redis};
use sandbox::testing::require_redis;
use sandbox::{ClusterOptions, Redis, RedisCluster};

/// Four megabytes, which stay as many in an RDB.
async fn filled() -> Option<Redis> {
    let source = Redis::start(&require_redis("7.0")?, quick_redis()).unwrap();
    let script = "for n = 1, 400 do redis.call('SET', 'k' .. n, string.rep(redis.sha1hex(n), 250)) end";
    let mut fill = ::redis::pipe();
    fill.cmd("CONFIG").arg("SET").arg("rdbcompression").arg("no").cmd("EVAL").arg(script).arg(0);
    fill.exec_async(&mut redis(&source.url()).await).await.unwrap();
    Some(source)
}

async fn limit(servers: &[Redis], maxmemory: &str, policy: &str) {
    for server in servers {
        ask(&server.url(), &["CONFIG", "SET", "maxmemory", maxmemory]).await.unwrap();
        ask(&server.url(), &["CONFIG", "SET", "maxmemory-policy", policy]).await.unwrap();
    }
}

async fn keys(servers: &[Redis]) -> u64 {
    let mut keys = 0;
    for server in servers {
        keys += ask(&server.url(), &["DBSIZE"]).await.unwrap()[0].parse::<u64>().unwrap();
    }
    keys
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrate_looks_at_the_memory_of_its_target() {
    let Some(source) = filled().await else { return };
    let single = [Redis::start(&require_redis("7.0").unwrap(), quick_redis()).unwrap()];
    let settings = vec![("repl-diskless-sync-delay".to_owned(), "0".to_owned())];
    let options = ClusterOptions { settings, ..ClusterOptions::default() };
    let cluster = RedisCluster::start(&require_redis("7.0").unwrap(), &options).unwrap();
    let here = folder();
    // A node of a cluster uses more than another server when it is empty.
    for (servers, url, address, maxmemory) in [
        (&single[..], single[0].url(), single[0].address(), "3mb"),
        (cluster.nodes(), cluster.url(), cluster.address(), "2500kb"),
    ] {
        let migrate = |more: &[&str]| {
            let migrate = ["migrate", "--from", &source.url(), "--to", &url];
            dbhaul(here.path(), &[&migrate[..], more].concat())
        };
        limit(servers, maxmemory, "noeviction").await;
        let refused = migrate(&[]).exits(5).says("may have too little memory").says("maxmemory");
        refused.says("nothing was written");
        assert_eq!(keys(servers).await, 0);
        // Some of it has room.
        migrate(&["--key", "k1"]).exits(0).shows("1 equal");
        limit(servers, maxmemory, "allkeys-lru").await;
        let evicting = migrate(&["--no-proof", "--flush", &address]).exits(3);
        evicting.says("evicts keys when its memory is full").shows("EVICTED");
        let left = keys(servers).await;
        assert!(left > 0 && left < 400, "{left}");
        // There is room enough.
        limit(servers, "100mb", "noeviction").await;
        let run = migrate(&["--flush", &address]).exits(0).shows("400 equal");
        assert!(!run.stderr.contains("not have enough memory"), "{}", run.stderr);
    }
}
