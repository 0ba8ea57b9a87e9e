//! Storms: a store that times out, refuses, tears writes, reports failures that were none, and lists deleted objects.
//! Hosts back up, forget, undelete, prune and check on it at the same time, and die. No listed snapshot is lost, and
//! no failure is reported as success.

// The counts are what these tests are for.
#![allow(clippy::print_stdout)]

use crate::common::drive::{Course, run_all};
use crate::common::sim::Weather;

fn storm(seeds: u64) {
    let kinds = [
        ("refusals", Weather { refused: 30, ..Weather::default() }),
        ("lost answers", Weather { lied: 30, late: 30, ..Weather::default() }),
        ("torn writes", Weather { torn: 60, ..Weather::default() }),
        ("stale lists", Weather { stale: 300, ..Weather::default() }),
        ("everything", Weather { refused: 10, lied: 10, late: 10, torn: 10, stale: 100 }),
    ];
    for (kind, (name, weather)) in (0_u64..).zip(kinds) {
        let from = 1_000_000 * (kind + 1);
        let (sum, found) = run_all(from..from + seeds, Course { weather, ..Course::calm() });
        if let Some((seed, outcome)) = found {
            let tail = outcome.trace.len().saturating_sub(400);
            panic!("{name}, seed {seed}: {:?}\n{}", outcome.violation, outcome.trace[tail..].join("\n"));
        }
        println!(
            "count: storm of {name}: {seeds} seeds, {} requests, {} faults, {} hosts failed, {} died, {} snapshots committed, {} copied, \
             {} prunes, {} chunks deleted, {} parts read back: nothing lost",
            sum.requests,
            sum.faults,
            sum.failures,
            sum.crashes,
            sum.commits,
            sum.copied,
            sum.prunes,
            sum.swept,
            sum.read_back
        );
        assert!(
            sum.faults > seeds && sum.commits > seeds && sum.copied > seeds / 4 && sum.swept > seeds / 4,
            "{name}: {sum:?}"
        );
    }
}

#[test]
fn concurrent_jobs_lose_no_listed_snapshot() {
    storm(100);
}

#[test]
#[ignore = "long: run by scripts/test --all"]
fn many_concurrent_jobs_lose_no_listed_snapshot() {
    storm(1_000);
}
