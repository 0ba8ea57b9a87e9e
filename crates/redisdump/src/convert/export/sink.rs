//! The interface common to all export formats.

use crate::convert::commands::{Emitter, UnsupportedValues};
use crate::rdb::{Corrupt, Reader, Visitor};

/// Consumes an RDB and produces bytes.
pub(super) trait Sink: Visitor + Send {
    /// Feeds the next bytes through a reader: `reader.feed(bytes, self)` in all implementations. Behind a pointer, this
    /// is one virtual call for many keys instead of one for each element.
    fn feed(&mut self, reader: &mut Reader, bytes: &[u8]) -> Result<usize, Corrupt>;
    /// Number of bytes ready to be taken.
    fn ready(&self) -> usize;
    /// Appends what is ready to `out`.
    fn take_into(&mut self, out: &mut Vec<u8>);
    /// Discards what is ready, for a preflight scan.
    fn discard(&mut self) {
        self.take_into(&mut Vec::new());
    }
    /// The RDB has ended.
    fn finish(&mut self) {}
    /// What was omitted.
    fn unsupported(&self) -> &UnsupportedValues;
    /// Number of written keys.
    fn keys(&self) -> u64;
}

impl Sink for Emitter {
    fn feed(&mut self, reader: &mut Reader, bytes: &[u8]) -> Result<usize, Corrupt> {
        reader.feed(bytes, self)
    }

    fn ready(&self) -> usize {
        Emitter::ready(self)
    }

    fn take_into(&mut self, out: &mut Vec<u8>) {
        Emitter::take_into(self, out);
    }

    fn unsupported(&self) -> &UnsupportedValues {
        Emitter::unsupported(self)
    }

    fn keys(&self) -> u64 {
        Emitter::keys(self)
    }
}
