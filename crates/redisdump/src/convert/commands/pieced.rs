//! One value, told by commands while its raw bytes come.

use super::{Emitter, Inexpressible};
use crate::rdb::{ValueType, Walker};

/// A value under way: its raw bytes go in, and the commands for it come out of the emitter.
#[derive(Debug)]
pub(crate) struct Pieced {
    walker: Walker,
    pub(crate) emitter: Emitter,
}

impl Pieced {
    /// Of an emitter that has begun the key.
    pub(crate) fn new(emitter: Emitter, value_type: ValueType) -> Pieced {
        Pieced { walker: Walker::new(value_type), emitter }
    }

    /// Takes raw bytes: as many elements as a reader has found whole.
    pub(crate) fn feed(&mut self, raw: &[u8]) {
        let problem = match self.walker.walk(raw, &mut self.emitter) {
            Ok(walked) if walked.consumed == raw.len() => return,
            Ok(_) => "it does not end where its bytes end".to_owned(),
            Err((at, problem)) => format!("byte {at}: {problem}"),
        };
        self.emitter.fail(Inexpressible::Damaged { problem });
    }
}
