//! Listpacks: the packed lists of Redis 5.0 (streams) and 7.0 (all small collections); `listpack.c`.

use super::error::Problem;
use super::text::Text;

const BAD: Problem = Problem::Item("a listpack is damaged");

/// Reads the entries of a listpack.
#[derive(Debug, Clone)]
pub(crate) struct Listpack<'a> {
    rest: &'a [u8],
    broken_links: bool,
    /// Number of unread entries by the header; `None` if the header does not state it.
    left: Option<u16>,
}

impl<'a> Listpack<'a> {
    /// Checks the frame: total size and end mark.
    pub(crate) fn new(data: &'a [u8]) -> Result<Self, Problem> {
        let (&size, rest) = data.split_first_chunk::<4>().ok_or(BAD)?;
        let (&count, rest) = rest.split_first_chunk::<2>().ok_or(BAD)?;
        let (&end, rest) = rest.split_last().ok_or(BAD)?;
        if u32::from_le_bytes(size) as usize != data.len() || end != 0xff {
            return Err(BAD);
        }
        let count = u16::from_le_bytes(count);
        Ok(Listpack { rest, broken_links: false, left: (count != u16::MAX).then_some(count) })
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Problem> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(BAD)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let (&taken, rest) = self.rest.split_first_chunk::<N>().ok_or(BAD)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next entry.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Text<'a>>, Problem> {
        let Some(&first) = self.rest.first() else {
            return if self.left.is_none_or(|left| left == 0) { Ok(None) } else { Err(BAD) };
        };
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1).ok_or(BAD)?;
        }
        let (entry, before) = (self.rest, self.rest.len());
        self.take(1)?;
        let text = match first {
            0x00..=0x7f => Text::Int(i64::from(first)),
            0x80..=0xbf => Text::Bytes(self.take(usize::from(first & 0x3f))?),
            0xc0..=0xdf => {
                let [low] = self.array()?;
                let raw = i16::from(first & 0x1f) << 8 | i16::from(low);
                Text::Int(i64::from(if raw >= 1 << 12 { raw - (1 << 13) } else { raw }))
            }
            0xe0..=0xef => {
                let [low] = self.array()?;
                Text::Bytes(self.take(usize::from(first & 0x0f) << 8 | usize::from(low))?)
            }
            0xf0 => {
                let len = u32::from_le_bytes(self.array()?);
                Text::Bytes(self.take(len as usize)?)
            }
            0xf1 => Text::Int(i64::from(i16::from_le_bytes(self.array()?))),
            0xf2 => {
                let [a, b, c] = self.array()?;
                Text::Int(i64::from(i32::from_le_bytes([0, a, b, c]) >> 8))
            }
            0xf3 => Text::Int(i64::from(i32::from_le_bytes(self.array()?))),
            0xf4 => Text::Int(i64::from_le_bytes(self.array()?)),
            _ => return Err(BAD),
        };
        // The entry's length follows in groups of seven bits, for traversal backwards.
        let length = before - self.rest.len();
        let width = match length {
            0..=127 => 1,
            128..=16_382 => 2,
            16_383..=2_097_150 => 3,
            2_097_151..=268_435_454 => 4,
            _ => 5,
        };
        self.take(width)?;
        self.broken_links |= !ends_with(entry.get(..length + width).unwrap_or_default(), length);
        Ok(Some(text))
    }

    /// Whether the entries read so far cannot be traversed backwards. Servers notice it only when they try.
    pub(crate) fn has_broken_links(&self) -> bool {
        self.broken_links
    }

    /// The next entry, which must exist.
    #[inline]
    pub(crate) fn expect(&mut self) -> Result<Text<'a>, Problem> {
        self.next()?.ok_or(BAD)
    }

    /// The next entry, which must exist and be an integer.
    pub(crate) fn integer(&mut self) -> Result<i64, Problem> {
        self.expect()?.integer()
    }
}

/// Whether the bytes end with this length as encoded for traversal backwards: the high bit marks a continuation to the
/// left.
#[inline]
fn ends_with(entry: &[u8], length: usize) -> bool {
    let (mut stated, mut shift) = (0, 0);
    for byte in entry.iter().rev().take(5) {
        stated |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return stated == length;
        }
        shift += 7;
    }
    false
}
