//! Capture key by key, from servers that forbid PSYNC: compared with the result of PSYNC.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "test code")]

use crate::support::{Client, Corners, captured, fill, options, start, stream};
use bytes::Bytes;
use futures::TryStreamExt as _;
use redisdump::rdb::Checksum;
use redisdump::{
    Capture, CaptureMethod, CaptureOptions, CaptureReport, CompareOptions, ConnectOptions, Consistency,
    Environment, RestoreOptions, prove, restore,
};
use sandbox::testing::require_redis;
use sandbox::{Redis, RedisOptions};

fn server(version: &str) -> Option<Redis> {
    Some(start(&require_redis(version)?, RedisOptions::default()))
}

async fn by(options: &ConnectOptions, method: CaptureMethod) -> Result<Capture, redisdump::Error> {
    Capture::start(options, &CaptureOptions::by(method)).await
}

async fn taken(mut capture: Capture) -> (Vec<u8>, CaptureReport) {
    let pieces: Vec<Bytes> = (&mut capture).try_collect().await.unwrap();
    (pieces.concat(), capture.report().unwrap())
}

/// The same keys, values, expiries to the millisecond, databases and functions.
fn same(one_by_one: &CaptureReport, snapshot: &CaptureReport) {
    assert_eq!(one_by_one.digest, snapshot.digest);
    assert_eq!(one_by_one.databases, snapshot.databases);
    assert_eq!(one_by_one.types, snapshot.types);
    assert_eq!(one_by_one.functions, snapshot.functions);
    assert_eq!((one_by_one.checksum, one_by_one.gone_meanwhile), (Checksum::Verified, 0));
}

async fn is_what_psync_gives(version: &str) {
    let Some(source) = server(version) else { return };
    fill(&source, Corners::All);
    let (_, snapshot) = captured(&source).await;
    assert_eq!((snapshot.consistency, snapshot.warnings.len()), (Consistency::PointInTime, 0));
    let (rdb, report) = taken(by(&options(&source), CaptureMethod::Scan).await.unwrap()).await;
    same(&report, &snapshot);
    assert_eq!((report.consistency, report.bytes), (Consistency::EachKey, rdb.len() as u64));
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);

    let target = server(version).unwrap();
    let restored =
        restore(stream(&rdb), &options(&target), &RestoreOptions::default(), &|_| ()).await.unwrap();
    assert_eq!(restored.keys, snapshot.keys(), "{version}");
    let proof = prove(stream(&rdb), &options(&target), &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(proof.equal(), "{version}: {proof}");
}

#[tokio::test]
async fn keys_read_one_by_one_are_those_of_a_snapshot() {
    for version in ["6.2", "7.0", "8.2", "valkey-9"] {
        is_what_psync_gives(version).await;
    }
}

/// A database of more keys than are remembered at a time is gone through in parts; each key comes once.
#[tokio::test]
async fn many_keys_are_read_in_parts() {
    // In the last there are as many parts as keys.
    for (keys, remembered_keys) in [(3000, 1000), (3000, 50), (0, 0)] {
        let Some(source) = server("7.0") else { return };
        fill(&source, Corners::All);
        let mut client = Client::new(&source);
        for n in 0..keys {
            client.ask(&format!("SET key:{n} {n}"));
        }
        let (_, snapshot) = captured(&source).await;
        let settings = CaptureOptions { remembered_keys, ..CaptureOptions::by(CaptureMethod::Scan) };
        let (_, report) = taken(Capture::start(&options(&source), &settings).await.unwrap()).await;
        same(&report, &snapshot);
    }
}

#[tokio::test]
#[ignore = "long: run by scripts/test --all"]
async fn also_those_of_every_server() {
    for version in ["3.0", "3.2", "5.0", "8.6", "valkey-8.1"] {
        is_what_psync_gives(version).await;
    }
}

#[tokio::test]
async fn a_user_without_psync_gets_its_keys_with_a_warning() {
    let Some(source) = server("7.0") else { return };
    fill(&source, Corners::All);
    let (_, snapshot) = captured(&source).await;
    let mut client = Client::new(&source);
    client.ask("ACL SETUSER reader on >pw ~* &* +@all -psync -sync");
    client.ask("ACL SETUSER poor on >pw ~* &* +@all -psync -multi -function");
    client.ask("ACL SETUSER blind on >pw ~other* &* +@all -psync");
    let of = |user: &str| ConnectOptions::parse(&source.url_as(user, "pw"), &Environment::default()).unwrap();

    let capture = by(&of("reader"), CaptureMethod::Auto).await.unwrap();
    let warning = capture.warnings().join("\n");
    assert!(warning.contains("PSYNC: NOPERM") && warning.contains("not one point in time"), "{warning}");
    let (_, report) = taken(capture).await;
    same(&report, &snapshot);
    assert_eq!((report.consistency, report.warnings.len()), (Consistency::EachKey, 1));

    let refused = by(&of("reader"), CaptureMethod::Psync).await.err().unwrap().to_string();
    assert!(refused.contains("NOPERM") && refused.contains("capture = \"scan\""), "{refused}");

    // Less and less is allowed: said so, and never left out in silence.
    let (_, report) = taken(by(&of("poor"), CaptureMethod::Auto).await.unwrap()).await;
    assert_eq!((report.digest, report.functions), (snapshot.digest, 0));
    assert_eq!(report.consistency, Consistency::EachPart);
    assert!(report.warnings.iter().any(|warning| warning.contains("function libraries")));
    let capture = by(&of("blind"), CaptureMethod::Auto).await.unwrap();
    let error = capture.try_collect::<Vec<Bytes>>().await.unwrap_err().to_string();
    assert!(error.contains("key ") && error.to_lowercase().contains("perm"), "{error}");
}

#[tokio::test]
async fn a_server_whose_psync_has_another_name_is_read_one_by_one() {
    let Some(binaries) = require_redis("6.2") else { return };
    let settings = vec![("rename-command".to_owned(), "PSYNC hidden".to_owned())];
    let source = start(&binaries, RedisOptions { settings, ..RedisOptions::default() });
    Client::new(&source).ask("SET a b");
    let capture = by(&options(&source), CaptureMethod::Auto).await.unwrap();
    assert!(capture.warnings()[0].contains("unknown command"), "{:?}", capture.warnings());
    let (_, report) = taken(capture).await;
    assert_eq!((report.keys(), report.consistency), (1, Consistency::EachKey));
}

#[tokio::test]
async fn keys_that_come_and_go_meanwhile_are_there_once_or_counted() {
    let Some(source) = server("7.0") else { return };
    let mut client = Client::new(&source);
    for n in 0..20_000 {
        client.ask(&format!("SET key:{n} {}", "x".repeat(100)));
    }
    let mut capture = by(&options(&source), CaptureMethod::Scan).await.unwrap();
    let mut rdb = Vec::new();
    while rdb.len() < 400_000 {
        rdb.extend_from_slice(&capture.try_next().await.unwrap().unwrap());
    }
    // The table shrinks, for which SCAN goes back and tells keys again.
    for n in 0..19_000 {
        client.ask(&format!("DEL key:{n}"));
    }
    while let Some(piece) = capture.try_next().await.unwrap() {
        rdb.extend_from_slice(&piece);
    }
    let report = capture.report().unwrap();
    assert!(report.gone_meanwhile > 0 && report.keys() >= 1000, "{report:?}");
    let target = server("7.0").unwrap();
    // A key that came twice would be refused: the name is taken.
    let restored =
        restore(stream(&rdb), &options(&target), &RestoreOptions::default(), &|_| ()).await.unwrap();
    assert_eq!(restored.keys, report.keys());
    let mut there = Client::new(&target);
    for n in 19_000..20_000 {
        assert_eq!(there.ask(&format!("EXISTS key:{n}")), "1");
    }
}

/// Names the server that a child of this test is to capture.
const CHILD: &str = "DBHAUL_TEST_SCAN_OF";

/// Peak memory of the process, in kilobytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Each value alone is larger than what the capture may take; so are those that would be asked for together.
#[tokio::test]
async fn large_values_pass_through_in_bounded_memory() {
    if let Ok(url) = std::env::var(CHILD) {
        let options = ConnectOptions::parse(&url, &Environment::default()).unwrap();
        let before = peak();
        let mut capture = by(&options, CaptureMethod::Scan).await.unwrap();
        while let Some(piece) = capture.try_next().await.unwrap() {
            assert!(piece.len() <= 64 << 10);
        }
        let report = serde_json::to_string(&capture.report().unwrap()).unwrap();
        println!("CHILD {} {report}", peak() - before);
        return;
    }
    // With MEMORY USAGE and PEXPIRETIME, without the one, without either.
    for (version, memory) in [("7.0", true), ("7.0", false), ("6.2", true), ("3.2", true)] {
        let Some(binaries) = require_redis(version) else { continue };
        let mut settings = vec![("rdbcompression".to_owned(), "no".to_owned())];
        if !memory {
            settings.push(("rename-command".to_owned(), "MEMORY hidden".to_owned()));
        }
        let source = start(&binaries, RedisOptions { settings, ..RedisOptions::default() });
        let mut client = Client::new(&source);
        for n in 0..2 {
            client.ask(&format!("SETRANGE huge:{n} 60000000 x"));
            client.ask(&format!("PEXPIREAT huge:{n} 9999999999{n}99"));
        }
        for n in 0..40 {
            client.ask(&format!("SETRANGE large:{n} 3000000 {n}"));
            client.ask(&format!("SET small:{n} {n}"));
        }
        let mut out = Vec::new();
        for at in 0..200 {
            let value = "v".repeat(200);
            let mut command = redis::cmd("HMSET");
            command.arg("hash");
            for n in 0..500 {
                command.arg(format!("f{at}-{n}")).arg(&value);
            }
            command.write_packed_command(&mut out);
        }
        client.pipe(&out, 200).unwrap();
        let (_, snapshot) = captured(&source).await;
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "scan::large_values_pass_through_in_bounded_memory", "--nocapture"])
            .env(CHILD, source.url())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout).into_owned();
        assert!(child.status.success(), "{version}: {said} {}", String::from_utf8_lossy(&child.stderr));
        let line = said.lines().find_map(|line| line.split_once("CHILD ")).unwrap().1;
        let (grown, report) = line.split_once(' ').unwrap();
        let report: CaptureReport = serde_json::from_str(report).unwrap();
        same(&report, &snapshot);
        assert_eq!(report.keys(), 83);
        let grown: u64 = grown.parse().unwrap();
        assert!(grown < 16 << 10, "{version}: {grown} kB more at the peak than before");
    }
}
