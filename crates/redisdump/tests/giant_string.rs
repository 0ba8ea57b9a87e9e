//! Memory of a long compressed string: a test binary of its own, because other tests would distort the measurement.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use redisdump::rdb::{Elements, Reader, Visitor};

#[derive(Default)]
struct Parts {
    bytes: u64,
    longest: usize,
    raw: u64,
}

impl Elements for Parts {
    fn long_part(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.longest = self.longest.max(bytes.len());
    }
}

impl Visitor for Parts {
    fn raw(&mut self, bytes: &[u8]) {
        self.raw += bytes.len() as u64;
    }
}

/// A string of half a gigabyte of one letter is six megabytes in the file, and no more in memory.
#[test]
fn a_giant_value_is_not_held_in_memory() {
    const RUNS: usize = 2_000_000;
    let mut rdb = b"REDIS0009\x00\x01k\xc3".to_vec();
    let packed = [&[0, b'a'][..], &[0xff - 0x1f, 255, 0].repeat(RUNS)].concat();
    let length = 1 + RUNS as u64 * 264;
    for n in [packed.len() as u64, length] {
        rdb.push(0x81);
        rdb.extend_from_slice(&n.to_be_bytes());
    }
    rdb.extend_from_slice(&packed);
    rdb.extend_from_slice(b"\xff\0\0\0\0\0\0\0\0");
    let before = resident();
    let (mut reader, mut parts) = (Reader::new(), Parts::default());
    for piece in rdb.chunks(64 << 10) {
        reader.feed(piece, &mut parts).unwrap();
    }
    reader.finish().unwrap();
    assert_eq!((parts.bytes, parts.longest <= 66_000), (length, true));
    assert!(parts.raw > packed.len() as u64 && parts.raw < packed.len() as u64 + 20);
    let grown = resident().saturating_sub(before);
    assert!(grown < 16, "it took {grown} MiB");
}

/// The most memory that this process has had, in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
