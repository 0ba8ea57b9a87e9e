//! Data folders of stopped and running servers: captured, and compared with the servers.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use std::path::Path;
use std::time::Duration;

use crate::support::{Client, Corners, captured, fill, options, start, stream};
use bytes::Bytes;
use futures::TryStreamExt as _;
use redisdump::aof::FileType;
use redisdump::{
    CompareOptions, ConnectOptions, FolderCapture, FolderReport, Persistence, RestoreOptions, apply_aof,
    prove, restore,
};
use sandbox::testing::require_redis;
use sandbox::{Redis, RedisOptions};

const PERCENTAGE: &str = "CONFIG GET auto-aof-rewrite-percentage";

fn keeping_aof(version: &str, settings: &[(&str, &str)]) -> Option<Redis> {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let options = RedisOptions { appendonly: true, settings, ..RedisOptions::default() };
    Some(start(&require_redis(version)?, options))
}

fn saving_rdb(version: &str) -> Option<Redis> {
    Some(start(&require_redis(version)?, RedisOptions::default()))
}

/// Captures a folder: the bytes of its files, and the report.
async fn taken(
    path: &Path,
    server: Option<&ConnectOptions>,
) -> Result<(Vec<Vec<u8>>, FolderReport), redisdump::Error> {
    read(FolderCapture::open(path, server).await?).await
}

async fn read(mut capture: FolderCapture) -> Result<(Vec<Vec<u8>>, FolderReport), redisdump::Error> {
    let mut files = Vec::new();
    for _ in capture.files() {
        files.push(capture.read_next().try_collect::<Vec<Bytes>>().await?.concat());
    }
    Ok((files, capture.finish()?))
}

/// Lays files down as a server keeps them, and replays them into a server.
async fn replayed(files: &[Vec<u8>], report: &FolderReport, target: &Redis) -> redisdump::AofReport {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = String::new();
    for (bytes, file) in files.iter().zip(&report.files) {
        assert_eq!(bytes.len() as u64, file.bytes);
        std::fs::write(folder.path().join(&file.name), bytes).unwrap();
        if let (Some(kind), Some(sequence)) = (file.file_type, file.sequence) {
            let kind = if kind == FileType::Base { 'b' } else { 'i' };
            manifest.push_str(&format!("file {} seq {sequence} type {kind}\n", file.name));
        }
    }
    let path = match manifest.is_empty() {
        true => folder.path().join(&report.files[0].name),
        false => {
            std::fs::write(folder.path().join("a.manifest"), manifest).unwrap();
            folder.path().to_owned()
        }
    };
    apply_aof(&path, &options(target), &RestoreOptions::default(), None, &|_| ()).await.unwrap()
}

#[tokio::test]
async fn the_rdb_of_a_stopped_server_is_what_it_held() {
    for version in ["6.2", "7.0", "valkey-9"] {
        let Some(mut server) = saving_rdb(version) else { continue };
        fill(&server, Corners::All);
        Client::new(&server).ask("SAVE");
        let (_, snapshot) = captured(&server).await;
        server.stop();
        let (files, report) = taken(server.dir(), None).await.unwrap();
        let rdb = report.rdb.as_ref().unwrap();
        assert_eq!((rdb.digest, &rdb.databases), (snapshot.digest, &snapshot.databases), "{version}");
        assert_eq!(
            (report.persistence, report.warnings.len()),
            (Persistence::Rdb, 0),
            "{:?}",
            report.warnings
        );
        assert_eq!(
            (&report.server.flavor, &report.server.version),
            (&snapshot.server.flavor, &snapshot.server.version)
        );
        let target = saving_rdb(version).unwrap();
        restore(stream(&files[0]), &options(&target), &RestoreOptions::default(), &|_| ()).await.unwrap();
        let compared = CompareOptions::default();
        let proof = prove(stream(&files[0]), &options(&target), &compared, &|_| ()).await.unwrap();
        assert!(proof.equal(), "{version}: {proof}");
    }
}

#[tokio::test]
async fn the_aof_of_a_stopped_server_wins_over_its_rdb_and_replays_to_what_it_held() {
    for version in ["6.2", "7.0", "8.2"] {
        let Some(mut server) = keeping_aof(version, &[]) else { continue };
        let mut client = Client::new(&server);
        client.ask("SET old value");
        client.ask("SAVE");
        fill(&server, Corners::Oldest);
        client.ask("DEL old");
        let (_, snapshot) = captured(&server).await;
        server.stop();
        let (files, report) = taken(server.dir(), None).await.unwrap();
        assert_eq!(report.persistence, Persistence::Aof, "{version}");
        assert!(report.aof.as_ref().unwrap().commands > 20, "{report:?}");
        assert!(report.not_taken.iter().any(|path| path.ends_with("/dump.rdb")), "{:?}", report.not_taken);
        assert_eq!(files.len(), if version == "6.2" { 1 } else { 2 });

        let target = saving_rdb(version).unwrap();
        replayed(&files, &report, &target).await;
        let (_, found) = captured(&target).await;
        assert_eq!((found.digest, found.databases), (snapshot.digest, snapshot.databases), "{version}");
        let (_, rdb) = taken(&server.dir().join("dump.rdb"), None).await.unwrap();
        assert!(rdb.rdb.unwrap().keys() > 0);
    }
}

#[tokio::test]
async fn an_aof_that_is_a_base_alone_is_an_rdb() {
    let Some(mut server) = keeping_aof("7.0", &[]) else { return };
    fill(&server, Corners::All);
    let (_, snapshot) = captured(&server).await;
    let mut client = Client::new(&server);
    client.ask("BGREWRITEAOF");
    let rewriting = ["aof_rewrite_in_progress:1", "aof_rewrite_scheduled:1"];
    // By one answer: between two of them what was scheduled may begin.
    let is_rewriting = |said: String| rewriting.iter().any(|sign| said.contains(sign));
    while is_rewriting(client.ask("INFO persistence")) {
        std::thread::sleep(Duration::from_millis(20));
    }
    server.stop();
    let (files, report) = taken(server.dir(), None).await.unwrap();
    assert_eq!((report.persistence, files.len()), (Persistence::Rdb, 1));
    assert_eq!(report.rdb.unwrap().digest, snapshot.digest);
}

/// Increments one key, and a second one in the same transaction, until stopped.
fn counting(server: &Redis) -> (std::sync::mpsc::Sender<()>, std::thread::JoinHandle<u64>) {
    let mut client = Client::new(server);
    let (stop, stopped) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut n = 0;
        while stopped.try_recv().is_err() {
            client.ask("MULTI");
            client.ask("INCR first");
            client.ask("INCR second");
            client.ask("EXEC");
            n += 1;
        }
        n
    });
    (stop, thread)
}

#[tokio::test]
async fn the_aof_of_a_running_server_is_one_moment_while_it_is_written_and_rewritten() {
    for version in ["6.2", "7.0", "8.6", "valkey-9"] {
        let Some(server) = keeping_aof(version, &[("auto-aof-rewrite-percentage", "70")]) else { continue };
        fill(&server, Corners::Oldest);
        let (stop, writer) = counting(&server);
        let mut client = Client::new(&server);
        while client.ask("EXISTS second") == "0" {
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut last = 0;
        for round in 0..4 {
            std::thread::sleep(Duration::from_millis(50));
            if round % 2 == 1 {
                client.ask("BGREWRITEAOF");
            }
            let before: u64 = client.ask("GET first").parse().unwrap();
            let capture = FolderCapture::open(server.dir(), Some(&options(&server))).await.unwrap();
            let after: u64 = client.ask("GET first").parse().unwrap();
            assert_eq!(client.ask(PERCENTAGE), "auto-aof-rewrite-percentage 70", "{version}");
            // A capture is not affected by a rewrite that deletes the files.
            client.ask("BGREWRITEAOF");
            let rewriting = ["aof_rewrite_in_progress:1", "aof_rewrite_scheduled:1"];
            while rewriting.iter().any(|sign| client.ask("INFO persistence").contains(sign)) {
                std::thread::sleep(Duration::from_millis(10));
            }
            let (files, report) = read(capture).await.unwrap();
            assert!(report.warnings.is_empty(), "{version}: {:?}", report.warnings);
            let target = saving_rdb(version).unwrap();
            if report.persistence == Persistence::Aof {
                replayed(&files, &report, &target).await;
            } else {
                restore(stream(&files[0]), &options(&target), &RestoreOptions::default(), &|_| ())
                    .await
                    .unwrap();
            }
            let mut there = Client::new(&target);
            let (first, second) = (there.ask("GET first"), there.ask("GET second"));
            assert_eq!(first, second, "{version}: a transaction was torn");
            let first: u64 = first.parse().unwrap();
            assert!(
                (before..=after).contains(&first) && first >= last,
                "{version}: {before} {first} {after}"
            );
            assert_eq!(there.ask("GET text"), "hello");
            last = first;
        }
        stop.send(()).unwrap();
        assert!(writer.join().unwrap() >= last);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_setting_is_back_when_a_capture_is_dropped_while_it_waits() {
    let Some(server) = keeping_aof("7.0", &[]) else { return };
    let mut client = Client::new(&server);
    for n in 0..2000 {
        client.ask(&format!("SET key:{n} {n}"));
    }
    // A rewrite that takes 20 seconds.
    client.ask("CONFIG SET rdb-key-save-delay 10000");
    client.ask("BGREWRITEAOF");
    let options = options(&server);
    let open = FolderCapture::open(server.dir(), Some(&options));
    let waited = tokio::time::timeout(Duration::from_millis(700), async {
        tokio::pin!(open);
        tokio::select! {
            _ = &mut open => panic!("a rewrite runs"),
            () = async {
                while client.ask(PERCENTAGE) != "auto-aof-rewrite-percentage 0" {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            } => {}
        }
    });
    waited.await.unwrap();
    assert_eq!(client.ask(PERCENTAGE), "auto-aof-rewrite-percentage 100");
    assert!(client.ask("INFO persistence").contains("aof_rewrite_in_progress:1"));
}

#[tokio::test]
async fn another_servers_folder_is_refused_and_the_setting_is_back() {
    let (Some(server), Some(other)) = (keeping_aof("7.0", &[]), keeping_aof("7.0", &[])) else { return };
    fill(&other, Corners::Oldest);
    let error = taken(other.dir(), Some(&options(&server))).await.unwrap_err().to_string();
    assert!(error.contains("aof_current_size") && error.contains("another server's folder"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    let error = taken(empty.path(), Some(&options(&server))).await.unwrap_err().to_string();
    assert!(error.contains("found no manifest"), "{error}");
    assert_eq!(Client::new(&server).ask(PERCENTAGE), "auto-aof-rewrite-percentage 100");
}

#[tokio::test]
async fn uncertainties_about_a_folder_are_reported() {
    // A server that runs, and was not named.
    let Some(mut server) = keeping_aof("7.0", &[]) else { return };
    Client::new(&server).ask("SET a b");
    let (_, report) = taken(server.dir(), None).await.unwrap();
    // The reported name depends on how it was started: through a loader, it is the loader's.
    assert!(report.warnings.iter().any(|w| w.contains("is in use by")), "{:?}", report.warnings);
    // A named server that does not run.
    let at = options(&server);
    server.stop();
    let (_, report) = taken(server.dir(), Some(&at)).await.unwrap();
    assert!(report.warnings[0].contains("read as that of a stopped server"), "{:?}", report.warnings);
    // A user who may not suspend rewrites; a server without AOF, and changes that no RDB has.
    let server = keeping_aof("7.0", &[]).unwrap();
    Client::new(&server).ask("ACL SETUSER reader on >pw ~* &* +@all -config");
    let reader = server.url_as("reader", "pw");
    let reader = ConnectOptions::parse(&reader, &redisdump::Environment::default()).unwrap();
    let (_, report) = taken(server.dir(), Some(&reader)).await.unwrap();
    assert!(report.warnings[0].contains("does not allow suspending rewrites"), "{:?}", report.warnings);
    let server = saving_rdb("7.0").unwrap();
    let mut client = Client::new(&server);
    client.ask("SET a b");
    client.ask("SAVE");
    client.ask("SET c d");
    let (_, report) = taken(server.dir(), Some(&options(&server))).await.unwrap();
    assert_eq!(report.rdb.unwrap().keys(), 1);
    assert!(report.warnings[0].contains("1 changes are newer than its RDB"), "{:?}", report.warnings);
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_is_not_taken() {
    let Some(mut server) = saving_rdb("7.0") else { return };
    fill(&server, Corners::All);
    Client::new(&server).ask("SAVE");
    server.stop();
    let dump = server.dir().join("dump.rdb");
    let mut bytes = std::fs::read(&dump).unwrap();
    let mut capture = FolderCapture::open(server.dir(), None).await.unwrap();
    capture.read_next().try_collect::<Vec<Bytes>>().await.unwrap();
    std::fs::write(&dump, &bytes).unwrap();
    let error = capture.finish().unwrap_err().to_string();
    assert!(error.contains("written to while it was read"), "{error}");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&dump, &bytes).unwrap();
    let error = taken(server.dir(), None).await.unwrap_err().to_string();
    assert!(error.contains("dump.rdb") && error.contains("byte"), "{error}");
}
