//! Strings in the encodings of RDB and its packed lists.

use std::io::Write as _;

use super::error::Problem;
use super::lzf;

/// An encoded string; [`Text::bytes`] decodes it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Text<'a> {
    /// Unencoded.
    Bytes(&'a [u8]),
    /// A decimal number.
    Int(i64),
    /// Compressed with LZF.
    Packed {
        /// The compressed bytes.
        packed: &'a [u8],
        /// The length of the string.
        len: usize,
    },
}

impl<'a> Text<'a> {
    /// The string's bytes: borrowed if unencoded, otherwise decoded into `scratch`.
    #[inline]
    pub(crate) fn bytes<'s>(self, scratch: &'s mut Vec<u8>) -> Result<&'s [u8], Problem>
    where
        'a: 's,
    {
        match self {
            Text::Bytes(bytes) => Ok(bytes),
            Text::Int(n) => {
                scratch.clear();
                // Writing to a vector does not fail.
                let _ = write!(scratch, "{n}");
                Ok(scratch)
            }
            Text::Packed { packed, len } => {
                lzf::expand(packed, len, scratch)?;
                Ok(scratch)
            }
        }
    }

    /// The value of a string that is a decimal integer.
    pub(crate) fn integer(self) -> Result<i64, Problem> {
        const BAD: Problem = Problem::Item("a number in a packed list is invalid");
        match self {
            Text::Int(n) => Ok(n),
            Text::Bytes(bytes) => std::str::from_utf8(bytes).ok().and_then(|s| s.parse().ok()).ok_or(BAD),
            Text::Packed { .. } => Err(BAD),
        }
    }

    /// The value of a string that is a score.
    pub(crate) fn score(self) -> Result<f64, Problem> {
        match self {
            #[allow(
                clippy::cast_precision_loss,
                reason = "the server reads integer scores into doubles the same way"
            )]
            Text::Int(n) => Ok(n as f64),
            Text::Bytes(bytes) => parse_score(bytes),
            Text::Packed { .. } => Err(Problem::Item("a score in a packed list is not a number")),
        }
    }
}

/// Parses a score as printed by servers, which reject `nan` too.
pub(crate) fn parse_score(bytes: &[u8]) -> Result<f64, Problem> {
    let score: Option<f64> = std::str::from_utf8(bytes).ok().and_then(|s| s.trim().parse().ok());
    match score {
        Some(score) if !score.is_nan() => Ok(score),
        _ => Err(Problem::Item("a sorted set's score is not a number")),
    }
}
