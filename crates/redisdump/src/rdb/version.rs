//! The nine bytes at the front of an RDB, and the known versions.

use super::error::Problem;
use super::value::Dialect;

/// The newest known version of Redis' numbering (Redis 8.10).
pub const NEWEST_REDIS: u16 = 15;
/// The newest version that was tested with files of a server (Redis 8.6); later ones follow the published sources.
pub const NEWEST_TRIED: u16 = 13;
/// The newest known version of Valkey's numbering (Valkey 9.0).
pub const NEWEST_VALKEY: u16 = 80;

/// Parses the header. Newer versions than the known ones are rejected unless `try_newer` is set.
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
