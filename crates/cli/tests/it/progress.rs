//! Progress output of long work on a repository.
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::{ask, dbhaul, folder, quick_redis};
use sandbox::Redis;
use sandbox::testing::require_redis;

#[tokio::test(flavor = "multi_thread")]
async fn a_check_and_a_prune_say_how_far_they_are() {
    let Some(rd) = require_redis("7.0") else { return };
    let keys = Redis::start(&rd, quick_redis()).unwrap();
    let here = folder();
    dbhaul(here.path(), &["init", "--repository", "store"]).exits(0);
    let mut seed = 1_u64;
    for key in 0..4 {
        // Nothing that compresses, so that there is more than one chunk.
        let value: String = (0..2_000_000)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                char::from(b' ' + (seed >> 58) as u8)
            })
            .collect();
        ask(&keys.url(), &["SET", &format!("k{key}"), &value]).await.unwrap();
    }
    dbhaul(here.path(), &["backup", "--redis", &keys.url()]).exits(0);
    let check = dbhaul(here.path(), &["check", "--read-data"]).exits(0);
    let stage =
        check.stderr.lines().find(|line| line.contains("] reading ") && line.contains("chunks")).unwrap();
    let number = stage.split_whitespace().nth(2).unwrap();
    assert!(number.parse::<u64>().unwrap() > 1, "{stage}");
    assert!(stage.contains("MiB"), "the size is told: {stage}");
    assert!(check.stderr.contains(&format!("read: {number} chunks, ")), "{}", check.stderr);
    let prune = dbhaul(here.path(), &["prune"]).exits(0);
    assert!(prune.stderr.contains("listing the repository"), "{}", prune.stderr);
    assert!(prune.stderr.contains(&format!("listed: {number} chunks")), "{}", prune.stderr);
}
