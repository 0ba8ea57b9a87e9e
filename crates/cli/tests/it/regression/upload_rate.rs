//! `--limit-upload` and `limit-upload`: a run's uploads stay below a rate.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::time::{Duration, Instant};

use repository::{PartHeader, Repository, SnapshotStart, SourceRecord, Store, StoreEnv};

use crate::common::{dbhaul, folder};

/// Issue 12, section 7.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_stay_below_the_rate() {
    let here = folder();
    let at = here.path();
    dbhaul(at, &["init", "--repository", "store", "--chunk-size", "64KiB"]).exits(0);
    let store = Store::open(at.join("store").to_str().unwrap(), &StoreEnv::default()).unwrap();
    let repository = Repository::open(store).await.unwrap();
    let writer = repository.begin(SnapshotStart::new("nightly", chrono::Utc::now(), "test")).await.unwrap();
    // 3 MiB that do not compress.
    let mut state = 1_u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    })
    .take(3 << 20)
    .collect();
    let stream = futures::stream::iter([Ok::<_, std::io::Error>(bytes.into())]);
    let part = writer.write_part(PartHeader::new("a", "test"), stream).await.unwrap();
    let (server, details) = (serde_json::Value::Null, serde_json::Value::Null);
    let source = SourceRecord { name: "s".into(), kind: "test".into(), server, details, parts: vec![part] };
    writer.commit(vec![source], true).await.unwrap();

    let copy = |to: &str, more: &[&str]| {
        dbhaul(at, &["init", "--no-config", "--repository", to]).exits(0);
        let began = Instant::now();
        dbhaul(at, &[&["copy", "--to", to], more].concat()).exits(0);
        began.elapsed()
    };
    let free = copy("one", &[]);
    let limited = copy("two", &["--limit-upload", "1MiB/s"]);
    // An object is sent when its turn comes: the first of them at once.
    assert!(limited > Duration::from_millis(1900), "{limited:?}, and {free:?} without a limit");
    let config = std::fs::read_to_string(at.join("dbhaul.toml")).unwrap();
    let config = config.replace("# limit-upload = \"10MiB/s\"", "limit-upload = \"1.5MiB/s\"");
    std::fs::write(at.join("dbhaul.toml"), config).unwrap();
    assert!(copy("three", &[]) > Duration::from_millis(1200));
    dbhaul(at, &["copy", "--to", "one", "--limit-upload", "fast"]).exits(2).says("is not a rate");
}
