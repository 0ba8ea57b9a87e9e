//! Private clusters on real servers.

use sandbox::testing::require_redis;
use sandbox::{ClusterOptions, RedisCluster};

#[test]
fn a_cluster_has_masters_with_all_slots_and_their_replicas() {
    for version in ["7.0", "valkey-9"] {
        let Some(binaries) = require_redis(version) else { continue };
        let options = ClusterOptions { replicas: 1, ..ClusterOptions::default() };
        let cluster = RedisCluster::start(&binaries, &options).unwrap();
        assert_eq!((cluster.nodes().len(), cluster.masters()), (6, 3));
        assert!(cluster.url().starts_with("redis+cluster://:"), "{}", cluster.url());
        let folders: Vec<_> = cluster.nodes().iter().map(|node| node.dir().to_owned()).collect();
        drop(cluster);
        assert!(folders.iter().all(|folder| !folder.exists()));
    }
}
