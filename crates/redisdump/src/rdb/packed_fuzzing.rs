//! Entry points for fuzzing each packed encoding.

use super::cursor::Cursor;
use super::error::Problem;
use super::listpack::Listpack;
use super::lzf::{Expanded, Expander};
use super::text::Text;
use super::value::ValueType;
use super::ziplist::Ziplist;
use super::zipmap::Zipmap;

/// Reads all entries of a packed list in every way.
fn entries<'a>(mut next: impl FnMut() -> Result<Option<Text<'a>>, Problem>) {
    let mut scratch = Vec::new();
    while let Ok(Some(text)) = next() {
        let _ = (text.bytes(&mut scratch), text.integer(), text.score());
    }
}

/// A listpack.
pub fn listpack(data: &[u8]) {
    if let Ok(mut list) = Listpack::new(data) {
        entries(|| list.next());
    }
}

/// A ziplist.
pub fn ziplist(data: &[u8]) {
    if let Ok(mut list) = Ziplist::new(data) {
        entries(|| list.next());
    }
}

/// An intset.
pub fn intset(data: &[u8]) {
    let mut members = 0_usize;
    if super::intset::each(data, |_| members += 1).is_ok() {
        assert!(members * 2 <= data.len(), "more members than bytes");
    }
}

/// A zipmap.
pub fn zipmap(data: &[u8]) {
    if let Ok(mut map) = Zipmap::new(data) {
        while let Ok(Some(_)) = map.next() {}
    }
}

/// An LZF-compressed string after its claimed length (four bytes).
pub fn lzf(data: &[u8]) {
    let Some((len, packed)) = data.split_first_chunk::<4>() else { return };
    let len = u32::from_le_bytes(*len) as usize;
    let mut out = Vec::new();
    let expanded = super::lzf::expand(packed, len, &mut out);
    assert!(out.capacity() <= packed.len().saturating_mul(300) + 64, "more memory than the bytes can fill");
    assert!(expanded.is_err() || out.len() == len, "the length differs from the claimed one");
    // Decompression in parts must give the same string or fail too.
    let (mut at, mut there, mut parts) = (0, 0, Vec::new());
    let Ok(mut expander) = Expander::new(packed.len() as u64, len as u64) else {
        return assert!(expanded.is_err(), "refused in parts");
    };
    let outcome = loop {
        match expander.step(packed.get(at..there).unwrap_or_default()) {
            Ok(Expanded::Part(used, part)) => {
                at += used;
                parts.extend_from_slice(part);
            }
            Ok(Expanded::More(_)) => there = (there + 1 + at % 61).min(packed.len()),
            Ok(Expanded::Done) => break Ok(()),
            Err(problem) => break Err(problem),
        }
    };
    assert_eq!(outcome, expanded, "otherwise in parts");
    assert!(outcome.is_err() || parts == out, "another string in parts");
}

/// The decoded packed list of a raw value, if it is one.
pub fn blob(value_type: ValueType, raw: &[u8]) -> Option<Vec<u8>> {
    if !matches!(value_type.code(), 9..=13 | 16 | 17 | 20) {
        return None;
    }
    let mut scratch = Vec::new();
    Cursor::new(raw).text().ok()?.bytes(&mut scratch).ok().map(<[u8]>::to_vec)
}
