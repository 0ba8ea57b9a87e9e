//! Redis jobs while a client writes: the jobs end, and what they report as verified is true. Reported as "no end
//! under a fast writer".
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "test code")]

use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::writer::Writer;
use crate::common::{Run, ask, dbhaul, folder, quick_redis, redis};
use sandbox::testing::require_redis;
use sandbox::{ClusterOptions, Redis, RedisCluster, RedisOptions};

/// How much is there, and how fast it is written to.
#[derive(Clone, Copy)]
struct Load {
    /// Keys that are not written to; the writer has as many.
    keys: u64,
    /// Commands a second.
    rate: u64,
}

/// By default, on any machine.
const SMALL: Load = Load { keys: 3000, rate: 2000 };
/// As it was reported.
const FULL: Load = Load { keys: 100_000, rate: 20_000 };
/// No job takes longer.
const LONGEST: Duration = Duration::from_secs(300);

async fn fill(url: &str, keys: u64) {
    let mut connection = redis(url).await;
    let numbers: Vec<u64> = (0..keys).collect();
    for part in numbers.chunks(5000) {
        let mut pipe = ::redis::pipe();
        for n in part {
            pipe.cmd("SET").arg(format!("still:{n}")).arg(format!("value {n}"));
        }
        pipe.exec_async(&mut connection).await.unwrap();
    }
}

/// Runs a job, and says how long it took.
fn timed(what: &str, here: &Path, args: &[&str]) -> Run {
    let began = Instant::now();
    let run = dbhaul(here, args);
    let took = began.elapsed();
    println!("{what}: exit {} in {:.1} s", run.code, took.as_secs_f64());
    assert!(took < LONGEST, "{what} took {took:?}");
    run
}

/// A copy of one moment has what changed together.
async fn is_of_one_moment(url: &str, tag: &str) {
    let get = |name: &str| format!("{name}{tag}");
    let (first, last) = (get("first"), get("last"));
    let (first, last) = (ask(url, &["GET", &first]).await.unwrap(), ask(url, &["GET", &last]).await.unwrap());
    assert!(first == last && first[0].parse::<u64>().unwrap() > 0, "{first:?} {last:?}");
}

async fn beside_a_single_server(load: Load) {
    let Some(binaries) = require_redis("7.0") else { return };
    let source = Redis::start(&binaries, RedisOptions { appendonly: true, ..quick_redis() }).unwrap();
    let empty = || Redis::start(&binaries, quick_redis()).unwrap();
    fill(&source.url(), load.keys).await;
    let (here, from) = (folder(), source.url());
    let writer = Writer::start(&source, "", load.keys, Some(load.rate));
    dbhaul(here.path(), &["init"]).exits(0);
    for (what, how, moment) in [
        ("psync", format!("url = \"{from}\""), true),
        ("scan", format!("url = \"{from}\"\ncapture = \"scan\""), false),
        ("folder", format!("url = \"{from}\"\ndata-dir = \"{}\"", source.dir().display()), true),
    ] {
        let text = format!(
            "[repository]\nurl = \"backup\"\n[job]\nid = \"{what}\"\n[[source]]\nname = \"{what}\"\nkind = \"redis\"\n{how}\n"
        );
        std::fs::write(here.path().join("dbhaul.toml"), text).unwrap();
        timed(&format!("backup by {what}"), here.path(), &["backup"]).exits(0);
        let target = empty();
        let restored =
            timed("restore", here.path(), &["restore", "latest", "--redis", &target.url()]).exits(0);
        if what != "folder" {
            restored.shows(" 0 different");
            timed("compare", here.path(), &["compare", "latest", &target.url()]);
        }
        if moment {
            is_of_one_moment(&target.url(), "").await;
        }
        // Keys that are not written to are complete, although the source is written to.
        let still = ["compare", &from, &target.url(), "--key", "still:*"];
        let equal = format!("{} equal, 0 different", load.keys);
        timed("compare what stays", here.path(), &still).exits(0).shows(&equal);
    }
    let target = empty();
    let migrated =
        timed("migrate", here.path(), &["migrate", "--from", &from, "--to", &target.url()]).exits(0);
    let migrated = migrated.shows(" 0 different");
    // A few thousand keys may be across between two writes.
    if load.rate >= 20_000 {
        migrated.shows("the source was written to meanwhile");
    }
    is_of_one_moment(&target.url(), "").await;
    let whole = timed("compare all", here.path(), &["compare", &from, &target.url()]).exits(3);
    whole.shows("different");
    println!("the writer had {} commands a second, of {}", writer.stop(), load.rate);
    // Into a server that is written to beside.
    let writer = Writer::start(&target, "other", load.keys, Some(load.rate));
    let again = ["migrate", "--from", &from, "--to", &target.url(), "--on-existing", "replace"];
    timed("migrate beside the target's writer", here.path(), &again).exits(0).shows(" 0 different");
    println!("the target's writer had {} commands a second, of {}", writer.stop(), load.rate);
}

async fn beside_a_cluster(load: Load) {
    let Some(binaries) = require_redis("7.0") else { return };
    let settings = [("repl-diskless-sync-delay", "0"), ("cluster-node-timeout", "15000")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let options = ClusterOptions { settings, ..ClusterOptions::default() };
    let start = || RedisCluster::start(&binaries, &options).unwrap();
    let (cluster, other) = (start(), start());
    // One tag for the slots of each master.
    let tags = ["{b}", "{c}", "{a}"];
    let single = Redis::start(&binaries, quick_redis()).unwrap();
    fill(&single.url(), load.keys).await;
    let here = folder();
    let (from, to) = (cluster.url(), other.url());
    timed("migrate into the cluster", here.path(), &["migrate", "--from", &single.url(), "--to", &from])
        .exits(0);
    let writers = |of: &RedisCluster| -> Vec<Writer> {
        let nodes = of.nodes().iter().zip(tags);
        nodes.map(|(node, tag)| Writer::start(node, tag, load.keys, Some(load.rate / 3))).collect()
    };
    let stop = |of: &str, writers: Vec<Writer>| {
        let rate: u64 = writers.into_iter().map(Writer::stop).sum();
        println!("the writers of the {of} had {rate} commands a second, of {}", load.rate);
    };
    let of_source = writers(&cluster);
    dbhaul(here.path(), &["init"]).exits(0);
    let text = format!(
        "[repository]\nurl = \"backup\"\n[[source]]\nname = \"cache\"\nkind = \"redis\"\nurl = \"{from}\"\n"
    );
    std::fs::write(here.path().join("dbhaul.toml"), text).unwrap();
    timed("backup of the cluster", here.path(), &["backup"]).exits(0);
    let target = Redis::start(&binaries, quick_redis()).unwrap();
    let restore = ["restore", "latest", "--redis", &target.url()];
    timed("restore into one server", here.path(), &restore).exits(0).shows(" 0 different");
    for tag in tags {
        is_of_one_moment(&target.url(), tag).await;
    }
    let migrated =
        timed("migrate between clusters", here.path(), &["migrate", "--from", &from, "--to", &to]).exits(0);
    migrated.shows(" 0 different");
    let still = ["compare", &from, &to, "--key", "still:*"];
    let equal = format!("{} equal, 0 different", load.keys);
    timed("compare what stays", here.path(), &still).exits(0).shows(&equal);
    timed("compare all", here.path(), &["compare", &from, &to]).exits(3);
    stop("source", of_source);
    // Into a cluster that is written to: keys without other writers are verified.
    let of_target = writers(&other);
    let restore = ["restore", "latest", "--redis", &to, "--on-existing", "replace", "--key", "still:*"];
    timed("restore into the cluster", here.path(), &restore).exits(0).shows(&equal);
    stop("target", of_target);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_finishes_and_verifies_during_writes() {
    beside_a_single_server(SMALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_of_a_cluster_finishes_and_verifies_during_writes() {
    beside_a_cluster(SMALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run by scripts/test --all"]
async fn it_also_does_during_20000_writes_per_second() {
    beside_a_single_server(FULL).await;
    beside_a_cluster(FULL).await;
}
