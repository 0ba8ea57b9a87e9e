//! Memory of an export of giant values: a test binary of its own, because other tests would distort the measurement.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use futures::TryStreamExt as _;
use redisdump::convert::commands::Target;
use redisdump::convert::export::{Export, ExportOptions, Format};

/// A string of 300 MB, and a list of the same size, are exported as RESTORE commands without being held in memory.
#[tokio::test]
async fn giants_are_exported_in_little_memory() {
    const PIECE: usize = 1 << 20;
    const PIECES: usize = 300;
    let before = resident();
    let length = (PIECE * PIECES) as u32;
    let string = [b"REDIS0009\xfe\0\0\x01s\x80".as_slice(), &length.to_be_bytes()].concat();
    // A list of 75,000 items of 4,096 bytes each: 0x5000 is a length of two bytes.
    let list = [b"\x01\x01l\x80".as_slice(), &75_000_u32.to_be_bytes()].concat();
    let item = [&[0x50, 0][..], &[b'x'; 4096]].concat();
    let end = b"\xff\0\0\0\0\0\0\0\0".to_vec();
    let pieces = std::iter::once(string)
        .chain((0..PIECES).map(|_| vec![b'y'; PIECE]))
        .chain(std::iter::once(list))
        .chain((0..750).map(move |_| item.repeat(100)))
        .chain(std::iter::once(end));
    let pieces =
        futures::stream::iter(pieces.map(|piece| Ok::<_, std::io::Error>(bytes::Bytes::from(piece))));
    let settings = ExportOptions::new(Format::Restore, Target::redis(7, 0));
    let mut export = Export::new(pieces, settings);
    let (mut bytes, mut tail) = (0_u64, Vec::new());
    while let Some(piece) = export.try_next().await.unwrap() {
        bytes += piece.len() as u64;
        tail.extend_from_slice(&piece[piece.len().saturating_sub(200)..]);
        tail.drain(..tail.len().saturating_sub(200));
    }
    assert!(bytes > 600_000_000 && export.report().unwrap().keys == 2, "{bytes}");
    // Made under another name, so that a key that is there stays.
    assert!(String::from_utf8_lossy(&tail).contains("RENAMENX"));
    let grown = resident().saturating_sub(before);
    assert!(grown < 64, "it took {grown} MiB");
}

/// The most memory that this process has had, in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
