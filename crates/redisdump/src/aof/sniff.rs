//! Recognizes files that are neither an RDB nor an AOF by their first bytes, for error messages.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::error::FileError;

/// `REDIS0011`, `VALKEY080`.
const HEADER: u64 = 9;

/// Signatures of files that are sometimes mistaken for a Redis backup.
const SIGNATURES: &[(&[u8], &str)] = &[
    (b"\x1f\x8b", "a gzip file: decompress it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd file: decompress it first"),
    (b"\xfd7zXZ\0", "an xz file: decompress it first"),
    (b"BZh", "a bzip2 file: decompress it first"),
    (b"\x04\x22\x4d\x18", "an lz4 file: decompress it first"),
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (b"Salted__", "a file encrypted by openssl: decrypt it first"),
    (b"age-encryption.org", "a file encrypted by age: decrypt it first"),
    (b"PGDMP", "an archive of pg_dump"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x7fELF", "a program"),
    (b"file ", "the manifest of an append-only file, which must be named *.manifest"),
    (b"\0\0\0\0\0\0\0\0", "zeros, as left by a crash in place of the last writes"),
];

/// Checks that a single file begins like an RDB or an AOF. Only an AOF may be empty, and then only its name shows that
/// it is one.
///
/// # Errors
/// [`FileError::Empty`], [`FileError::TooShort`], [`FileError::Foreign`], or that the file cannot be read.
pub(super) fn check(path: &Path) -> Result<(), FileError> {
    let io = |source| FileError::Io { path: path.to_owned(), source };
    let mut front = Vec::new();
    let file = File::open(path).map_err(io)?;
    file.take(512).read_to_end(&mut front).map_err(io)?;
    let is_aof = path.extension().is_some_and(|extension| extension == "aof");
    match front.first() {
        None if is_aof => return Ok(()),
        None => return Err(FileError::Empty { path: path.to_owned() }),
        Some(b'*' | b'#') => return Ok(()),
        Some(_) => {}
    }
    let marks: [&[u8]; 2] = [b"REDIS", b"VALKEY"];
    let begun = marks.iter().any(|mark| front.starts_with(mark) || mark.starts_with(&front));
    match (begun, front.len() as u64) {
        (true, bytes @ ..HEADER) => Err(FileError::TooShort { path: path.to_owned(), bytes }),
        (true, _) => Ok(()),
        (false, _) => Err(FileError::Foreign { path: path.to_owned(), what: named(&front) }),
    }
}

/// Describes the file with this beginning.
fn named(front: &[u8]) -> String {
    if let Some((_, name)) = SIGNATURES.iter().find(|(mark, _)| front.starts_with(mark)) {
        return format!("it is {name}");
    }
    if front.get(257..262) == Some(b"ustar") {
        return "it is a tar archive: unpack it first".to_owned();
    }
    format!("it begins with \"{}\"", front.get(..16).unwrap_or(front).escape_ascii())
}
