//! Shared code of the tests: small repositories, and reproducible bytes.
#![allow(dead_code)]

pub(crate) mod drive;
pub(crate) mod sim;

use chrono::Utc;
use futures::{StreamExt as _, TryStreamExt as _};
use repository::{
    Chunker, Error, InitOptions, Manifest, PartHeader, Repository, SnapshotStart, SnapshotWriter,
    SourceRecord, Store, StoreEnv,
};
use sha2::Digest as _;

/// Small chunks, so that little data yields many.
pub(crate) fn small() -> InitOptions {
    InitOptions {
        chunker: Chunker { min: 1 << 10, average: 4 << 10, max: 16 << 10 },
        ..InitOptions::default()
    }
}

/// A repository in a folder of its own.
pub(crate) async fn folder(options: InitOptions) -> (tempfile::TempDir, Repository) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("repo").to_str().unwrap(), &StoreEnv::default()).unwrap();
    let repo = Repository::init(store, &options).await.unwrap();
    (dir, repo)
}

/// Bytes that look random and are always the same.
pub(crate) fn data(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    })
    .take(len)
    .collect()
}

/// The same bytes with one bit flipped.
pub(crate) fn flip(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut flipped = bytes.to_vec();
    let at = bit / 8 % flipped.len();
    flipped[at] ^= 1 << (bit % 8);
    flipped
}

/// Begins a snapshot of a series.
pub(crate) async fn begin(repo: &Repository, job: &str) -> SnapshotWriter {
    repo.begin(SnapshotStart::new(job, Utc::now(), "test 1")).await.unwrap()
}

/// Tries to take one snapshot of these parts, written at the same time.
pub(crate) async fn try_snapshot(
    repo: &Repository,
    job: &str,
    parts: &[(&str, &[u8])],
) -> Result<Manifest, Error> {
    let writer = repo.begin(SnapshotStart::new(job, Utc::now(), "test 1")).await?;
    let written = futures::future::try_join_all(parts.iter().map(|(name, bytes)| {
        let messages: Vec<_> =
            bytes.chunks(1000).map(|m| Ok::<_, std::io::Error>(m.to_vec().into())).collect();
        writer.write_part(PartHeader::new(*name, "test"), futures::stream::iter(messages))
    }))
    .await?;
    let source = SourceRecord {
        name: "source".into(),
        kind: "test".into(),
        server: serde_json::Value::Null,
        details: serde_json::Value::Null,
        parts: written,
    };
    writer.commit(vec![source], true).await
}

pub(crate) async fn write_snapshot(repo: &Repository, job: &str, parts: &[(&str, &[u8])]) -> Manifest {
    try_snapshot(repo, job, parts).await.unwrap()
}

/// A document whose text was changed manually, with a matching last line.
pub(crate) fn reseal(document: &str) -> String {
    let (text, _) = document.trim_end().rsplit_once('\n').unwrap();
    let text = format!("{text}\n");
    let hash: String = sha2::Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{text}{{\"sha256\":\"{hash}\"}}\n")
}

/// A part's bytes.
pub(crate) async fn read(repo: &Repository, manifest: &Manifest, name: &str) -> Result<Vec<u8>, Error> {
    let (_, part) = manifest.parts().find(|(_, part)| part.name == name).unwrap();
    let pieces: Vec<_> = repo.read_part(part).boxed().try_collect().await?;
    Ok(pieces.concat())
}

/// Whether a time recorded by a store matches. Its clock is coarser: S3 counts seconds.
pub(crate) fn is_about(
    found: Option<chrono::DateTime<chrono::Utc>>,
    moment: chrono::DateTime<chrono::Utc>,
) -> bool {
    found.is_some_and(|found| (found - moment).abs() < chrono::TimeDelta::seconds(2))
}
