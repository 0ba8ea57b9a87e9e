//! A DUMP payload that is too long to hold in memory: its body in chunks as it arrives, its version and checksum at the
//! end.

use super::PIECE;
use crate::Error;
use crate::client::wire::Reader;
use crate::rdb::{Crc64, Problem, dump};

/// A payload that is being received.
pub(super) struct Payload {
    left: u64,
    /// The last received bytes: the footer, if none follow.
    held: Vec<u8>,
    crc: Crc64,
}

/// A part of a payload.
pub(super) enum Part {
    /// More of its body: type byte and value.
    Body(Vec<u8>),
    /// Its end: the version that wrote it, or why its bytes cannot be trusted.
    End(Result<u16, Problem>),
}

impl Payload {
    /// A payload of this many bytes, none of which was read.
    pub(super) fn new(length: u64) -> Payload {
        Payload { left: length, held: Vec::new(), crc: Crc64::default() }
    }

    pub(super) async fn next(&mut self, reader: &mut Reader, operation: &str) -> Result<Part, Error> {
        while self.left > 0 {
            let most = usize::try_from(self.left).unwrap_or(PIECE).min(PIECE - dump::FOOTER);
            let mut bytes = std::mem::take(&mut self.held);
            self.left -= reader.some(&mut bytes, most, operation).await? as u64;
            self.held = bytes.split_off(bytes.len().saturating_sub(dump::FOOTER));
            if !bytes.is_empty() {
                self.crc.update(&bytes);
                return Ok(Part::Body(bytes));
            }
        }
        reader.skip(2, operation).await?;
        Ok(Part::End(dump::close(&self.held, std::mem::take(&mut self.crc))))
    }
}
