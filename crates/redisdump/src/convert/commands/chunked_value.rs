//! Emits one value as commands while its raw bytes arrive.

use super::{Emitter, Unsupported};
use crate::rdb::{ValueType, Walker};

/// A partial value: raw bytes in, commands in the emitter out.
#[derive(Debug)]
pub(crate) struct ChunkedValue {
    walker: Walker,
    pub(crate) emitter: Emitter,
}

impl ChunkedValue {
    /// Starts with an emitter that has begun the key.
    pub(crate) fn new(emitter: Emitter, value_type: ValueType) -> ChunkedValue {
        ChunkedValue { walker: Walker::new(value_type), emitter }
    }

    /// Feeds raw bytes that consist of complete elements.
    pub(crate) fn feed(&mut self, raw: &[u8]) {
        let problem = match self.walker.walk(raw, &mut self.emitter) {
            Ok(walked) if walked.consumed == raw.len() => return,
            Ok(_) => "the value does not end with its bytes".to_owned(),
            Err((at, problem)) => format!("byte {at}: {problem}"),
        };
        self.emitter.fail(Unsupported::Damaged { problem });
    }
}
