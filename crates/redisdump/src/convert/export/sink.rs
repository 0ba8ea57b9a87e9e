//! What every form of export has in common.

use crate::convert::commands::{Emitter, Losses};
use crate::rdb::{Corrupt, Reader, Visitor};

/// Takes an RDB, gives bytes.
pub(super) trait Sink: Visitor + Send {
    /// Lets a reader tell it the next bytes: in every implementation, `reader.feed(bytes, self)`. Behind a pointer this is
    /// one call for many keys, instead of one for each element.
    fn feed(&mut self, reader: &mut Reader, bytes: &[u8]) -> Result<usize, Corrupt>;
    /// Bytes that can be taken.
    fn ready(&self) -> usize;
    /// Appends what is ready to `out`.
    fn take_into(&mut self, out: &mut Vec<u8>);
    /// Throws away what is ready: only the losses matter to whoever looks before he writes.
    fn discard(&mut self) {
        self.take_into(&mut Vec::new());
    }
    /// The RDB has ended.
    fn finish(&mut self) {}
    /// What was left out.
    fn losses(&self) -> &Losses;
    /// Keys that were put out.
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

    fn losses(&self) -> &Losses {
        Emitter::losses(self)
    }

    fn keys(&self) -> u64 {
        Emitter::keys(self)
    }
}
