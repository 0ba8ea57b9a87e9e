//! LZF, with which Redis compresses strings of more than 20 bytes (`lzf_d.c`): decompressed at once, or in parts as
//! compressed bytes arrive.

use super::cursor::Stop;
use super::error::Problem;

/// The longest run that three compressed bytes can encode: the limit for claimed lengths before allocation.
const EXPANSION: usize = 264;

const BAD: Problem = Problem::Item("a compressed string does not decompress to its stated length");

/// Decompresses `packed` into `out` (cleared first), which must result in exactly `len` bytes.
pub(crate) fn expand(packed: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), Problem> {
    /// Initial allocation for a claimed length; beyond it, memory grows with decompressed data.
    const TRUSTED: usize = 64 << 10;
    out.clear();
    if len > packed.len().saturating_mul(EXPANSION) {
        return Err(BAD);
    }
    out.reserve_exact(len.min(TRUSTED));
    let mut input = packed;
    while let Some((&control, rest)) = input.split_first() {
        if out.capacity() - out.len() < EXPANSION {
            out.reserve_exact(len.saturating_sub(out.len()).min(out.len().max(TRUSTED)));
        }
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
            repeat(out, from, run);
        }
        if out.len() > len {
            return Err(BAD);
        }
    }
    if out.len() == len { Ok(()) } else { Err(BAD) }
}

/// Appends `run` bytes of `out` itself, starting at `from`, which is before its end.
#[inline]
fn repeat(out: &mut Vec<u8>, from: usize, run: usize) {
    if out.len() - from >= run {
        out.extend_from_within(from..from + run);
    } else {
        // The run overlaps its own output: the period repeats.
        let mut left = run;
        while left > 0 {
            let piece = left.min(out.len() - from);
            out.extend_from_within(from..from + piece);
            left -= piece;
        }
    }
}

/// Maximum distance of a back reference.
const WINDOW: usize = 8 << 10;
/// Approximate size of a decompressed part.
const PART: usize = 64 << 10;

/// Decompresses a string in parts, keeping only as much as back references can reach.
#[derive(Debug)]
pub(crate) struct Expander {
    /// Remaining compressed bytes.
    packed: u64,
    /// Remaining bytes of the string.
    left: u64,
    /// The end of the output so far.
    held: Vec<u8>,
}

/// The result of a step of an [`Expander`].
#[derive(Debug)]
pub(crate) enum Expanded<'a> {
    /// This many compressed bytes were decompressed to these.
    Part(usize, &'a [u8]),
    /// At least this many compressed bytes are required.
    More(usize),
    /// The string is complete.
    Done,
}

impl Expander {
    /// For `packed` compressed bytes that encode `len` bytes.
    pub(crate) fn new(packed: u64, len: u64) -> Result<Expander, Problem> {
        if len > packed.saturating_mul(EXPANSION as u64) {
            return Err(BAD);
        }
        Ok(Expander { packed, left: len, held: Vec::new() })
    }

    /// Continues with the available bytes. A fault is reported at the faulty code, after everything before it was
    /// decompressed, however the input was split.
    pub(crate) fn step(&mut self, input: &[u8]) -> Result<Expanded<'_>, Problem> {
        if self.packed == 0 {
            return if self.left == 0 { Ok(Expanded::Done) } else { Err(BAD) };
        }
        if self.held.len() > WINDOW + PART {
            self.held.drain(..self.held.len() - WINDOW);
        }
        let (before, mut used) = (self.held.len(), 0);
        while self.packed > 0 && self.held.len() - before < PART {
            match self.code(input.get(used..).unwrap_or_default()) {
                Ok(n) => used += n,
                Err(_) if used > 0 => break,
                Err(Stop::More(want)) => return Ok(Expanded::More(want)),
                Err(Stop::Bad(problem)) => return Err(problem),
            }
        }
        Ok(Expanded::Part(used, self.held.get(before..).unwrap_or_default()))
    }

    /// Decompresses one code; returns its length.
    #[inline]
    fn code(&mut self, input: &[u8]) -> Result<usize, Stop> {
        let control = usize::from(*input.first().ok_or(Stop::More(1))?);
        let need = match control >> 5 {
            0 => control + 2,
            7 => 3,
            _ => 2,
        };
        if need as u64 > self.packed {
            return Err(BAD.into());
        }
        let code = input.get(..need).ok_or(Stop::More(need))?;
        let bytes = if control < 32 { control + 1 } else { run(code) };
        self.left = self.left.checked_sub(bytes as u64).ok_or(BAD)?;
        if control < 32 {
            self.held.extend_from_slice(code.get(1..).unwrap_or_default());
        } else {
            let low = usize::from(code.last().copied().unwrap_or_default());
            let back = ((control & 0x1f) << 8) + low + 1;
            let from = self.held.len().checked_sub(back).ok_or(BAD)?;
            repeat(&mut self.held, from, bytes);
        }
        self.packed -= need as u64;
        Ok(need)
    }
}

/// The number of bytes that a run encodes.
#[inline]
fn run(code: &[u8]) -> usize {
    match *code {
        [control, more, _] => usize::from(control >> 5) + usize::from(more) + 2,
        [control, ..] => usize::from(control >> 5) + 2,
        [] => 0,
    }
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
    fn false_lengths_are_refused_without_allocating() {
        let mut out = Vec::new();
        assert!(expand(&[0, b'a'], usize::MAX, &mut out).is_err());
        assert!(out.capacity() < 4096);
        assert!(expand(&[0x20, 0], 3, &mut out).is_err(), "a reference before the beginning");
        assert!(expand(&[5, b'a'], 6, &mut out).is_err(), "a literal that is cut off");
        assert!(expand(&[0, b'a'], 2, &mut out).is_err(), "too short");
        assert!(expand(&[1, b'a', b'b'], 1, &mut out).is_err(), "too long");
    }

    /// Decompresses in steps of a given size: the output, and where it stopped.
    fn in_parts(packed: &[u8], len: usize, step: usize) -> (Result<(), Problem>, usize, Vec<u8>) {
        let (mut at, mut there, mut out) = (0, 0, Vec::new());
        let mut expander = match Expander::new(packed.len() as u64, len as u64) {
            Ok(expander) => expander,
            Err(problem) => return (Err(problem), 0, out),
        };
        loop {
            match expander.step(packed.get(at..there).unwrap()) {
                Ok(Expanded::Part(used, part)) => {
                    at += used;
                    out.extend_from_slice(part);
                }
                Ok(Expanded::More(_)) => there = (there + step).min(packed.len()),
                Ok(Expanded::Done) => return (Ok(()), at, out),
                Err(problem) => return (Err(problem), at, out),
            }
            assert!(expander.held.capacity() <= 2 * (WINDOW + 2 * PART + EXPANSION));
        }
    }

    #[test]
    fn parts_are_the_whole() {
        // Literals, then runs near and far, over and over: 2 MB.
        let mut packed: Vec<u8> = Vec::new();
        for n in 0..25_000_u32 {
            packed.push(7);
            packed.extend_from_slice(&u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
            if n > 1100 {
                packed.extend_from_slice(&[0xff, (n % 60) as u8, (n % 256) as u8]);
            }
            packed.extend_from_slice(&[0x40, 3]);
        }
        let mut whole = Vec::new();
        let length: usize = in_parts(&packed, packed.len() * 100, packed.len()).2.len();
        expand(&packed, length, &mut whole).unwrap();
        assert!(length > 1 << 20);
        for step in [1, 2, 3, 7, 61, 513, 70_000, packed.len()] {
            let (outcome, at, out) = in_parts(&packed, length, step);
            assert_eq!((outcome, at, out == whole), (Ok(()), packed.len(), true), "{step}");
        }
        // Damage is found at the same position.
        for at in (0..packed.len()).step_by(packed.len() / 17) {
            let mut damaged = packed.clone();
            damaged[at] ^= 0x35;
            let first = in_parts(&damaged, length, 1);
            assert!(
                first == in_parts(&damaged, length, 997)
                    && first.0.is_ok() == expand(&damaged, length, &mut whole).is_ok()
            );
        }
    }
}
