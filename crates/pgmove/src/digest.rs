//! The digest of a table, independent of the order of its rows and of how it was read.
//!
//! Every row of COPY text (without its newline) is hashed with XXH3-128, and the hashes are added modulo 2^128, so that
//! the sums of slices add up to the sum of the table. The row count is kept next to the sum.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

/// A sum of row hashes modulo 2^128.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Digest(u128);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Digest, Self::Err> {
        u128::from_str_radix(text, 16).map(Digest)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Row count, size and digest of a table's rows, or of a slice of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TableProof {
    /// Number of rows.
    pub rows: u64,
    /// Number of bytes of COPY text, newlines included.
    pub bytes: u64,
    /// The sum of the rows' hashes.
    pub digest: Digest,
}

impl Add for TableProof {
    type Output = TableProof;

    fn add(self, other: TableProof) -> TableProof {
        TableProof {
            rows: self.rows.saturating_add(other.rows),
            bytes: self.bytes.saturating_add(other.bytes),
            digest: Digest(self.digest.0.wrapping_add(other.digest.0)),
        }
    }
}

impl TableProof {
    /// Subtracts rows that were there before; exact, because hashes are added modulo 2^128.
    #[must_use]
    pub fn without(self, before: TableProof) -> TableProof {
        TableProof {
            rows: self.rows.saturating_sub(before.rows),
            bytes: self.bytes.saturating_sub(before.bytes),
            digest: Digest(self.digest.0.wrapping_sub(before.digest.0)),
        }
    }
}

impl Sum for TableProof {
    fn sum<I: Iterator<Item = TableProof>>(proofs: I) -> TableProof {
        proofs.fold(TableProof::default(), Add::add)
    }
}

/// Hashes a stream of COPY text, whatever its chunk boundaries.
#[derive(Debug, Default)]
pub struct RowHasher {
    proof: TableProof,
    /// The beginning of an incomplete row; at most one row long.
    open: Vec<u8>,
}

impl RowHasher {
    /// Takes the next bytes. Only a newline ends a row: COPY writes newlines inside values as `
    /// `.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.proof.bytes += bytes.len() as u64;
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (row, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            if self.open.is_empty() {
                self.row(xxh3_128(row));
            } else {
                self.open.extend_from_slice(row);
                self.row(xxh3_128(&self.open));
                self.open.clear();
            }
        }
        self.open.extend_from_slice(bytes);
    }

    fn row(&mut self, hash: u128) {
        self.proof.rows += 1;
        self.proof.digest.0 = self.proof.digest.0.wrapping_add(hash);
    }

    /// The proof so far.
    pub fn proof(&self) -> TableProof {
        self.proof
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(chunks: &[&[u8]]) -> TableProof {
        let mut hasher = RowHasher::default();
        chunks.iter().for_each(|chunk| hasher.update(chunk));
        hasher.proof()
    }

    #[test]
    fn order_and_cuts_do_not_matter_but_rows_do() {
        let whole = proof(&[b"1\ta\n2\tb\n3\t\\N\n"]);
        assert_eq!(whole.rows, 3);
        assert_eq!(whole, proof(&[b"3\t\\N\n1\t", b"a\n2\tb", b"\n"]));
        assert_eq!(whole, proof(&[b"2\tb\n"]) + proof(&[b"1\ta\n3\t\\N\n"]));
        assert_ne!(whole.digest, proof(&[b"1\ta\n2\tb\n3\t\n"]).digest);
        assert_ne!(whole.digest, proof(&[b"1\ta\n2\tb\n2\tb\n"]).digest);
        let text = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<TableProof>(&text).unwrap(), whole);
    }

    #[test]
    fn empty_rows_count() {
        assert_eq!(proof(&[b"\n\n"]).rows, 2);
    }
}
