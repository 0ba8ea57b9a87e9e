//! Measures a repository: `throughput FILE FOLDER` writes the file as one part, writes it again, and reads it back.
//! `scripts/bench/repository` runs it beside `zstd` and `sha256sum`.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use futures::StreamExt as _;
use repository::{
    InitOptions, Manifest, PartHeader, Repository, SnapshotStart, SourceRecord, Store, StoreEnv,
};
use tokio::io::AsyncReadExt as _;

/// The most memory that this process has had so far, as Linux tells it.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(|| "unknown".to_owned(), |kilobytes| kilobytes.trim().to_owned())
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn write(repo: &Repository, file: &str) -> Result<Manifest, Failure> {
    let writer = repo.begin(SnapshotStart::new("throughput", chrono::Utc::now(), "throughput 1")).await?;
    let file = tokio::fs::File::open(file).await?;
    let stream = futures::stream::try_unfold(file, |mut file| async move {
        let mut buffer = bytes::BytesMut::with_capacity(256 << 10);
        let read = file.read_buf(&mut buffer).await?;
        Ok::<_, std::io::Error>((read > 0).then(|| (buffer.freeze(), file)))
    });
    let part = writer.write_part(PartHeader::new("file", "bytes"), stream).await?;
    let source = SourceRecord {
        name: "file".to_owned(),
        kind: "file".to_owned(),
        server: serde_json::Value::Null,
        details: serde_json::Value::Null,
        parts: vec![part],
    };
    Ok(writer.commit(vec![source], true).await?)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("usage: throughput FILE FOLDER".into());
    };
    let repo = Repository::init(Store::open(&folder, &StoreEnv::default())?, &InitOptions::default()).await?;
    let mut last = None;
    for name in ["write", "write again"] {
        let begun = Instant::now();
        let manifest = write(&repo, &file).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let (plain, stats) = (manifest.stats.plain_bytes as f64 / 1e6, &manifest.stats);
        println!(
            "{name}: {seconds:.2} s, {:.0} MB/s, {} of {} chunks new, {:.1} MB stored, peak memory {}",
            plain / seconds,
            stats.new_chunks,
            stats.chunks,
            stats.stored_bytes as f64 / 1e6,
            peak()
        );
        last = Some(manifest);
    }
    for (_, part) in last.iter().flat_map(Manifest::parts) {
        let begun = Instant::now();
        let mut bytes = 0;
        let mut stream = std::pin::pin!(repo.read_part(part));
        while let Some(piece) = stream.next().await {
            bytes += piece?.len();
        }
        let seconds = begun.elapsed().as_secs_f64();
        println!("read: {seconds:.2} s, {:.0} MB/s, peak memory {}", bytes as f64 / 1e6 / seconds, peak());
    }
    Ok(())
}
