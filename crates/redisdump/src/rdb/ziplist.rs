//! Ziplists: the packed lists before Redis 7.0; `ziplist.c`.

use super::error::Problem;
use super::text::Text;

const BAD: Problem = Problem::Item("a ziplist is damaged");

/// Reads the entries of one ziplist.
#[derive(Debug, Clone)]
pub(crate) struct Ziplist<'a> {
    rest: &'a [u8],
    /// Bytes of the whole, its end mark left out.
    length: usize,
    /// Where the last entry begins, as the header states it.
    tail: usize,
    /// Where the entry begins that was read last, and how long it is.
    last: (usize, usize),
    odd: bool,
    /// Entries that the header states and that were not read yet; nothing when the header does not state them.
    left: Option<u16>,
}

impl<'a> Ziplist<'a> {
    /// Checks the frame: stated size, end mark.
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
        Ok(Ziplist { rest, length, tail, last: (0, 0), odd: tail > length, left })
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
            self.odd |= self.last.1 > 0 && self.last.0 != self.tail;
            return if self.left.is_none_or(|left| left == 0) { Ok(None) } else { Err(BAD) };
        }
        let begin = self.length - self.rest.len();
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1).ok_or(BAD)?;
        }
        // The length of the entry before: one byte, or 0xfe and four more.
        self.odd |= match self.array::<1>()? {
            [0xfe] => u32::from_le_bytes(self.array()?) as usize != self.last.1,
            // The mark of the end: whoever meets it here goes no further.
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

    /// Whether what was read so far cannot be read backwards. It does not hinder reading forwards, and servers before 7.0
    /// do not notice it before they try.
    pub(crate) fn is_odd(&self) -> bool {
        self.odd
    }
}
