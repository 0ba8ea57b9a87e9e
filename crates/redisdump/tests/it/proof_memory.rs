//! Memory of a comparison: values of a hundred megabytes are compared in a few.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "test code")]

use crate::support::{Client, start};
use redisdump::{CompareOptions, ConnectOptions, Environment, compare};
use sandbox::RedisOptions;
use sandbox::testing::require_redis;

const SERVERS: &str = "REDISDUMP_TEST_COMPARE";

/// Not a test by itself: run as a process of its own, whose memory is then what a comparison takes.
#[tokio::test]
#[ignore = "run by the other test"]
async fn compares_two_servers() {
    let Ok(urls) = std::env::var(SERVERS) else { return };
    let (left, right) = urls.split_once(' ').unwrap();
    let options = |url: &str| ConnectOptions::parse(url, &Environment::default()).unwrap();
    let found = compare(&options(left), &options(right), &CompareOptions::default(), &|_| ()).await.unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    println!("\nequal={} keys={} peak={}", found.equal(), found.keys, peak.trim().trim_end_matches(" kB"));
}

#[test]
fn giant_values_are_compared_in_little_memory() {
    let Some(binaries) = require_redis("7.0") else { return };
    let (left, right) =
        (start(&binaries, RedisOptions::default()), start(&binaries, RedisOptions::default()));
    // Digits of a hash, so that they cannot be compressed to nothing; 60 MB each.
    let script = "local t = {} for n = 1, 60000 do local p = {} \
        for i = 1, 25 do p[i] = redis.sha1hex(n .. ':' .. i) end local v = table.concat(p) \
        redis.call('SADD', 'set', v) redis.call('HSET', 'hash', n, v) redis.call('RPUSH', 'list', v) end";
    for server in [&left, &right] {
        let mut client = Client::new(server);
        client.send(&[b"EVAL".to_vec(), script.into(), b"0".to_vec()]).unwrap();
        for n in 0..200 {
            client.send(&[b"SET".to_vec(), format!("middling:{n}").into(), vec![n; 700_000]]).unwrap();
        }
        client.ask("CONFIG SET rdbcompression no");
    }
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "proof_memory::compares_two_servers", "--ignored", "--nocapture"])
        .env(SERVERS, format!("{} {}", left.url(), right.url()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned();
    let line = said.lines().find(|line| line.starts_with("equal=")).unwrap_or_else(|| panic!("{said}"));
    assert!(line.starts_with("equal=true keys=203 peak="), "{line}");
    let peak: u64 = line.rsplit('=').next().unwrap().parse().unwrap();
    assert!(peak < 40 << 10, "{line} kB");
}
