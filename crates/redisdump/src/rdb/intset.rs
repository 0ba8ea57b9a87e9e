//! Intsets: small sets of integers (`intset.c`).

use super::error::Problem;

const BAD: Problem = Problem::Item("an intset is damaged");

/// Calls `each` with every member; returns whether they are in ascending order, as servers rely on.
pub(crate) fn each(data: &[u8], mut each: impl FnMut(i64)) -> Result<bool, Problem> {
    let (&width, rest) = data.split_first_chunk::<4>().ok_or(BAD)?;
    let (&count, rest) = rest.split_first_chunk::<4>().ok_or(BAD)?;
    let width = u32::from_le_bytes(width) as usize;
    if (u32::from_le_bytes(count) as usize).checked_mul(width) != Some(rest.len()) {
        return Err(BAD);
    }
    let (mut last, mut ascending) = (None, true);
    let mut each = |n: i64| {
        ascending &= last.is_none_or(|last| last < n);
        last = Some(n);
        each(n);
    };
    match width {
        2 => rest.as_chunks().0.iter().for_each(|n| each(i64::from(i16::from_le_bytes(*n)))),
        4 => rest.as_chunks().0.iter().for_each(|n| each(i64::from(i32::from_le_bytes(*n)))),
        8 => rest.as_chunks().0.iter().for_each(|n| each(i64::from_le_bytes(*n))),
        _ => return Err(BAD),
    }
    Ok(ascending)
}
