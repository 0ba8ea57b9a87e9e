//! Listpacks: the packed lists of Redis 5.0 (streams) and 7.0 (everything small); `listpack.c`.

use super::error::Problem;
use super::text::Text;

const BAD: Problem = Problem::Item("a listpack is damaged");

/// Reads the entries of one listpack.
#[derive(Debug, Clone)]
pub(crate) struct Listpack<'a> {
    rest: &'a [u8],
    odd: bool,
    /// Entries that the header states and that were not read yet; nothing when the header does not state them.
    left: Option<u16>,
}

impl<'a> Listpack<'a> {
    /// Checks the frame: stated size, end mark.
    pub(crate) fn new(data: &'a [u8]) -> Result<Self, Problem> {
        let (&size, rest) = data.split_first_chunk::<4>().ok_or(BAD)?;
        let (&count, rest) = rest.split_first_chunk::<2>().ok_or(BAD)?;
        let (&end, rest) = rest.split_last().ok_or(BAD)?;
        if u32::from_le_bytes(size) as usize != data.len() || end != 0xff {
            return Err(BAD);
        }
        let count = u16::from_le_bytes(count);
        Ok(Listpack { rest, odd: false, left: (count != u16::MAX).then_some(count) })
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
        // The entry's own length follows, in groups of seven bits, so that it can be read backwards.
        let length = before - self.rest.len();
        let width = match length {
            0..=127 => 1,
            128..=16_382 => 2,
            16_383..=2_097_150 => 3,
            2_097_151..=268_435_454 => 4,
            _ => 5,
        };
        self.take(width)?;
        self.odd |= !ends_with(entry.get(..length + width).unwrap_or_default(), length);
        Ok(Some(text))
    }

    /// Whether what was read so far cannot be read backwards. No server notices it before it tries.
    pub(crate) fn is_odd(&self) -> bool {
        self.odd
    }

    /// The next entry, which must be there.
    #[inline]
    pub(crate) fn expect(&mut self) -> Result<Text<'a>, Problem> {
        self.next()?.ok_or(BAD)
    }

    /// The next entry, which must be there and be a number.
    pub(crate) fn integer(&mut self) -> Result<i64, Problem> {
        self.expect()?.integer()
    }
}

/// Whether these bytes end with this length as whoever comes from behind reads it: the high bit says that there is more
/// of it before.
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
