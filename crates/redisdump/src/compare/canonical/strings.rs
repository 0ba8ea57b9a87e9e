//! Reads strings, several with one MGET: the server neither compresses them nor computes their checksums, as it does
//! for DUMP. Keys of other types are no strings to MGET, and are left to DUMP.

use crate::Error;
use crate::client::wire::{Head, Reader, command};
use crate::compare::digest::{CanonicalDigest, Digester};
use crate::rdb::{Elements as _, Kind};

/// Strings up to this size are read whole, longer ones in parts of this size.
const PART: u64 = 256 << 10;

/// Writes the question for the values of these keys, each with its place.
pub(super) fn write(out: &mut Vec<u8>, batch: &[(usize, &[u8])]) {
    let mut arguments: Vec<&[u8]> = Vec::with_capacity(batch.len() + 1);
    arguments.push(b"MGET");
    arguments.extend(batch.iter().map(|(_, key)| *key));
    command(out, &arguments);
}

/// Reads the reply, and puts the digest of each string into its place. Returns the size of the strings; `None` if the
/// server refuses the command.
pub(super) async fn read(
    reader: &mut Reader,
    batch: &[(usize, &[u8])],
    digester: &mut Digester,
    buffer: &mut Vec<u8>,
    values: &mut [Option<CanonicalDigest>],
) -> Result<Option<u64>, Error> {
    match reader.head(super::OPERATION).await? {
        Head::Array(number) if number == batch.len() as u64 => {}
        Head::Other(Err(_)) => return Ok(None),
        other => return Err(reader.protocol(format!("MGET of {} keys answered {other:?}", batch.len()))),
    }
    let mut bytes = 0_u64;
    for (place, _) in batch {
        digester.begin(Kind::String);
        let taken = reader.take_bulk(|string| {
            digester.string(string);
            string.len() as u64
        });
        let length = match taken {
            Some(length) => length,
            None => match reader.head(super::OPERATION).await? {
                Head::Bulk(length) => {
                    string(reader, length, digester, buffer).await?;
                    length
                }
                // It does not exist, or is no string.
                Head::Other(_) => continue,
                Head::Array(_) => return Err(reader.protocol("MGET answered with an array".to_owned())),
            },
        };
        bytes = bytes.saturating_add(length);
        if let Some(value) = values.get_mut(*place) {
            *value = Some(digester.digest());
        }
    }
    Ok(Some(bytes))
}

/// Reads a string that is not buffered yet.
async fn string(
    reader: &mut Reader,
    length: u64,
    digester: &mut Digester,
    buffer: &mut Vec<u8>,
) -> Result<(), Error> {
    let mut left = length;
    if length > PART {
        digester.long_string(length);
    }
    loop {
        let step = left.min(PART);
        buffer.clear();
        reader.part(buffer, step, super::OPERATION).await?;
        match length > PART {
            true => digester.long_part(buffer),
            false => digester.string(buffer),
        }
        left -= step;
        if left == 0 {
            return reader.end(super::OPERATION).await;
        }
    }
}
