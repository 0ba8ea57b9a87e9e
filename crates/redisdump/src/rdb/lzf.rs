//! LZF, as Redis compresses strings of more than 20 bytes (`lzf_d.c`).

use super::error::Problem;

/// The longest run that three compressed bytes can stand for: what a claimed length is held against before anything
/// is allocated.
const EXPANSION: usize = 264;

/// Expands `packed` into `out` (cleared first), which must come out as exactly `len` bytes.
pub(crate) fn expand(packed: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), Problem> {
    const BAD: Problem = Problem::Item("a compressed string does not expand to its stated length");
    out.clear();
    if len > packed.len().saturating_mul(EXPANSION) {
        return Err(BAD);
    }
    out.reserve(len);
    let mut input = packed;
    while let Some((&control, rest)) = input.split_first() {
        input = rest;
        let control = usize::from(control);
        if control < 32 {
            let (literal, rest) = input.split_at_checked(control + 1).ok_or(BAD)?;
            out.extend_from_slice(literal);
            input = rest;
        } else {
            let mut run = control >> 5;
            if run == 7 {
                let (&more, rest) = input.split_first().ok_or(BAD)?;
                run += usize::from(more);
                input = rest;
            }
            let (&low, rest) = input.split_first().ok_or(BAD)?;
            input = rest;
            let back = ((control & 0x1f) << 8) + usize::from(low) + 1;
            let from = out.len().checked_sub(back).ok_or(BAD)?;
            let run = run + 2;
            if out.len() + run > len {
                return Err(BAD);
            }
            if back >= run {
                out.extend_from_within(from..from + run);
            } else {
                // The run overlaps what it writes: the period repeats.
                let mut left = run;
                while left > 0 {
                    let piece = left.min(out.len() - from);
                    out.extend_from_within(from..from + piece);
                    left -= piece;
                }
            }
        }
        if out.len() > len {
            return Err(BAD);
        }
    }
    if out.len() == len { Ok(()) } else { Err(BAD) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_runs_and_overlaps() {
        let mut out = Vec::new();
        // "ab", then 9 bytes from two back: the period repeats.
        expand(&[1, b'a', b'b', 0xe0, 0, 1], 11, &mut out).unwrap();
        assert_eq!(out, b"abababababa");
        expand(&[], 0, &mut out).unwrap();
        assert!(out.is_empty());
    }

    #[test]
    fn lies_are_refused_without_allocating() {
        let mut out = Vec::new();
        assert!(expand(&[0, b'a'], usize::MAX, &mut out).is_err());
        assert!(out.capacity() < 4096);
        assert!(expand(&[0x20, 0], 3, &mut out).is_err(), "a reference before the beginning");
        assert!(expand(&[5, b'a'], 6, &mut out).is_err(), "a literal that is cut off");
        assert!(expand(&[0, b'a'], 2, &mut out).is_err(), "too short");
        assert!(expand(&[1, b'a', b'b'], 1, &mut out).is_err(), "too long");
    }
}
