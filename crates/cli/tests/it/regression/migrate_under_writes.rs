//! A migration while the source is written to. Reported as "389 keys differ under 500 writes a second, and no end under a
//! fast writer".
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::common::{command, dbhaul, folder, quick_redis, redis};
use sandbox::Redis;
use sandbox::testing::require_redis;

/// Writes to random keys until stopped; returns the number of writes.
fn write(server: &str, stop: &AtomicBool, count: &AtomicU64) {
    let mut connection = ::redis::Client::open(server).unwrap().get_connection().unwrap();
    let mut n = 1_u64;
    while !stop.load(Ordering::SeqCst) {
        let mut pipe = ::redis::pipe();
        for _ in 0..100 {
            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            pipe.cmd("SET").arg(format!("key:{}", (n >> 33) % 20_000)).arg(n >> 20);
        }
        pipe.exec(&mut connection).unwrap();
        count.fetch_add(100, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_is_proven_under_a_fast_writer() {
    let Some(binaries) = require_redis("7.0") else { return };
    let [from, to] = [0; 2].map(|_| Redis::start(&binaries, quick_redis()).unwrap());
    let mut connection = redis(&from.url()).await;
    let mut pipe = ::redis::pipe();
    for n in 0..20_000 {
        pipe.cmd("SET").arg(format!("key:{n}")).arg("first");
    }
    pipe.exec_async(&mut connection).await.unwrap();
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = {
        let (stop, count, url) = (Arc::clone(&stop), Arc::clone(&count), from.url());
        std::thread::spawn(move || write(&url, &stop, &count))
    };
    while count.load(Ordering::SeqCst) < 1000 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let (before, began) = (count.load(Ordering::SeqCst), Instant::now());
    let here = folder();
    let run = dbhaul(here.path(), &["migrate", "--from", &from.url(), "--to", &to.url()]);
    let written = count.load(Ordering::SeqCst) - before;
    stop.store(true, Ordering::SeqCst);
    writer.join().unwrap();
    let run = run.exits(0).shows("20000 keys compared: 20000 equal, 0 different");
    let run = run.shows("the source was written to meanwhile").shows("capture of Redis 7.0");
    assert!(written > 500, "{written} writes in {:?}\n{}", began.elapsed(), run.stdout);

    // Without writes, the report does not mention them.
    let flush = to.address();
    let run = dbhaul(here.path(), &["migrate", "--from", &from.url(), "--to", &to.url(), "--flush", &flush])
        .exits(0);
    assert!(!run.stdout.contains("written to meanwhile"), "{}", run.stdout);
    dbhaul(here.path(), &["compare", &from.url(), &to.url()]).exits(0);
}

/// A closed standard output does not change the result.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_are_sufficient_without_the_report() {
    let Some(binaries) = require_redis("7.0") else { return };
    let [one, other] = [0; 2].map(|_| Redis::start(&binaries, quick_redis()).unwrap());
    ::redis::cmd("SET").arg("a").arg("b").exec_async(&mut redis(&one.url()).await).await.unwrap();
    let here = folder();
    for (right, code) in [(&other, 3), (&one, 0)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut compare = command(here.path(), &["compare", &one.url(), &right.url()]);
        assert_eq!(compare.stdout(writer).status().unwrap().code(), Some(code));
    }
}
