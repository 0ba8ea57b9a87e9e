//! Foreign RDB and AOF files: newer, truncated, with module values, or failing on every server; and a target that
//! evicts keys. The library tests cover all kinds; these tests cover what a user sees.
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::{self, Run, dbhaul, folder, quick_redis};
use sandbox::Redis;
use sandbox::testing::require_redis;

/// One string, in a file of this version.
fn rdb(version: &str) -> Vec<u8> {
    let mut out = format!("REDIS{version}").into_bytes();
    out.extend(b"\xfe\0\0\x01a\x011\xff\0\0\0\0\0\0\0\0");
    out
}

fn resp(lines: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines {
        let words: Vec<Vec<u8>> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        out.extend(::redis::pack_command(&words));
    }
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newer_files_are_called_newer() {
    let Some(binaries) = require_redis("7.0") else { return };
    let server = Redis::start(&binaries, quick_redis()).unwrap();
    let here = folder();
    let run = |args: &[&str]| -> Run { dbhaul(here.path(), args) };
    let url = server.url();
    for version in ["0014", "0016"] {
        std::fs::write(here.path().join(format!("{version}.rdb")), rdb(version)).unwrap();
    }
    run(&["verify-file", "0014.rdb"]).exits(0).shows("whole").shows("newer than the servers");
    run(&["restore", "./0014.rdb", "--redis", &url]).exits(0).shows("1 keys restored");
    let newer = run(&["verify-file", "0016.rdb"]).exits(1).shows("NEWER").shows("--force");
    assert!(!newer.stdout.contains("DAMAGED"), "{}", newer.stdout);
    run(&["verify-file", "0016.rdb", "--force"]).exits(0).shows("whole");
    let flush = ["restore", "./0016.rdb", "--redis", &url, "--flush", &server.address()];
    let refused = run(&flush).exits(1).says("newer");
    assert!(!refused.stderr.contains("damaged"), "{}", refused.stderr);
    run(&[&flush[..], &["--force"]].concat()).exits(0).shows("1 equal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn append_only_files_as_servers_load_them() {
    let Some(binaries) = require_redis("7.0") else { return };
    let server = Redis::start(&binaries, quick_redis()).unwrap();
    let here = folder();
    let run = |args: &[&str]| -> Run { dbhaul(here.path(), args) };
    let (url, address) = (server.url(), server.address());
    let file = |name: &str, lines: &[&str], tail: &[u8]| {
        std::fs::write(here.path().join(name), [resp(lines), tail.to_vec()].concat()).unwrap();
    };
    file("errs.aof", &["SET a x", "INCR a", "SET b 1"], b"");
    let restore = |name: &'static str| ["restore", name, "--redis", &url, "--flush", &address];
    run(&restore("./errs.aof")).exits(0).shows("1 commands with an error").shows("byte 27: INCR a");
    run(&[&restore("./errs.aof")[..], &["--strict"]].concat()).exits(1).says("INCR a");
    file("undated.aof", &["SET a 1 EX 3600"], b"");
    run(&restore("./undated.aof")).exits(0).shows("1 expiries have no date").shows("1 keys");
    run(&[&restore("./undated.aof")[..], &["--relative-expiry", "now"]].concat()).exits(0).shows("1 keys");
    file("blocks.aof", &["SET a 1", "BRPOPLPUSH none dst 0", "SET after 1"], b"");
    run(&restore("./blocks.aof")).exits(0).shows("2 keys");
    file("far.aof", &["SET a 1", "SELECT 20", "SET z 1"], b"");
    run(&restore("./far.aof")).exits(5).says("database 20").says("nothing was written");

    file("cut.aof", &["SET a 1", "SET b 2"], b"*3\r\n$3\r\nSE");
    run(&["verify-file", "cut.aof"]).exits(0).shows("--repair-to");
    run(&["verify-file", "cut.aof", "--repair-to", "cut2.aof"]).exits(0).shows("an intact copy, 2 commands");
    assert_eq!(std::fs::read(here.path().join("cut2.aof")).unwrap(), resp(&["SET a 1", "SET b 2"]));
    run(&["verify-file", "cut2.aof", "--repair-to", "cut3.aof"]).exits(0).shows("no broken tail");
    file("zeros.aof", &["SET a 1"], &[0; 100]);
    run(&["verify-file", "zeros.aof"]).exits(3).shows("DAMAGED");
    let json = run(&["verify-file", "zeros.aof", "--repair-to", "zeros2.aof", "--json"]).exits(0).json();
    assert_eq!(
        (json["repair"]["outcome"].as_str(), json["repair"]["bytes-dropped"].as_u64()),
        (Some("written"), Some(100))
    );
    // Existing files are not overwritten, and only a tail is repaired.
    run(&["verify-file", "zeros.aof", "--repair-to", "zeros2.aof"]).exits(3).shows("cannot be repaired");
    run(&restore("./zeros2.aof")).exits(0).shows("1 keys");
    std::fs::write(here.path().join("bad.rdb"), b"REDIS0009\xfe\0\0\x01k\xff").unwrap();
    run(&["verify-file", "bad.rdb", "--repair-to", "good.rdb"]).exits(3).shows("cannot be repaired");
    assert!(!here.path().join("good.rdb").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evictions_make_the_exit_code_3() {
    let Some(binaries) = require_redis("7.0") else { return };
    let (from, to) =
        (Redis::start(&binaries, quick_redis()).unwrap(), Redis::start(&binaries, quick_redis()).unwrap());
    let mut client = common::redis(&from.url()).await;
    // Kept as they are, so that the file is as large as the values.
    let script = "for n = 1, 400 do redis.call('SET', 'k' .. n, string.rep(redis.sha1hex(n), 250)) end";
    let mut fill = redis::pipe();
    fill.cmd("CONFIG").arg("SET").arg("rdbcompression").arg("no").cmd("EVAL").arg(script).arg(0);
    let _: redis::Value = fill.query_async(&mut client).await.unwrap();
    let mut client = common::redis(&to.url()).await;
    let mut set = redis::pipe();
    set.cmd("CONFIG").arg("SET").arg("maxmemory").arg("3mb");
    set.cmd("CONFIG").arg("SET").arg("maxmemory-policy").arg("allkeys-lru");
    let _: redis::Value = set.query_async(&mut client).await.unwrap();
    let here = folder();
    let run = |args: &[&str]| -> Run { dbhaul(here.path(), args) };
    let (source, target, address) = (from.url(), to.url(), to.address());
    let migrate = ["migrate", "--from", &source, "--to", &target, "--flush", &address, "--no-proof"];
    run(&migrate).exits(3).shows("EVICTED").says("evicts keys when its memory is full");
    run(&[&migrate[..7], &["--key", "k1", "--allow-fewer"]].concat()).exits(0);
    // A server that refuses writes is not begun with.
    let refuse = redis::cmd("CONFIG").arg("SET").arg("maxmemory-policy").arg("noeviction").to_owned();
    let _: redis::Value = refuse.query_async(&mut client).await.unwrap();
    run(&["init", "--repository", "store"]).exits(0);
    run(&["backup", "--repository", "store", "--redis", &source]).exits(0);
    run(&["restore", "latest", "--repository", "store", "--redis", &target, "--flush", &address])
        .exits(5)
        .says("maxmemory")
        .says("nothing was written");
}
