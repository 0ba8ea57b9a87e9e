//! Digests DUMP payloads as they arrive: a value of gigabytes needs a few hundred kilobytes of memory.

use crate::Error;
use crate::client::wire::Reader;
use crate::compare::digest::Digester;
use crate::rdb::dump::{self, FOOTER};
use crate::rdb::{Crc64, Dialect, Problem, ValueType, Walker, module_metadata};

/// Payloads up to this size are read whole.
const WHOLE: u64 = 1 << 20;
/// Longer ones are read in parts of about this size; a part grows if one element needs it.
const PART: u64 = 256 << 10;
/// Marks module metadata before the type byte.
const METADATA: u8 = 243;
/// From this type byte on, Redis and Valkey assign different types.
const SHARED_BELOW: u8 = 22;

/// Reads a payload of this length and feeds it to the digester. True if there is additional module metadata, which is
/// skipped. Invalid bytes do not affect the connection; what follows the payload is not read.
pub(super) async fn digest(
    reader: &mut Reader,
    length: u64,
    digester: &mut Digester,
    buffer: &mut Vec<u8>,
) -> Result<Result<bool, Problem>, Error> {
    buffer.clear();
    if length > WHOLE {
        let found = long(reader, length, digester, buffer).await;
        // One element may have needed far more memory than others will.
        buffer.clear();
        buffer.shrink_to(2 * usize::try_from(WHOLE).unwrap_or_default());
        return found;
    }
    reader.part(buffer, length, super::OPERATION).await?;
    reader.end(super::OPERATION).await?;
    Ok(whole(buffer, digester))
}

/// The same for a payload that was read whole.
pub(super) fn whole(payload: &[u8], digester: &mut Digester) -> Result<bool, Problem> {
    let (body, version) = dump::open(payload)?;
    let dialect = dump::dialect(version);
    let (metadata, body) = match (body.first(), dialect) {
        (Some(&METADATA), Dialect::Redis) => {
            let end = module_metadata(body)?.ok_or(Problem::Truncated)?;
            (true, body.get(end..).unwrap_or_default())
        }
        _ => (false, body),
    };
    let (&code, value) = body.split_first().ok_or(Problem::Truncated)?;
    let value_type = ValueType::new(code, dialect)?;
    digester.begin(value_type.kind());
    let walked = Walker::new(value_type).walk(value, digester).map_err(|(_, problem)| problem)?;
    if !walked.done || walked.consumed != value.len() {
        return Err(Problem::Truncated);
    }
    Ok(metadata)
}

/// A payload that is not held in memory. Its flavor is known only at its end, but no type byte has a meaning in both.
async fn long(
    reader: &mut Reader,
    length: u64,
    digester: &mut Digester,
    buffer: &mut Vec<u8>,
) -> Result<Result<bool, Problem>, Error> {
    let mut left = length.saturating_sub(FOOTER as u64);
    let mut crc = Crc64::default();
    let mut value = Value::default();
    while left > 0 {
        let missing = value.want.saturating_sub(buffer.len()) as u64;
        let step = missing.max(PART).min(left);
        let before = buffer.len();
        reader.part(buffer, step, super::OPERATION).await?;
        left -= step;
        crc.update(buffer.get(before..).unwrap_or_default());
        match value.resume(buffer, digester) {
            Ok(used) => drop(buffer.drain(..used)),
            Err(problem) => return Ok(Err(problem)),
        }
    }
    let mut footer = Vec::new();
    reader.part(&mut footer, FOOTER as u64, super::OPERATION).await?;
    reader.end(super::OPERATION).await?;
    Ok(value.close(buffer, &footer, crc))
}

/// A value that is being received.
#[derive(Default)]
struct Value {
    metadata: bool,
    walker: Option<Walker>,
    /// Number of bytes needed before it can continue.
    want: usize,
    done: bool,
}

impl Value {
    /// Parses as far as possible, and returns the number of bytes consumed.
    fn resume(&mut self, bytes: &[u8], digester: &mut Digester) -> Result<usize, Problem> {
        let mut used = 0;
        if self.walker.is_none() {
            if bytes.first() == Some(&METADATA) {
                match module_metadata(bytes)? {
                    Some(end) => (used, self.metadata) = (end, true),
                    None => {
                        self.want = bytes.len() + 1;
                        return Ok(0);
                    }
                }
            }
            let Some(&code) = bytes.get(used) else { return Ok(0) };
            used += 1;
            let dialect = if code == SHARED_BELOW { Dialect::Valkey } else { Dialect::Redis };
            let value_type = ValueType::new(code, dialect)?;
            digester.begin(value_type.kind());
            self.walker = Some(Walker::new(value_type));
        }
        let Some(walker) = &mut self.walker else { return Ok(used) };
        let rest = bytes.get(used..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(used);
        }
        if self.done {
            return Err(Problem::Item("bytes follow the end of the value"));
        }
        let walked = walker.walk(rest, digester).map_err(|(_, problem)| problem)?;
        used += walked.consumed;
        self.done = walked.done;
        self.want = walked.want;
        if self.done && used < bytes.len() {
            return Err(Problem::Item("bytes follow the end of the value"));
        }
        Ok(used)
    }

    /// Checks the footer against what preceded it.
    fn close(&self, left_over: &[u8], footer: &[u8], crc: Crc64) -> Result<bool, Problem> {
        let version = dump::close(footer, crc)?;
        let value_type = match &self.walker {
            Some(walker) if self.done && left_over.is_empty() => walker.value_type(),
            _ => return Err(Problem::Truncated),
        };
        let dialect = dump::dialect(version);
        let parted = value_type.code() >= SHARED_BELOW || self.metadata;
        if parted && value_type.dialect() != dialect {
            return Err(Problem::Type(value_type.code()));
        }
        Ok(self.metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::Kind;

    /// Feeds a payload in parts of this size.
    fn in_parts(payload: &[u8], size: usize) -> Result<(u128, bool), Problem> {
        let (body, footer) = payload.split_at(payload.len() - FOOTER);
        let (mut value, mut digester, mut crc) = (Value::default(), Digester::default(), Crc64::default());
        let mut buffer = Vec::new();
        for part in body.chunks(size) {
            buffer.extend_from_slice(part);
            crc.update(part);
            let used = value.resume(&buffer, &mut digester)?;
            buffer.drain(..used);
        }
        let metadata = value.close(&buffer, footer, crc)?;
        Ok((digester.digest().value, metadata))
    }

    fn at_once(payload: &[u8]) -> Result<(u128, bool), Problem> {
        let mut digester = Digester::default();
        let metadata = whole(payload, &mut digester)?;
        Ok((digester.digest().value, metadata))
    }

    fn sealed(body: &[u8], version: u16) -> Vec<u8> {
        let mut payload = body.to_vec();
        dump::seal(&mut payload, 0, version);
        payload
    }

    #[test]
    fn parts_parse_like_the_whole() {
        let set = b"\x02\x02\x03one\x05three";
        let hash = b"\x16\x01\x01f\x01v\xff\xff\xff\xff\xff\xff\xff\xff";
        for payload in [sealed(set, 9), sealed(hash, 80)] {
            let expected = at_once(&payload).unwrap();
            for size in 1..payload.len() {
                assert_eq!(in_parts(&payload, size).as_ref(), Ok(&expected), "{size}");
            }
            let mut damaged = payload.clone();
            damaged[3] ^= 1;
            assert!(in_parts(&damaged, 4).is_err());
        }
        // A type of one flavor in the other's payload, bytes after the end, and an early end.
        assert_eq!(in_parts(&sealed(hash, 12), 5), Err(Problem::Type(22)));
        assert!(in_parts(&sealed(b"\x02\x01\x03onex", 9), 3).is_err());
        assert_eq!(in_parts(&sealed(b"\x02\x02\x03one", 9), 3), Err(Problem::Truncated));
    }

    #[test]
    fn metadata_of_modules_is_passed_over() {
        // One class with a number and a string, then its end.
        let mut body = b"\xf3\x01abcd\x02\x07\x05\x03xyz\x00".to_vec();
        body.extend_from_slice(b"\x00\x05hello");
        let (plain, payload) = (sealed(b"\x00\x05hello", 13), sealed(&body, 13));
        let (value, _) = at_once(&plain).unwrap();
        assert_eq!(at_once(&payload), Ok((value, true)));
        for size in 1..body.len() {
            assert_eq!(in_parts(&payload, size), Ok((value, true)), "{size}");
        }
        let mut digester = Digester::default();
        whole(&payload, &mut digester).unwrap();
        assert_eq!(digester.digest().kind, Kind::String);
    }
}
