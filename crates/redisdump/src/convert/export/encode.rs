//! Writes RDB encodings: lengths, strings, ziplists.

use crate::rdb::StreamId;

/// Appends a length.
#[inline]
pub(super) fn length(out: &mut Vec<u8>, n: u64) {
    match (u8::try_from(n), u32::try_from(n)) {
        (Ok(n), _) if n < 1 << 6 => out.push(n),
        (_, Ok(n)) if n < 1 << 14 => {
            let [.., high, low] = n.to_be_bytes();
            out.extend_from_slice(&[0x40 | high, low]);
        }
        (_, Ok(n)) => {
            out.push(0x80);
            out.extend_from_slice(&n.to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&n.to_be_bytes());
        }
    }
}

/// Appends an uncompressed string.
#[inline]
pub(super) fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    length(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a stream id as two lengths.
pub(super) fn id(out: &mut Vec<u8>, id: StreamId) {
    length(out, id.ms);
    length(out, id.seq);
}

/// Reserves five bytes for a length that is set later by [`patch`].
pub(super) fn placeholder(out: &mut Vec<u8>) -> usize {
    let at = out.len();
    out.extend_from_slice(&[0x80, 0, 0, 0, 0]);
    at
}

/// Sets a reserved length; false if it does not fit.
pub(super) fn patch(out: &mut [u8], at: usize, n: u64) -> bool {
    let room = out
        .get_mut(at..)
        .and_then(|rest| rest.split_first_mut())
        .and_then(|(_, rest)| rest.first_chunk_mut());
    match (room, u32::try_from(n)) {
        (Some(room), Ok(n)) => {
            *room = n.to_be_bytes();
            true
        }
        _ => false,
    }
}

/// A ziplist of strings (`ziplist.c`), for lists of servers before 7.0.
#[derive(Debug, Default)]
pub(super) struct Ziplist {
    entries: Vec<u8>,
    count: u64,
    /// Offset and length of the last entry.
    last: (usize, usize),
}

impl Ziplist {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let start = self.entries.len();
        let (_, before) = self.last;
        match u8::try_from(before) {
            Ok(before) if before < 254 => self.entries.push(before),
            _ => {
                self.entries.push(254);
                self.entries.extend_from_slice(&u32::try_from(before).unwrap_or(u32::MAX).to_le_bytes());
            }
        }
        match u32::try_from(bytes.len()).unwrap_or(u32::MAX) {
            len @ 0..=0x3f => self.entries.extend(u8::try_from(len)),
            len @ 0x40..=0x3fff => {
                let [.., high, low] = len.to_be_bytes();
                self.entries.extend_from_slice(&[0x40 | high, low]);
            }
            len => {
                self.entries.push(0x80);
                self.entries.extend_from_slice(&len.to_be_bytes());
            }
        }
        self.entries.extend_from_slice(bytes);
        self.count += 1;
        self.last = (start, self.entries.len() - start);
    }

    /// Appends the ziplist as an RDB string and resets it. False if it exceeds its own header.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> bool {
        const HEADER: usize = 10;
        let total = self.entries.len() + HEADER + 1;
        let (Ok(bytes), Ok(tail)) = (u32::try_from(total), u32::try_from(HEADER + self.last.0)) else {
            return false;
        };
        length(out, total as u64);
        out.extend_from_slice(&bytes.to_le_bytes());
        out.extend_from_slice(&tail.to_le_bytes());
        out.extend_from_slice(&u16::try_from(self.count).unwrap_or(u16::MAX).to_le_bytes());
        out.append(&mut self.entries);
        out.push(0xff);
        *self = Ziplist { entries: std::mem::take(&mut self.entries), ..Ziplist::default() };
        self.entries.shrink_to(1 << 20);
        true
    }
}
