//! The raw bytes of an RDB before its first key: auxiliary fields, functions, module data.

use super::cursor::{Cursor, Stop};
use super::error::{Corrupt, Problem};
use super::module;
use super::value::Dialect;

/// The beginning of an RDB.
#[derive(Debug)]
pub(crate) struct Head {
    /// The dialect of its versions.
    pub(crate) dialect: Dialect,
    /// Its version.
    pub(crate) version: u16,
    /// Auxiliary fields and module data, raw.
    pub(crate) rest: Vec<u8>,
    /// Each function library, raw, and its code.
    pub(crate) functions: Vec<(Vec<u8>, Vec<u8>)>,
    /// Size in bytes.
    pub(crate) length: usize,
}

impl Head {
    /// Reads it from the beginning of an RDB; `None` if its end is not among these bytes.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<Head>, Corrupt> {
        let mut cursor = Cursor::new(bytes);
        match read(&mut cursor, bytes) {
            Ok(head) => Ok(Some(head)),
            Err(Stop::More(_)) => Ok(None),
            Err(Stop::Bad(problem)) => Err(Corrupt { offset: cursor.position() as u64, problem }),
        }
    }
}

fn read(cursor: &mut Cursor<'_>, bytes: &[u8]) -> Result<Head, Stop> {
    let magic: [u8; 9] = cursor.array()?;
    let (dialect, digits) = match (magic.strip_prefix(b"REDIS"), magic.strip_prefix(b"VALKEY")) {
        (Some(digits), _) => (Dialect::Redis, digits),
        (_, Some(digits)) => (Dialect::Valkey, digits),
        _ => return Err(Problem::Magic.into()),
    };
    let version = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    let version = version.ok_or(Problem::Magic)?;
    let mut head =
        Head { dialect, version, rest: Vec::new(), functions: Vec::new(), length: cursor.position() };
    let mut scratch = Vec::new();
    loop {
        let from = cursor.position();
        let mut function = None;
        match cursor.u8()? {
            245 => function = Some(cursor.text()?.bytes(&mut scratch)?.to_vec()),
            247 => {
                for _ in 0..3 {
                    cursor.count()?;
                }
                while !module::piece(cursor)? {}
            }
            250 => {
                cursor.text()?;
                cursor.text()?;
            }
            _ => return Ok(head),
        }
        head.length = cursor.position();
        let raw = bytes.get(from..head.length).unwrap_or_default();
        match function {
            Some(code) => head.functions.push((raw.to_vec(), code)),
            None => head.rest.extend_from_slice(raw),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_ends_where_keys_begin() {
        let bytes =
            b"REDIS0010\xfa\x01a\x01b\xf5\x04codf\xfa\x01c\x01d\xfe\x00\xfb\x01\x00\x00\x01k\x01v\xff";
        let head = Head::read(bytes).unwrap().unwrap();
        assert_eq!((head.dialect, head.version, head.length), (Dialect::Redis, 10, 25));
        assert_eq!(head.rest, b"\xfa\x01a\x01b\xfa\x01c\x01d");
        assert_eq!(head.functions, [(b"\xf5\x04codf".to_vec(), b"codf".to_vec())]);
        for cut in 0..=25 {
            assert!(Head::read(&bytes[..cut]).unwrap().is_none(), "{cut}");
        }
        assert!(Head::read(b"RUBBISH0010").is_err());
    }
}
