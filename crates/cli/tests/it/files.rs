//! RDB files and the Redis part of snapshots: inspected, verified, and converted to what other servers load.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "test code")]

use crate::common;
use std::process::{Command, Stdio};

use crate::common::{Run, dbhaul, folder, quick_redis};
use sandbox::Redis;
use sandbox::testing::require_redis;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_snapshot_is_exported_in_every_format() {
    let (Some(seven), Some(eight)) = (require_redis("7.0"), require_redis("8.2")) else { return };
    let from = Redis::start(&seven, quick_redis()).unwrap();
    let to = Redis::start(&eight, quick_redis()).unwrap();
    let mut client = common::redis(&from.url()).await;
    let mut say = redis::pipe();
    say.cmd("SET").arg("bot:status").arg(b"\x00\xff\r\n".as_slice()).arg("PXAT").arg(4_102_444_800_123_i64);
    say.cmd("ZADD").arg("bot:scores").arg("-inf").arg("a").arg("0.1").arg("b").arg("1e308").arg("c");
    say.cmd("XADD").arg("log").arg("1-1").arg("f").arg("v");
    say.cmd("XGROUP").arg("CREATE").arg("log").arg("g").arg("0");
    say.cmd("XREADGROUP").arg("GROUP").arg("g").arg("me").arg("STREAMS").arg("log").arg(">");
    say.cmd("XDEL").arg("log").arg("1-1");
    say.cmd("SELECT").arg(3).cmd("HSET").arg("h").arg("f").arg("v");
    let _: redis::Value = say.query_async(&mut client).await.unwrap();

    let here = folder();
    let run = |args: &[&str]| -> Run {
        dbhaul(here.path(), &args.iter().copied().chain(["--repository", "store"]).collect::<Vec<_>>())
    };
    run(&["init"]).exits(0);
    std::fs::remove_file(here.path().join("dbhaul.toml")).unwrap();
    run(&["backup", "--redis", &from.url()]).exits(0);
    run(&["inspect", "latest", "--source", "redis"]).exits(0).shows("bot:").shows("stream");
    run(&["inspect", "latest", "--source", "redis"]).exits(0).shows("from 2100-01-01").shows("longest keys");
    run(&["inspect", "latest", "--csv"])
        .exits(0)
        .shows("expiry,soonest-ms,,,,,4102444800123")
        .shows("biggest,");
    // There is only one Redis source.
    let keys = run(&["inspect", "latest", "--keys"]).exits(0);
    assert_eq!(keys.stdout.lines().count(), 4, "{}", keys.stdout);
    let json = run(&["inspect", "latest", "--source", "redis", "--json"]).exits(0).json();
    assert_eq!(json["sizes"]["keys"], 4);

    // An RDB for an older server has the same keys; for one that is too old, the export is refused before anything is
    // written.
    run(&["export", "latest", "--format", "rdb", "--redis-version", "6.2", "-o", "six.rdb"]).exits(0);
    run(&["verify-file", "six.rdb"]).exits(0).shows("whole").shows("4 keys");
    let json = run(&["inspect", "./six.rdb", "--json"]).exits(0).json();
    assert_eq!((json["rdb-version"].as_u64(), json["sizes"]["keys"].as_u64()), (Some(9), Some(4)));
    // A file can be compared with a server, on either side and without a repository.
    run(&["export", "latest", "--format", "rdb", "--redis-version", "7.0", "-o", "seven.rdb"]).exits(0);
    dbhaul(here.path(), &["compare", "seven.rdb", &from.url()]).exits(0).shows("seven.rdb").shows("4 equal");
    dbhaul(here.path(), &["compare", &to.url(), "./seven.rdb"]).exits(3).shows("missing on the right");
    dbhaul(here.path(), &["compare", "six.rdb", "six.rdb"]).exits(2).says("not compared with each other");
    dbhaul(here.path(), &["compare", "six.rdb", "postgres://h/d"]).exits(2).says("one kind");
    run(&["export", "latest", "--format", "rdb", "--redis-version", "3.2", "-o", "three.rdb"])
        .exits(5)
        .says("a stream");
    assert!(!here.path().join("three.rdb").exists());
    run(&[
        "export",
        "latest",
        "--format",
        "rdb",
        "--redis-version",
        "3.2",
        "--on-unsupported",
        "skip",
        "-o",
        "three.rdb",
    ])
    .exits(0)
    .says("left out");
    run(&["verify-file", "three.rdb"]).exits(0).shows("3 keys");

    // One flipped bit is found, with its place.
    let mut bytes = std::fs::read(here.path().join("six.rdb")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(here.path().join("flipped.rdb"), bytes).unwrap();
    let found = run(&["verify-file", "flipped.rdb", "--json"]).exits(3).json();
    assert!(found["whole"] == false && found["fault"]["offset"].is_u64(), "{found}");
    run(&["verify-file", "nothing.rdb"]).exits(1).says("nothing.rdb");

    // A file goes straight into a server, and down again.
    let six = to.url();
    run(&["restore", "./six.rdb", "--redis", &six]).exits(0).shows("4 keys restored");
    run(&["restore", "./six.rdb", "--redis", &six]).exits(5).says("is not empty");
    run(&["restore", "./six.rdb", "--redis", &six, "--on-existing", "replace"]).exits(0);
    run(&["compare", "latest", &six]).exits(3).shows("log");
    run(&["migrate", "--from", &from.url(), "--to", &six, "--flush", "127.0.0.1:1"])
        .exits(5)
        .says("name the intended server");
    let address = to.address();
    run(&["migrate", "--from", &from.url(), "--to", &six, "--flush", &address]).exits(0);
    run(&["compare", "latest", &six]).exits(0);
    run(&["migrate", "--from", &six, "--to", &from.url(), "--flush", &from.address()]).exits(0);
    run(&[
        "migrate",
        "--from",
        &from.url(),
        "--to",
        &six,
        "--key",
        "bot:*",
        "--db",
        "0=7",
        "--on-existing",
        "replace",
    ])
    .exits(0)
    .shows("2 keys restored");
    let _: redis::Value = redis::cmd("FLUSHALL").query_async(&mut common::redis(&six).await).await.unwrap();

    // Commands bring it all to another server.
    let commands = run(&["export", "latest", "--format", "json"]).exits(0).stdout;
    assert_eq!(commands.lines().count(), 4);
    run(&["export", "latest", "--format", "resp", "--redis-version", "8.2", "-o", "commands.resp"]).exits(0);
    let cli = seven_cli();
    let Some(cli) = cli else { return };
    let file = std::fs::File::open(here.path().join("commands.resp")).unwrap();
    let piped =
        Command::new(cli).arg("-s").arg(to.socket()).arg("--pipe").stdin(Stdio::from(file)).output().unwrap();
    assert!(piped.status.success(), "{piped:?}");
    run(&["compare", &from.url(), &to.url()]).exits(0);
    run(&["compare", "latest", &to.url()]).exits(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_only_file_is_replayed_into_a_server() {
    let (Some(seven), Some(eight)) = (require_redis("7.0"), require_redis("8.2")) else { return };
    let mut keeping = quick_redis();
    for (name, value) in [("appendonly", "yes"), ("appendfsync", "always"), ("aof-timestamp-enabled", "yes")]
    {
        keeping.settings.push((name.to_owned(), value.to_owned()));
    }
    let from = Redis::start(&seven, keeping).unwrap();
    let to = Redis::start(&eight, quick_redis()).unwrap();
    let mut client = common::redis(&from.url()).await;
    let mut say = redis::pipe();
    say.cmd("SET").arg("a").arg("1").cmd("HSET").arg("h").arg("f").arg("v").cmd("EXPIRE").arg("h").arg(7200);
    say.cmd("SET").arg("bot:x").arg("1").arg("PX").arg(1);
    let _: redis::Value = say.query_async(&mut client).await.unwrap();
    let data: Vec<String> =
        redis::cmd("CONFIG").arg("GET").arg("dir").query_async(&mut client).await.unwrap();
    let here = folder();
    let run = |args: &[&str]| -> Run { dbhaul(here.path(), args) };
    let server = to.url();
    run(&["restore", &data[1], "--redis", &server])
        .exits(0)
        // Whether the server has already deleted the one that expires, and said so in its file, is a matter of milliseconds.
        .shows("answered without an error: 2 keys")
        .shows("not verified key by key");
    run(&["compare", &from.url(), &server]).exits(0);
    run(&["restore", &data[1], "--redis", &server]).exits(5).says("is not empty");
    run(&["export", &data[1], "--format", "rdb", "-o", "none.rdb"]).exits(2).says("dbhaul restore");
    run(&["compare", &data[1], &server]).exits(2).says("dbhaul restore");
    assert!(!here.path().join("none.rdb").exists());
    run(&["export", &data[1], "--format", "resp", "-o", "commands.resp"]).exits(0).says("may expire");
    let commands = std::fs::read_to_string(here.path().join("commands.resp")).unwrap();
    assert!(commands.starts_with("*2\r\n$6\r\nSELECT") && !commands.contains("#TS"), "{commands}");
    assert!(commands.contains("bot:x"), "{commands}");
    let address = to.address();
    let part = format!("{}/appendonlydir/appendonly.aof.1.incr.aof", data[1]);
    let keys = ["restore", &part, "--redis", &server, "--flush", &address, "--key", "a", "--db", "0=4"];
    run(&keys).exits(0).shows("1 keys");
    let until =
        ["restore", &part, "--redis", &server, "--flush", &address, "--until", "2020-01-01T00:00:00Z"];
    // Nothing is known of that moment, and nothing is emptied for it.
    run(&until).exits(5).says("Earliest moment: 20").says("nothing was written");
    let until =
        ["restore", &part, "--redis", &server, "--flush", &address, "--until", "2100-01-01T00:00:00Z"];
    run(&until).exits(0).shows("answered without an error: 2 keys");
}

/// redis-cli, where there is one; said loudly where there is none.
fn seven_cli() -> Option<&'static str> {
    let there = Command::new("redis-cli").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !there {
        eprintln!("SKIPPED: commands through redis-cli --pipe, for there is no redis-cli");
    }
    there.then_some("redis-cli")
}
