//! The nine bytes at the front of an RDB, and which versions are known.

use super::error::Problem;
use super::value::Dialect;

/// The newest version of Redis' numbering that this reader knows (Redis 8.10).
pub const NEWEST_REDIS: u16 = 15;
/// The newest of them that was tried on a server's own files (Redis 8.6); what came later is read as it is published.
pub const NEWEST_TRIED: u16 = 13;
/// The newest version of Valkey's numbering that this reader knows (Valkey 9.0).
pub const NEWEST_VALKEY: u16 = 80;

/// Reads the front; a version that is newer than those known is refused unless it is to be tried.
pub(super) fn header(magic: [u8; 9], try_newer: bool) -> Result<(Dialect, u16), Problem> {
    let digits = |bytes: &[u8]| -> Option<u16> {
        bytes.iter().try_fold(0u16, |n, byte| byte.is_ascii_digit().then(|| n * 10 + u16::from(byte - b'0')))
    };
    let (dialect, version, newest) = if let Some(version) = magic.strip_prefix(b"REDIS") {
        (Dialect::Redis, digits(version), NEWEST_REDIS)
    } else if let Some(version) = magic.strip_prefix(b"VALKEY") {
        (Dialect::Valkey, digits(version), NEWEST_VALKEY)
    } else {
        return Err(Problem::Magic);
    };
    match version {
        None | Some(0) => Err(Problem::Magic),
        Some(version) if version > newest && !try_newer => Err(Problem::Version {
            magic: String::from_utf8_lossy(&magic).into_owned(),
            redis: NEWEST_REDIS,
            valkey: NEWEST_VALKEY,
        }),
        Some(version) => Ok((dialect, version)),
    }
}
