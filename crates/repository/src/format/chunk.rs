//! Chunks: how streams are cut, and how chunks are named.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use fastcdc::v2020::{FastCDC, Normalization};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::Error;

/// Id of a chunk: the SHA-256 of its plain bytes, or a keyed hash if the repository is encrypted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId([u8; 32]);

impl ChunkId {
    /// The id of these bytes in an unencrypted repository.
    pub fn of(plain: &[u8]) -> ChunkId {
        ChunkId(Sha256::digest(plain).into())
    }

    pub(crate) fn from_bytes(bytes: [u8; 32]) -> ChunkId {
        ChunkId(bytes)
    }
}

/// Object that stores a chunk. Its name is the chunk's id; if prune has marked that name, the chunk is written under
/// a name of its own, with a tag after the id, so that a running deletion cannot hit it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ChunkObject {
    pub(crate) id: ChunkId,
    pub(crate) copy: Option<CopyTag>,
}

impl ChunkObject {
    /// Parses an object name; `None` if it is not that of a chunk.
    pub(crate) fn parse(object: &str) -> Option<ChunkObject> {
        let name = object.strip_prefix("chunks/")?.get(3..)?;
        let (id, copy) = match name.split_once('-') {
            Some((id, tag)) => (id, Some(tag.parse().ok()?)),
            None => (name, None),
        };
        let found = ChunkObject { id: id.parse().ok()?, copy };
        (found.to_string() == object).then_some(found)
    }
}

impl fmt::Display for ChunkObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = self.id.to_string();
        write!(f, "chunks/{}/{hex}", hex.get(..2).unwrap_or_default())?;
        self.copy.map_or(Ok(()), |tag| write!(f, "-{tag}"))
    }
}

/// Distinguishes a copy of a chunk from the object with the plain name: eight hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CopyTag(pub(crate) u32);

impl fmt::Display for CopyTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl FromStr for CopyTag {
    type Err = String;

    fn from_str(text: &str) -> Result<CopyTag, String> {
        let tag = u32::from_str_radix(text, 16).map(CopyTag).map_err(|e| e.to_string())?;
        if tag.to_string() == text {
            Ok(tag)
        } else {
            Err("a copy's tag is 8 lower-case hexadecimal digits".to_owned())
        }
    }
}

impl Serialize for CopyTag {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CopyTag {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<CopyTag, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ChunkId {
    type Err = String;

    fn from_str(text: &str) -> Result<ChunkId, String> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err("a chunk's name is 64 lower-case hexadecimal digits".to_owned());
        }
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            let digits = text.get(at..at + 2).unwrap_or_default();
            *byte = u8::from_str_radix(digits, 16).map_err(|e| e.to_string())?;
        }
        Ok(ChunkId(bytes))
    }
}

impl Serialize for ChunkId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChunkId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<ChunkId, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Parameters of the chunker: FastCDC (the 2020 version), normalization level 1, sizes in bytes. Fixed when a
/// repository is created: with other parameters, all data would be stored again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Chunker {
    /// Minimum size, except for a part's last chunk.
    pub min: u32,
    /// Average size.
    pub average: u32,
    /// Maximum size.
    pub max: u32,
}

impl Default for Chunker {
    fn default() -> Self {
        Chunker { min: 256 << 10, average: 1 << 20, max: 4 << 20 }
    }
}

impl Chunker {
    /// Allowed average sizes.
    pub const AVERAGES: std::ops::RangeInclusive<u32> = 64 << 10..=4 << 20;

    /// Parameters for this average: from a quarter of it to four times as much. `None` if it is out of range. It is
    /// rounded down to whole KiB, because the algorithm requires even sizes.
    pub fn around(average: u32) -> Option<Chunker> {
        let average = average / 1024 * 1024;
        Chunker::AVERAGES.contains(&average).then_some(Chunker {
            min: average / 4,
            average,
            max: average * 4,
        })
    }

    /// Checks sizes read from a store: the chunker only accepts reasonable ones.
    pub(crate) fn check(self) -> Result<Chunker, Error> {
        let even = [self.min, self.average, self.max].iter().all(|size| size % 2 == 0);
        let is_valid = even
            && (64..=1 << 20).contains(&self.min)
            && (256..=4 << 20).contains(&self.average)
            && (1024..=16 << 20).contains(&self.max)
            && self.min <= self.average
            && self.average <= self.max;
        if is_valid {
            Ok(self)
        } else {
            Err(Error::Damaged {
                object: "dbhaul.json".into(),
                message: format!("chunk sizes {self:?} are out of bounds"),
            })
        }
    }

    /// The length of the next chunk of `data`, which starts at a chunk boundary. `data` must contain at least `max`
    /// bytes, or the end of the part.
    pub(crate) fn cut(self, data: &[u8]) -> usize {
        let (min, average, max) = (self.min as usize, self.average as usize, self.max as usize);
        let cdc = FastCDC::with_level(data, min, average, max, Normalization::Level1);
        cdc.cut(0, data.len()).1.clamp(1, data.len().max(1))
    }
}

/// The uncut end of a stream. Chunks are copied out of it: a slice of a shared buffer would keep the whole buffer
/// alive during the upload.
pub(crate) struct ChunkBuffer {
    chunker: Chunker,
    bytes: Vec<u8>,
    /// Start of the next chunk.
    at: usize,
}

impl ChunkBuffer {
    pub(crate) fn new(chunker: Chunker) -> ChunkBuffer {
        ChunkBuffer { chunker, bytes: Vec::new(), at: 0 }
    }

    pub(crate) fn push(&mut self, more: &[u8]) {
        // Room for half a chunk more than a cut needs, so that the remainder is not moved at every cut.
        let room = self.chunker.max as usize / 2 * 3;
        if self.at > 0 && self.bytes.len() + more.len() > room {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        // A short part needs less; doubling would overshoot.
        if self.bytes.len() + more.len() > self.bytes.capacity() {
            let doubled = (self.bytes.capacity() * 2).max(64 << 10).min(room);
            self.bytes.reserve_exact(doubled.saturating_sub(self.bytes.len()).max(more.len()));
        }
        self.bytes.extend_from_slice(more);
    }

    /// The next chunk, if its end is certain: when the longest possible chunk is available, or the stream has ended.
    pub(crate) fn cut(&mut self, ended: bool) -> Option<Bytes> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if rest.is_empty() || (!ended && rest.len() < self.chunker.max as usize) {
            return None;
        }
        let chunk = rest.get(..self.chunker.cut(rest)).unwrap_or(rest);
        self.at += chunk.len();
        Some(Bytes::copy_from_slice(chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cut points of a fixed pseudo-random stream. They are frozen: if an update of the chunker changed them,
    /// every repository would store all data again.
    #[test]
    fn cut_points_are_frozen() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let data: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .take((12 << 20) / 8)
        .flatten()
        .collect();
        let chunker = Chunker::default();
        let mut rest = data.as_slice();
        let mut lengths = Vec::new();
        while !rest.is_empty() {
            let cut = chunker.cut(rest);
            lengths.push(cut);
            rest = &rest[cut..];
        }
        assert_eq!(lengths.iter().sum::<usize>(), data.len());
        assert_eq!(lengths, FROZEN);
    }

    const FROZEN: &[usize] =
        &[532150, 2088921, 1361465, 604807, 1071987, 2119792, 1188501, 1871958, 1205351, 537980];

    #[test]
    fn sizes_lie_around_an_average() {
        assert_eq!(Chunker::around(1 << 20), Some(Chunker::default()));
        for average in [64 << 10, 100_000, 4 << 20] {
            assert!(Chunker::around(average).unwrap().check().is_ok(), "{average}");
        }
        assert_eq!((Chunker::around(60_000), Chunker::around(5 << 20)), (None, None));
    }

    #[test]
    fn names_read_back() {
        let id = ChunkId::of(b"abc");
        assert_eq!(id.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(id.to_string().parse::<ChunkId>().unwrap(), id);
        assert!("BA".parse::<ChunkId>().is_err());
        let plain = ChunkObject { id, copy: None };
        let copy = ChunkObject { id, copy: Some(CopyTag(0xab)) };
        assert_eq!(&plain.to_string()[..10], "chunks/ba/");
        assert!(copy.to_string().ends_with("15ad-000000ab"));
        for object in [plain, copy] {
            assert_eq!(ChunkObject::parse(&object.to_string()), Some(object));
        }
        assert_eq!(ChunkObject::parse(&format!("chunks/bb/{id}")), None);
        assert_eq!(ChunkObject::parse("chunks/ba/é"), None);
    }
}
