//! The formats of COPY: text and binary.
//!
//! Binary spares the target the parsing of numbers, timestamps and vectors. Digests are those of the text, so that
//! proofs of different runs can be compared: binary rows have none.

use std::fmt;

use bytes::Bytes;
use serde::Serialize;

use crate::catalog::table::Table;

/// The format in which a table's rows are copied from one server to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CopyFormat {
    /// COPY's text format, which every type has.
    #[default]
    Text,
    /// COPY's binary format, for tables whose types all supported versions write and read alike.
    Binary,
}

/// Types by OID (`src/include/catalog/pg_type.dat`) whose binary form is the same from PostgreSQL 12 to 18 and independent
/// of settings: bool, bytea, "char", name, int8, int2, int4, text, oid, json, float4, float8, macaddr, inet, cidr, bpchar,
/// varchar, date, time, timestamp, timestamptz, interval, timetz, bit, varbit, numeric, uuid, jsonb; then arrays of them.
const BINARY_TYPES: [u32; 52] = [
    16, 17, 18, 19, 20, 21, 23, 25, 26, 114, 700, 701, 829, 869, 650, 1042, 1043, 1082, 1083, 1114, 1184,
    1186, 1266, 1560, 1562, 1700, 2950, 3802, // arrays:
    1000, 1001, 1005, 1007, 1016, 1009, 1014, 1015, 1021, 1022, 1028, 1040, 1041, 651, 1115, 1182, 1183,
    1185, 1187, 1231, 1270, 2951, 3807, 199,
];

/// Whether all copied columns of a table have a binary format that both servers agree on. pgvector's `vector` is one of
/// these types: a dimension and its numbers, in every version.
pub(crate) fn is_binary(table: &Table, vectors: Option<u32>) -> bool {
    let columns = table.copy_columns();
    !columns.is_empty()
        && columns
            .iter()
            .all(|column| BINARY_TYPES.contains(&column.type_oid) || vectors == Some(column.type_oid))
}

/// The start of a stream: the signature, no flags, no further header.
pub(crate) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The end of a stream: a row of -1 fields.
pub(crate) const TRAILER: &[u8] = b"\xff\xff";

/// A binary stream that does not follow the documentation of COPY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the binary rows are malformed: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// Parses the messages of a `COPY … TO STDOUT (FORMAT binary)`.
#[derive(Debug, Default)]
pub(crate) struct BinaryMessages {
    begun: bool,
    ended: bool,
}

impl BinaryMessages {
    /// The rows in a message: the first message begins with the header, the last one is the trailer.
    pub(crate) fn rows(&mut self, mut message: Bytes) -> Result<Bytes, Malformed> {
        if !self.begun {
            let rest = message.strip_prefix(HEADER).ok_or(Malformed("no header"))?;
            message = message.slice_ref(rest);
            self.begun = true;
        }
        if self.ended && !message.is_empty() {
            return Err(Malformed("rows after the end"));
        }
        if let Some(rows) = message.strip_suffix(TRAILER)
            && (rows.is_empty() || count_rows(rows).is_ok())
            && count_rows(&message).is_err()
        {
            self.ended = true;
            return Ok(message.slice_ref(rows));
        }
        count_rows(&message)?;
        Ok(message)
    }

    /// Whether the stream is complete: one without its trailer was cut off.
    pub(crate) fn finish(&self) -> Result<(), Malformed> {
        match self.ended {
            true => Ok(()),
            false => Err(Malformed("no end")),
        }
    }
}

/// Counts rows, which must be complete: each is a number of fields, and each field its length (-1 for NULL) and its
/// bytes.
pub(crate) fn count_rows(mut bytes: &[u8]) -> Result<u64, Malformed> {
    let cut = Malformed("a row is cut off");
    let mut rows = 0;
    while !bytes.is_empty() {
        let (fields, rest) = bytes.split_first_chunk::<2>().ok_or(cut)?;
        bytes = rest;
        let fields = i16::from_be_bytes(*fields);
        if fields < 0 {
            return Err(Malformed("a row with a negative number of fields"));
        }
        for _ in 0..fields {
            let (length, rest) = bytes.split_first_chunk::<4>().ok_or(cut)?;
            // -1 is NULL, which has no bytes.
            let length = i32::from_be_bytes(*length).max(0);
            let length = usize::try_from(length).map_err(|_| cut)?;
            bytes = rest.get(length..).ok_or(cut)?;
        }
        rows += 1;
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fields: &[Option<&[u8]>]) -> Vec<u8> {
        let mut out = (fields.len() as i16).to_be_bytes().to_vec();
        for field in fields {
            out.extend(field.map_or(-1, |bytes| bytes.len() as i32).to_be_bytes());
            out.extend_from_slice(field.unwrap_or_default());
        }
        out
    }

    fn joined(parts: &[&[u8]]) -> Bytes {
        Bytes::from(parts.concat())
    }

    #[test]
    fn rows_come_without_header_and_trailer() {
        // A field that looks like the trailer does not end the stream.
        let (one, other) = (row(&[Some(b"a"), None]), row(&[Some(TRAILER)]));
        let mut messages = BinaryMessages::default();
        assert_eq!(messages.rows(joined(&[HEADER, &one])).unwrap(), one);
        assert_eq!(messages.rows(joined(&[&other])).unwrap(), other);
        assert!(messages.finish().is_err());
        assert!(messages.rows(joined(&[TRAILER])).unwrap().is_empty());
        messages.finish().unwrap();
        assert!(messages.rows(joined(&[&one])).is_err());

        let mut empty = BinaryMessages::default();
        assert!(empty.rows(joined(&[HEADER, TRAILER])).unwrap().is_empty());
        empty.finish().unwrap();
        let mut all = BinaryMessages::default();
        assert_eq!(all.rows(joined(&[HEADER, &one, &other, TRAILER])).unwrap(), [one, other].concat());
        all.finish().unwrap();
    }

    #[test]
    fn malformed_rows_are_errors() {
        assert_eq!(count_rows(&[row(&[Some(b"abc")]), row(&[None])].concat()), Ok(2));
        let whole = row(&[Some(b"abc"), None]);
        for end in 1..whole.len() {
            assert!(count_rows(&whole[..end]).is_err(), "{end}");
        }
        assert!(count_rows(TRAILER).is_err());
        assert!(BinaryMessages::default().rows(Bytes::from_static(b"1\ta\n")).is_err());
        assert!(BinaryMessages::default().rows(Bytes::new()).is_err());
    }
}
