//! Measures a repository: `throughput init FOLDER` makes one, `write FILE FOLDER` backs a file up as one part (`/dev/stdin`
//! for what a pipe brings), `read FOLDER` reads the newest snapshot.
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

/// Backs the file up, and says what that cost.
async fn back_up(repo: &Repository, file: &str) -> Result<(), Failure> {
    let begun = Instant::now();
    let manifest = write(repo, file).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let (plain, stats) = (manifest.stats.plain_bytes as f64, &manifest.stats);
    println!(
        "{seconds:.2} s, {:.0} MB/s, {} of {} chunks new ({:.2} % of the bytes), {:.1} MB stored, peak memory {}",
        plain / 1e6 / seconds,
        stats.new_chunks,
        stats.chunks,
        stats.new_plain_bytes as f64 / plain * 100.0,
        stats.stored_bytes as f64 / 1e6,
        peak()
    );
    Ok(())
}

/// Reads the newest snapshot.
async fn read_back(repo: &Repository) -> Result<(), Failure> {
    let manifest = repo.find("latest").await?;
    for (_, part) in manifest.parts() {
        let begun = Instant::now();
        let mut bytes = 0;
        let mut stream = std::pin::pin!(repo.read_part(part));
        while let Some(piece) = stream.next().await {
            bytes += piece?.len();
        }
        let seconds = begun.elapsed().as_secs_f64();
        println!("{seconds:.2} s, {:.0} MB/s, peak memory {}", bytes as f64 / 1e6 / seconds, peak());
    }
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let open = |folder: &str| Store::open(folder, &StoreEnv::default());
    match *arguments {
        ["init", folder] => drop(Repository::init(open(folder)?, &InitOptions::default()).await?),
        ["write", file, folder] => back_up(&Repository::open(open(folder)?).await?, file).await?,
        ["read", folder] => read_back(&Repository::open(open(folder)?).await?).await?,
        _ => return Err("usage: throughput init FOLDER | write FILE FOLDER | read FOLDER".into()),
    }
    Ok(())
}
