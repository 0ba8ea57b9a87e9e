//! Zipmaps: small hashes before Redis 2.6 (`zipmap.c`).

use super::error::Problem;

const BAD: Problem = Problem::Item("a zipmap is damaged");

/// A field and its value.
pub(crate) type Pair<'a> = (&'a [u8], &'a [u8]);

/// Reads the fields of a zipmap.
#[derive(Debug, Clone)]
pub(crate) struct Zipmap<'a> {
    rest: &'a [u8],
    /// Number of fields by the header; `None` if there are too many for it.
    stated: Option<u8>,
    /// Number of read fields.
    read: usize,
}

impl<'a> Zipmap<'a> {
    /// Checks the end mark.
    pub(crate) fn new(data: &'a [u8]) -> Result<Self, Problem> {
        let (&count, rest) = data.split_first().ok_or(BAD)?;
        match rest.split_last() {
            Some((0xff, rest)) => Ok(Zipmap { rest, stated: (count != 254).then_some(count), read: 0 }),
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

    /// Whether the header states a different number of fields than were read: a fault if true at the end.
    pub(crate) fn has_broken_links(&self) -> bool {
        self.stated.is_some_and(|stated| usize::from(stated) != self.read)
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
        self.read += 1;
        Ok(Some((field, value)))
    }
}
