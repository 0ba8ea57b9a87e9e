//! Values of modules since 4.0 GA: tagged pieces, which can be skipped without the module.

use super::cursor::{Cursor, Stop};
use super::error::Problem;

/// Reads one piece; true for the end mark.
pub(crate) fn piece(cursor: &mut Cursor<'_>) -> Result<bool, Stop> {
    match cursor.count()? {
        0 => return Ok(true),
        1 | 2 => {
            cursor.count()?;
        }
        3 => {
            cursor.array::<4>()?;
        }
        4 => {
            cursor.array::<8>()?;
        }
        5 => {
            cursor.text()?;
        }
        _ => return Err(Problem::Item("a module's value has an unknown piece").into()),
    }
    Ok(false)
}

/// A piece of a module's value.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece<'a> {
    /// The value has ended.
    End,
    /// A number, signed or not.
    Number(u64),
    /// A string.
    Text(&'a [u8]),
    /// Something else.
    Other,
}

/// Decodes a complete piece.
pub(crate) fn read<'a>(raw: &'a [u8], scratch: &'a mut Vec<u8>) -> Piece<'a> {
    try_read(raw, scratch).unwrap_or(Piece::Other)
}

fn try_read<'a>(raw: &'a [u8], scratch: &'a mut Vec<u8>) -> Result<Piece<'a>, Stop> {
    let mut cursor = Cursor::new(raw);
    Ok(match cursor.count()? {
        0 => Piece::End,
        1 | 2 => Piece::Number(cursor.count()?),
        5 => Piece::Text(cursor.text()?.bytes(scratch)?),
        _ => Piece::Other,
    })
}

/// The length of module metadata at the front of a `DUMP` payload, including the opcode; `None` if its end is not among
/// these bytes.
pub(crate) fn metadata(bytes: &[u8]) -> Result<Option<usize>, Problem> {
    let mut cursor = Cursor::new(bytes);
    let mut all = || {
        cursor.u8()?;
        for _ in 0..cursor.count()? {
            cursor.array::<4>()?;
            while !piece(&mut cursor)? {}
        }
        Ok(())
    };
    match all() {
        Ok(()) => Ok(Some(cursor.position())),
        Err(Stop::More(_)) => Ok(None),
        Err(Stop::Bad(problem)) => Err(problem),
    }
}

/// The name of a module type: nine characters of six bits each; the low ten bits are its encoding version.
pub fn name(id: u64) -> String {
    const CHARSET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9)
        .map(|at| {
            let index = (id >> (58 - 6 * at)) & 0x3f;
            CHARSET.get(usize::try_from(index).unwrap_or_default()).copied().map_or('?', char::from)
        })
        .collect()
}
