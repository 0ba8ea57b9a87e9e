//! Zipmaps: small hashes before Redis 2.6; `zipmap.c`.

use super::error::Problem;

const BAD: Problem = Problem::Item("a zipmap is damaged");

/// A field and its value.
pub(crate) type Pair<'a> = (&'a [u8], &'a [u8]);

/// Reads the fields of one zipmap.
#[derive(Debug, Clone)]
pub(crate) struct Zipmap<'a> {
    rest: &'a [u8],
}

impl<'a> Zipmap<'a> {
    /// Skips the count, which is not kept beyond 253, and checks the end mark.
    pub(crate) fn new(data: &'a [u8]) -> Result<Self, Problem> {
        let (_count, rest) = data.split_first().ok_or(BAD)?;
        match rest.split_last() {
            Some((0xff, rest)) => Ok(Zipmap { rest }),
            _ => Err(BAD),
        }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Problem> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(BAD)?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Problem> {
        let (&byte, rest) = self.rest.split_first().ok_or(BAD)?;
        self.rest = rest;
        Ok(byte)
    }

    fn length(&mut self) -> Result<usize, Problem> {
        match self.byte()? {
            254 => {
                let (&len, rest) = self.rest.split_first_chunk::<4>().ok_or(BAD)?;
                self.rest = rest;
                Ok(u32::from_le_bytes(len) as usize)
            }
            255 => Err(BAD),
            len => Ok(usize::from(len)),
        }
    }

    /// The next field and its value.
    pub(crate) fn next(&mut self) -> Result<Option<Pair<'a>>, Problem> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let len = self.length()?;
        let field = self.take(len)?;
        let len = self.length()?;
        let free = self.byte()?;
        let value = self.take(len)?;
        self.take(usize::from(free))?;
        Ok(Some((field, value)))
    }
}
