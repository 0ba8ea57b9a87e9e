//! AOFs of real servers: their files are read, and damaged tails are cut where servers cut them.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use std::path::{Path, PathBuf};

use crate::support::{Client, Corners, fill, start};
use redisdump::aof::{self, AofSummary, Command, CutReason, FileType, Files, ReadOptions};
use redisdump::rdb::{self, Elements, Key};
use redisdump::verify::{VerifyOptions, verify_file};
use sandbox::testing::require_redis;
use sandbox::{Redis, RedisBinaries, RedisOptions};

#[derive(Debug, Default)]
struct Seen {
    preamble_keys: u64,
    commands: Vec<String>,
}
impl Elements for Seen {}
impl rdb::Visitor for Seen {
    fn key(&mut self, _key: &Key<'_>) {
        self.preamble_keys += 1;
    }
}
impl aof::Visitor for Seen {
    fn command(&mut self, command: &Command<'_>) {
        let words: Vec<_> = command.held().map(String::from_utf8_lossy).collect();
        self.commands.push(words.join(" "));
    }
}

fn read(path: &Path) -> Result<(AofSummary, Seen), aof::FileError> {
    let mut seen = Seen::default();
    let files = Files::locate(path)?;
    let summary = aof::read(&files, ReadOptions::default(), &mut seen, &mut |_, _| ())?;
    Ok((summary, seen))
}

fn with_aof(binaries: &RedisBinaries, data: Option<PathBuf>) -> Redis {
    // Old servers lose unwritten data if they are stopped during a sync.
    let settings = [("aof-load-truncated", "yes"), ("appendfsync", "always")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    start(binaries, RedisOptions { appendonly: true, data, settings, ..RedisOptions::default() })
}

/// A data folder as a server leaves it, without what the sandbox puts beside.
fn taken(server: &mut Redis) -> tempfile::TempDir {
    server.stop();
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(server.dir()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name == "appendonlydir" {
            std::fs::create_dir(folder.path().join(&name)).unwrap();
            for file in std::fs::read_dir(entry.path()).unwrap() {
                let file = file.unwrap();
                std::fs::copy(file.path(), folder.path().join(&name).join(file.file_name())).unwrap();
            }
        } else if name == "appendonly.aof" {
            std::fs::copy(entry.path(), folder.path().join(name)).unwrap();
        }
    }
    folder
}

/// Writes, rewrites, writes on.
fn written(binaries: &RedisBinaries) -> tempfile::TempDir {
    let mut server = with_aof(binaries, None);
    fill(&server, Corners::All);
    let mut client = Client::new(&server);
    client.ask("BGREWRITEAOF");
    while client.ask("INFO persistence").contains("aof_rewrite_in_progress:1") {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    client.ask("SET after rewrite");
    client.ask("MULTI");
    client.ask("INCR counter");
    client.ask("SELECT 5");
    client.ask("INCR counter");
    client.ask("EXEC");
    client.ask("SET last one");
    taken(&mut server)
}

fn last_file(folder: &Path) -> PathBuf {
    Files::locate(folder).unwrap().parts.last().unwrap().path.clone()
}

fn written_by_a_server(version: &str) {
    let Some(binaries) = require_redis(version) else { return };
    let folder = written(&binaries);
    let (summary, seen) = read(folder.path()).unwrap();
    assert_eq!(summary.cut, None);
    let multi_part = !["3.0", "3.2", "5.0", "6.2"].contains(&version);
    if multi_part {
        assert_eq!(summary.files[0].file_type, Some(FileType::Base));
        assert!(summary.files.len() == 2 && summary.files[0].checksum.is_some(), "{summary:?}");
        assert!(seen.preamble_keys >= 20);
    } else {
        assert!(summary.files.len() == 1 && summary.files[0].file_type.is_none(), "{summary:?}");
        assert_eq!(seen.preamble_keys > 0, version != "3.0" && version != "3.2");
    }
    let position = |text: &str| seen.commands.iter().position(|command| command == text).unwrap();
    assert!(position("SET after rewrite") < position("MULTI") && position("EXEC") < position("SET last one"));

    // Wherever the last file is cut, the server keeps what we say is valid: it cuts the rest off itself.
    let file = last_file(folder.path());
    let whole = std::fs::read(&file).unwrap();
    let find = |text: &[u8]| whole.windows(text.len()).rposition(|w| w == text).unwrap();
    let (multi, exec) = (find(b"MULTI"), find(b"EXEC"));
    for cut in [whole.len() - 3, exec - 8, exec + 3, multi + 9, find(b"rewrite")] {
        std::fs::write(&file, &whole[..cut]).unwrap();
        let (summary, _) = read(folder.path()).unwrap();
        let ours = summary.cut.unwrap();
        assert_eq!(ours.tail.offset + ours.tail.bytes, cut as u64);
        let inside = cut > multi + 7 && cut <= exec + 5;
        if cut == exec - 8 {
            assert_eq!(ours.tail.reason, CutReason::UnfinishedTransaction);
        }
        if inside && version.starts_with("3.") {
            // Redis before 4.0 runs the beginning of a truncated transaction.
            continue;
        }
        let mut server = with_aof(&binaries, Some(folder.path().to_owned()));
        let mut client = Client::new(&server);
        assert_eq!(client.ask("GET counter"), if cut > exec + 5 { "1" } else { "nil" }, "cut at {cut}");
        assert_eq!(client.ask("GET after"), if cut > multi { "rewrite" } else { "nil" });
        let kept = taken(&mut server);
        let length = std::fs::metadata(last_file(kept.path())).unwrap().len();
        // Some versions leave the beginning of a transaction that was cut within a command; it counts for nothing.
        if inside && cut != exec - 8 {
            assert!(length >= ours.tail.offset && length < cut as u64);
        } else {
            assert_eq!(length, ours.tail.offset, "{version} cut at {cut}");
        }
    }
}

#[test]
fn aofs_of_redis_7_0_and_6_2() {
    written_by_a_server("7.0");
    written_by_a_server("6.2");
}

#[test]
#[ignore = "long: run by scripts/test --all"]
fn aofs_of_every_server() {
    for version in ["3.0", "3.2", "5.0", "8.2", "8.6", "valkey-8.1", "valkey-9"] {
        written_by_a_server(version);
    }
}

#[test]
fn only_the_last_file_may_be_cut() {
    let Some(binaries) = require_redis("7.0") else { return };
    let folder = written(&binaries);
    let files = Files::locate(folder.path()).unwrap();
    let base = std::fs::read(&files.parts[0].path).unwrap();
    std::fs::write(&files.parts[0].path, &base[..base.len() - 3]).unwrap();
    let error = read(folder.path()).unwrap_err();
    assert!(error.to_string().contains("ends within"), "{error}");
    std::fs::write(&files.parts[0].path, "*1\r\n$4\r\nPI").unwrap();
    let error = read(folder.path()).unwrap_err();
    assert!(matches!(error, aof::FileError::CutInside { .. }) && error.offset() == Some(0), "{error}");
    std::fs::remove_file(&files.parts[0].path).unwrap();
    assert!(matches!(read(folder.path()).unwrap_err(), aof::FileError::Missing { .. }));
    let fault = verify_file(folder.path(), VerifyOptions::default(), &mut |_| ()).unwrap_err();
    assert!(!fault.is_io() && fault.to_string().contains("lists it"), "{fault}");
    // Paths that mean the same, and a folder that means nothing.
    let manifest = &files.manifest.as_ref().unwrap().0;
    let text = std::fs::read_to_string(manifest).unwrap();
    std::fs::write(manifest, format!("{text}file b seq 9 type b\n")).unwrap();
    let fault = verify_file(folder.path(), VerifyOptions::default(), &mut |_| ()).unwrap_err();
    assert_eq!((fault.offset(), fault.is_io()), (Some(text.len() as u64), false), "{fault}");
    std::fs::write(manifest, text).unwrap();
    assert_eq!(Files::locate(manifest).unwrap(), files);
    assert_eq!(Files::locate(manifest.parent().unwrap()).unwrap(), files);
    std::fs::remove_file(manifest).unwrap();
    assert!(matches!(Files::locate(folder.path()).unwrap_err(), aof::FileError::NotFound { .. }));
}

#[test]
fn timestamps_tell_a_point_in_time() {
    let Some(binaries) = require_redis("7.0") else { return };
    let settings = vec![("aof-timestamp-enabled".to_owned(), "yes".to_owned())];
    let options = RedisOptions { appendonly: true, settings, ..RedisOptions::default() };
    let mut server = start(&binaries, options);
    let mut client = Client::new(&server);
    client.ask("SET early 1");
    std::thread::sleep(std::time::Duration::from_millis(2100));
    client.ask("SET late 1");
    let folder = taken(&mut server);
    let (summary, _) = read(folder.path()).unwrap();
    let last = summary.timestamp.unwrap();
    let files = Files::locate(folder.path()).unwrap();
    let mut seen = Seen::default();
    let until = ReadOptions { until: Some(last - 1), ..ReadOptions::default() };
    let summary = aof::read(&files, until, &mut seen, &mut |_, _| ()).unwrap();
    assert_eq!(summary.cut.unwrap().tail.reason, CutReason::LaterThanAsked);
    assert!(
        seen.commands.iter().any(|c| c == "SET early 1") && !seen.commands.iter().any(|c| c == "SET late 1")
    );
}
