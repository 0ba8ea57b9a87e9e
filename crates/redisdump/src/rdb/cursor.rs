//! A position in incomplete data.
//!
//! Each read returns a value, the number of bytes that it needs at least (from the cursor's start), or a fault. A step
//! that lacks bytes is retried from its beginning once they have arrived.

use super::error::Problem;
use super::text::Text;

/// Why a step cannot be completed.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Bytes are missing; at least this many are needed, counted from the cursor's start.
    More(usize),
    /// The data is invalid.
    Bad(Problem),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Stop::Bad(problem)
    }
}

/// A length field of the RDB format.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Length {
    /// A count.
    Plain(u64),
    /// A string in a special encoding follows.
    Encoded(u8),
}

/// Reads from the front of a slice.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Cursor { data, at: 0 }
    }

    /// Number of bytes read.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    #[inline]
    pub(crate) fn take(&mut self, n: u64) -> Result<&'a [u8], Stop> {
        let n = usize::try_from(n).map_err(|_| Problem::Item("a length exceeds the address space"))?;
        let end = self.at.checked_add(n).ok_or(Problem::Item("a length exceeds the address space"))?;
        let taken = self.data.get(self.at..end).ok_or(Stop::More(end))?;
        self.at = end;
        Ok(taken)
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let rest = self.data.get(self.at..).unwrap_or_default();
        let found = rest.first_chunk::<N>().ok_or(Stop::More(self.at.saturating_add(N)))?;
        self.at += N;
        Ok(*found)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, Stop> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A signed time in milliseconds, little-endian.
    pub(crate) fn millis(&mut self) -> Result<i64, Stop> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn length(&mut self) -> Result<Length, Stop> {
        let first = self.u8()?;
        Ok(match first >> 6 {
            0 => Length::Plain(u64::from(first & 0x3f)),
            1 => Length::Plain(u64::from(first & 0x3f) << 8 | u64::from(self.u8()?)),
            2 if first == 0x80 => Length::Plain(u64::from(u32::from_be_bytes(self.array()?))),
            2 if first == 0x81 => Length::Plain(u64::from_be_bytes(self.array()?)),
            2 => return Err(Problem::Item("a length has an unknown encoding").into()),
            _ => Length::Encoded(first & 0x3f),
        })
    }

    /// A length field that must be a count.
    #[inline]
    pub(crate) fn count(&mut self) -> Result<u64, Stop> {
        match self.length()? {
            Length::Plain(n) => Ok(n),
            Length::Encoded(_) => Err(Problem::Item("found a string instead of a count").into()),
        }
    }

    /// A string in any encoding, not yet decoded.
    #[inline]
    pub(crate) fn text(&mut self) -> Result<Text<'a>, Stop> {
        Ok(match self.length()? {
            Length::Plain(n) => Text::Bytes(self.take(n)?),
            Length::Encoded(0) => Text::Int(i64::from(i8::from_le_bytes(self.array()?))),
            Length::Encoded(1) => Text::Int(i64::from(i16::from_le_bytes(self.array()?))),
            Length::Encoded(2) => Text::Int(i64::from(i32::from_le_bytes(self.array()?))),
            Length::Encoded(3) => {
                let packed = self.count()?;
                let len = self.count()?;
                let len =
                    usize::try_from(len).map_err(|_| Problem::Item("a length exceeds the address space"))?;
                Text::Packed { packed: self.take(packed)?, len }
            }
            Length::Encoded(_) => {
                return Err(Problem::Item("a string has an unknown encoding").into());
            }
        })
    }
}
