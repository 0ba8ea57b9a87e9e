//! The model: many hosts at once on one store, in every order. No listed snapshot ever lacks a chunk.
//!
//! The invariant is checked whenever an object changes, by code that knows the format and not the library. At the end,
//! every listed snapshot is read back. Each rule of the format is also broken in turn, to show that the model notices.

// The counts are what these tests are for.
#![allow(clippy::print_stdout)]

use std::ops::Range;

use crate::common::drive::{Course, run_all};
use crate::common::sim::Broken;

fn interleave(seeds: Range<u64>) {
    let (sum, found) = run_all(seeds.clone(), Course::calm());
    if let Some((seed, outcome)) = found {
        let tail = outcome.trace.len().saturating_sub(400);
        panic!("seed {seed}: {:?}\n{}", outcome.violation, outcome.trace[tail..].join("\n"));
    }
    println!(
        "count: model: seeds {seeds:?}, {} requests, {} snapshots committed, {} copied, {} forgotten, {} brought back, {} prunes, {} at once, {} chunks \
         deleted, {} hosts died, {} refusals, {} parts read back: nothing lost",
        sum.requests,
        sum.commits,
        sum.copied,
        sum.forgotten,
        sum.undeleted,
        sum.prunes,
        sum.prunes_now,
        sum.swept,
        sum.crashes,
        sum.refusals,
        sum.read_back
    );
    // A model in which nothing happens proves nothing.
    let busy = (seeds.end - seeds.start) / 4;
    assert!(
        sum.swept > busy
            && sum.forgotten > busy
            && sum.undeleted > busy / 10
            && sum.crashes > busy
            && sum.copied > busy,
        "{sum:?}"
    );
}

/// `SEEDS=FROM..TO` tries others.
#[test]
fn no_interleaving_loses_a_chunk_of_a_listed_snapshot() {
    let seeds = std::env::var("SEEDS").unwrap_or_else(|_| "0..2000".to_owned());
    let (from, to) = seeds.split_once("..").unwrap();
    interleave(from.parse().unwrap()..to.parse().unwrap());
}

#[test]
#[ignore = "long: run by scripts/test --all"]
fn no_interleaving_of_very_many_loses_a_chunk_of_a_listed_snapshot() {
    // In pieces, to show progress. `DBHAUL_MODEL_PIECES` sets their number.
    let pieces =
        std::env::var("DBHAUL_MODEL_PIECES").ok().and_then(|pieces| pieces.parse().ok()).unwrap_or(20);
    for piece in 0..pieces {
        // Other seeds than those of the short test.
        interleave(10_000 + piece * 1_000..10_000 + (piece + 1) * 1_000);
    }
}

/// The store's clock is set back at any time, and forward while no host is active. It drifts within the margin.
#[test]
fn a_clock_that_jumps_loses_no_chunk() {
    let (sum, found) = run_all(5_000_000..5_000_400, Course { clock_jumps: true, ..Course::calm() });
    if let Some((seed, outcome)) = found {
        let tail = outcome.trace.len().saturating_sub(400);
        panic!("seed {seed}: {:?}\n{}", outcome.violation, outcome.trace[tail..].join("\n"));
    }
    println!(
        "count: model: 400 seeds with a clock that jumped {} times, {} chunks deleted, {} parts read back: nothing lost",
        sum.jumps, sum.swept, sum.read_back
    );
    assert!(sum.jumps > 100 && sum.swept > 20, "{sum:?}");
}

/// Each rule is needed: the model notices when one is broken.
#[test]
fn the_model_notices_a_host_that_breaks_a_rule() {
    use Broken::*;
    for broken in [
        PruneIgnoresGrace,
        PruneStaleListing,
        PruneBlindToTombstones,
        WriterBlindToMarks,
        WriterTooLate,
        ChunksAfterManifest,
    ] {
        let (_, found) = run_all(0..20_000, Course { broken: Some(broken), ..Course::calm() });
        let (seed, outcome) = found.unwrap_or_else(|| panic!("{broken:?} was not noticed in 20,000 seeds"));
        println!(
            "count: model: {broken:?} noticed by seed {seed}: {}",
            outcome.violation.unwrap_or_default()
        );
    }
}
