//! A target whose `maxmemory` is too small: detected before anything is written if it refuses writes, counted if it
//! evicts keys. Reported as "restored into a cache, and a third of the keys is gone".
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use crate::support::{Client, captured, options, start, stream};
use redisdump::{RestoreOptions, memory_limit, restore, unsupported};
use sandbox::RedisOptions;
use sandbox::testing::require_redis;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_little_memory_is_found_before_and_evictions_are_counted() {
    for version in ["3.2", "7.0", "8.6"] {
        let Some(binaries) = require_redis(version) else { continue };
        let (source, target) =
            (start(&binaries, RedisOptions::default()), start(&binaries, RedisOptions::default()));
        let (mut from, mut to) = (Client::new(&source), Client::new(&target));
        for n in 0..400_u64 {
            let noise: String = (0..1250)
                .map(|at| format!("{:08x}", (n * 1250 + at).wrapping_mul(2_654_435_761) as u32))
                .collect();
            from.ask(&format!("SET k{n} {noise}"));
        }
        let (rdb, report) = captured(&source).await;
        assert_eq!(memory_limit(&options(&target)).await.unwrap(), None);
        let used: u64 = to
            .ask("INFO memory")
            .lines()
            .find_map(|line| line.strip_prefix("used_memory:")?.trim().parse().ok())
            .unwrap();
        to.ask(&format!("CONFIG SET maxmemory {}", used + (2 << 20)));
        // Half of it has room.
        let all = RestoreOptions::default();
        let refused = unsupported(stream(&rdb), &options(&target), &all).await.unwrap_err();
        assert!(refused.is_refused() && refused.to_string().contains("maxmemory"), "{version}: {refused}");
        let some = RestoreOptions {
            choice: redisdump::KeyChoice { include: vec!["k1?".into()], ..redisdump::KeyChoice::default() },
            ..RestoreOptions::default()
        };
        unsupported(stream(&rdb), &options(&target), &some).await.unwrap();
        assert_eq!(to.ask("DBSIZE"), "0");

        to.ask("CONFIG SET maxmemory-policy allkeys-random");
        let limit = memory_limit(&options(&target)).await.unwrap().unwrap();
        assert!(limit.evicts() && limit.maxmemory == used + (2 << 20), "{limit}");
        unsupported(stream(&rdb), &options(&target), &all).await.unwrap();
        let restored = restore(stream(&rdb), &options(&target), &all, &|_| ()).await.unwrap();
        assert_eq!(restored.keys, report.keys());
        let left: u64 = to.ask("DBSIZE").parse().unwrap();
        assert!(restored.evicted > 0 && left + restored.evicted == restored.keys, "{version}: {restored}");
        assert!(restored.to_string().contains("EVICTED"), "{restored}");
    }
}
