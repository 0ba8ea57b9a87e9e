//! `DUMP` payloads: type byte, value, RDB version, checksum.
//!
//! A payload has no magic: versions from 80 on are Valkey's, those below are Redis' (and Valkey 8's).

use super::crc::{Crc64, crc64};
use super::error::Problem;
use super::value::Dialect;

/// Bytes after the value: two for the version, eight for the checksum.
pub const FOOTER: usize = 10;

/// The dialect of payloads with this version.
pub fn dialect(version: u16) -> Dialect {
    if version >= 80 { Dialect::Valkey } else { Dialect::Redis }
}

/// Appends the footer to `out`, whose bytes from `start` on are the payload so far: metadata of the key (if any), the
/// type byte and the raw value.
pub fn seal(out: &mut Vec<u8>, start: usize, version: u16) {
    out.extend_from_slice(&version.to_le_bytes());
    let crc = crc64(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&crc.to_le_bytes());
}

/// Splits a payload into its body (type byte and value) and its version.
///
/// # Errors
/// If the payload is too short or its checksum does not match (a stored zero means that none was computed).
pub fn open(payload: &[u8]) -> Result<(&[u8], u16), Problem> {
    let (rest, &crc) = payload.split_last_chunk::<8>().ok_or(Problem::Truncated)?;
    let (body, &version) = rest.split_last_chunk::<2>().ok_or(Problem::Truncated)?;
    check(crc64(rest), u64::from_le_bytes(crc))?;
    Ok((body, u16::from_le_bytes(version)))
}

/// Checks a payload's footer, after all other bytes have passed through `crc`; returns the version.
pub(crate) fn close(footer: &[u8], mut crc: Crc64) -> Result<u16, Problem> {
    let (&version, rest) = footer.split_first_chunk::<2>().ok_or(Problem::Truncated)?;
    let (&stored, _) = rest.split_first_chunk::<8>().ok_or(Problem::Truncated)?;
    crc.update(&version);
    check(crc.value(), u64::from_le_bytes(stored))?;
    Ok(u16::from_le_bytes(version))
}

fn check(computed: u64, stored: u64) -> Result<(), Problem> {
    if stored != 0 && stored != computed {
        return Err(Problem::Checksum { stored, computed });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_of_redis_7() {
        // DUMP of the string "10" by 7.0: an integer in one byte.
        let mut payload = vec![0, 0xc0, 10];
        seal(&mut payload, 0, 10);
        assert_eq!(payload.len(), 13);
        assert_eq!(open(&payload), Ok((&[0, 0xc0, 10][..], 10)));
        payload[2] ^= 1;
        assert!(matches!(open(&payload), Err(Problem::Checksum { .. })));
        assert_eq!(open(&[1, 2, 3]), Err(Problem::Truncated));
    }
}
