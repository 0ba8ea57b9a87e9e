//! The sample application's keys, migrated in both directions: Redis 6.2 with a single append-only file, Redis 8.6
//! with a multi-part one; both live and from the files.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::support::{Client, captured, options, start, stream};
use redisdump::{CompareOptions, RestoreOptions, apply_aof, compare, prove, restore};
use sandbox::testing::require_redis;
use sandbox::{Redis, RedisBinaries, RedisOptions};

/// A server as the bot has it: with `--appendonly yes`.
fn keeping(binaries: &RedisBinaries, data: Option<PathBuf>) -> Redis {
    let settings = vec![("appendfsync".to_owned(), "always".to_owned())];
    start(binaries, RedisOptions { appendonly: true, settings, data, ..RedisOptions::default() })
}

fn folder_of(server: &Redis) -> PathBuf {
    let folder = Client::new(server).ask("CONFIG GET dir");
    PathBuf::from(folder.strip_prefix("dir ").unwrap())
}

/// Keys, equal both ways.
async fn equal(left: &Redis, right: &Redis) -> u64 {
    let found = compare(&options(left), &options(right), &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(found.equal(), "{found}");
    found.equal_keys
}

/// The files of the server contain its keys: a server started with them has the same.
async fn begun_again(server: &Redis, binaries: &RedisBinaries) -> u64 {
    let again = keeping(binaries, Some(folder_of(server)));
    equal(server, &again).await
}

async fn live(from: &Redis, to: &Redis) {
    let (rdb, _) = captured(from).await;
    restore(stream(&rdb), &options(to), &RestoreOptions::default(), &|_| ()).await.unwrap();
    let proof = prove(stream(&rdb), &options(to), &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(proof.equal(), "{proof}");
}

async fn from_files(path: &Path, to: &Redis) -> redisdump::AofReport {
    let report = apply_aof(path, &options(to), &RestoreOptions::default(), None, &|_| ()).await.unwrap();
    assert!(report.cut.is_none() && report.refusals == 0 && report.expiry_exact, "{report}");
    report
}

fn rewrite(server: &Redis) {
    let mut client = Client::new(server);
    client.ask("BGREWRITEAOF");
    let done =
        |info: &str| info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0");
    while !done(&client.ask("INFO persistence")) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bots_keys_go_from_one_file_to_several_and_back() {
    let (Some(six), Some(eight)) = (require_redis("6.2"), require_redis("8.6")) else { return };
    let home = keeping(&six, None);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    let loaded = coinpilot::load_redis(&home.url(), 3, i64::try_from(now).unwrap()).await.unwrap();
    let single = folder_of(&home).join("appendonly.aof");
    assert!(single.is_file() && loaded.keys > 400, "{loaded:?}");

    for rewritten in [false, true] {
        if rewritten {
            rewrite(&home);
        }
        for by_files in [false, true] {
            let away = keeping(&eight, None);
            if by_files {
                let report = from_files(&single, &away).await;
                assert_eq!((report.base_keys > 0, report.keys), (rewritten, loaded.keys), "{report}");
            } else {
                live(&home, &away).await;
            }
            assert_eq!(equal(&home, &away).await, loaded.keys);
            if rewritten {
                rewrite(&away);
            }
            assert!(folder_of(&away).join("appendonlydir/appendonly.aof.manifest").is_file());
            assert_eq!(begun_again(&away, &eight).await, loaded.keys);

            let back = keeping(&six, None);
            if by_files {
                from_files(&folder_of(&away), &back).await;
            } else {
                live(&away, &back).await;
            }
            assert_eq!(equal(&home, &back).await, loaded.keys);
            assert_eq!(equal(&away, &back).await, loaded.keys);
            assert_eq!(begun_again(&back, &six).await, loaded.keys);
        }
    }
}
