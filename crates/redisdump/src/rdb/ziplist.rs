//! Ziplists: the packed lists before Redis 7.0 (`ziplist.c`).

use super::error::Problem;
use super::text::Text;

const BAD: Problem = Problem::Item("a ziplist is damaged");

/// Reads the entries of a ziplist.
#[derive(Debug, Clone)]
pub(crate) struct Ziplist<'a> {
    rest: &'a [u8],
    /// Total size in bytes without the end mark.
    length: usize,
    /// The offset of the last entry by the header.
    tail: usize,
    /// The offset and length of the last read entry.
    last: (usize, usize),
    broken_links: bool,
    /// Number of unread entries by the header; `None` if the header does not state it.
    left: Option<u16>,
}

impl<'a> Ziplist<'a> {
    /// Checks the frame: total size and end mark.
    pub(crate) fn new(data: &'a [u8]) -> Result<Self, Problem> {
        let (&size, rest) = data.split_first_chunk::<4>().ok_or(BAD)?;
        let (&tail, rest) = rest.split_first_chunk::<4>().ok_or(BAD)?;
        let (&count, rest) = rest.split_first_chunk::<2>().ok_or(BAD)?;
        let (&end, rest) = rest.split_last().ok_or(BAD)?;
        if u32::from_le_bytes(size) as usize != data.len() || end != 0xff {
            return Err(BAD);
        }
        let count = u16::from_le_bytes(count);
        let (length, tail) = (data.len() - 1, u32::from_le_bytes(tail) as usize);
        let left = (count != u16::MAX).then_some(count);
        Ok(Ziplist { rest, length, tail, last: (0, 0), broken_links: tail > length, left })
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
    pub(crate) fn next(&mut self) -> Result<Option<Text<'a>>, Problem> {
        if self.rest.is_empty() {
            self.broken_links |= self.last.1 > 0 && self.last.0 != self.tail;
            return if self.left.is_none_or(|left| left == 0) { Ok(None) } else { Err(BAD) };
        }
        let begin = self.length - self.rest.len();
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1).ok_or(BAD)?;
        }
        // The length of the previous entry: one byte, or 0xfe and four more.
        self.broken_links |= match self.array::<1>()? {
            [0xfe] => u32::from_le_bytes(self.array()?) as usize != self.last.1,
            // The end mark.
            [0xff] => true,
            [before] => usize::from(before) != self.last.1,
        };
        let [first] = self.array()?;
        let text = match first {
            0x00..=0x3f => Text::Bytes(self.take(usize::from(first))?),
            0x40..=0x7f => {
                let [low] = self.array()?;
                Text::Bytes(self.take(usize::from(first & 0x3f) << 8 | usize::from(low))?)
            }
            0x80 => {
                let len = u32::from_be_bytes(self.array()?);
                Text::Bytes(self.take(len as usize)?)
            }
            0xc0 => Text::Int(i64::from(i16::from_le_bytes(self.array()?))),
            0xd0 => Text::Int(i64::from(i32::from_le_bytes(self.array()?))),
            0xe0 => Text::Int(i64::from_le_bytes(self.array()?)),
            0xf0 => {
                let [a, b, c] = self.array()?;
                Text::Int(i64::from(i32::from_le_bytes([0, a, b, c]) >> 8))
            }
            0xf1..=0xfd => Text::Int(i64::from(first & 0x0f) - 1),
            0xfe => Text::Int(i64::from(i8::from_le_bytes(self.array()?))),
            _ => return Err(BAD),
        };
        self.last = (begin, self.length - self.rest.len() - begin);
        Ok(Some(text))
    }

    /// Whether the entries read so far cannot be traversed backwards, which does not prevent forward reading. Servers
    /// before 7.0 notice it only when they try.
    pub(crate) fn has_broken_links(&self) -> bool {
        self.broken_links
    }
}
