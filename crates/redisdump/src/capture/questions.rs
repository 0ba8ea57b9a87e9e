//! The queries about one key, and their replies. The value, which comes last, is not read here: its length decides how
//! it is read.

use redis::{Value, from_redis_value_ref};

use crate::Error;
use crate::client::identity::milliseconds;
use crate::client::wire::{Head, Reader, command};
use crate::compare::canonical::{expires_at, time_left};

/// How a key is queried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Questions {
    /// Value and expiry of a key are read together.
    pub(super) atomic: bool,
    /// PEXPIRETIME came with 7.0.
    pub(super) exact: bool,
}

/// The server's reply about a key.
pub(super) enum Answer {
    /// It does not exist.
    Gone,
    /// A DUMP payload of this many bytes follows, with a line end.
    Value {
        /// Absolute, in milliseconds.
        expiry: Option<i64>,
        length: u64,
    },
    /// A DUMP payload follows that cannot be used: the expiry is not known to the millisecond.
    Again { length: u64 },
    /// The server's error message.
    Refused(String),
    /// An unexpected reply.
    Strange(String),
}

impl Questions {
    pub(super) fn write(self, out: &mut Vec<u8>, key: &[u8]) {
        if self.atomic {
            command(out, &[b"MULTI"]);
        }
        if self.exact {
            command(out, &[b"PEXPIRETIME", key]);
        } else {
            time_left(out, key, false);
        }
        command(out, &[b"DUMP", key]);
        if self.atomic {
            command(out, &[b"EXEC"]);
        }
    }

    /// Reads the replies before the value.
    pub(super) async fn answer(self, reader: &mut Reader, operation: &str) -> Result<Answer, Error> {
        // All except that of DUMP.
        let count = if self.exact { 1 } else { 3 };
        if self.atomic {
            // The reply to MULTI, and that each command is queued.
            let mut refused = None;
            for _ in 0..count + 2 {
                if let Err(message) = reader.reply(operation).await? {
                    refused.get_or_insert(message);
                }
            }
            match (refused, reader.head(operation).await?) {
                (Some(message), _) => return Ok(Answer::Refused(message)),
                (None, Head::Array(n)) if n == count + 1 => {}
                (None, Head::Other(Err(message))) => return Ok(Answer::Refused(message)),
                (None, other) => return Ok(Answer::Strange(format!("EXEC answered {other:?}"))),
            }
        }
        let mut answers = Vec::new();
        let mut refused = None;
        for _ in 0..count {
            match reader.reply(operation).await? {
                Err(message) => {
                    refused.get_or_insert(message);
                }
                Ok(answer) => answers.push(answer),
            }
        }
        let length = match (refused, reader.head(operation).await?) {
            (Some(message), _) | (None, Head::Other(Err(message))) => {
                return Ok(Answer::Refused(message));
            }
            (None, Head::Other(Ok(Value::Nil))) => return Ok(Answer::Gone),
            (None, Head::Bulk(length)) => length,
            (None, other) => return Ok(Answer::Strange(format!("DUMP answered {other:?}"))),
        };
        let expiry = match answers.as_slice() {
            [at] => number(at).filter(|at| *at >= 0),
            [before, left, after] => match (clock(before), number(left), clock(after)) {
                (Some(before), Some(left), Some(after)) => match expires_at(before, left, after) {
                    (at, 0) => Some(at).filter(|at| *at >= 0),
                    // The clock advanced in between.
                    _ => return Ok(Answer::Again { length }),
                },
                _ => return Ok(Answer::Strange("TIME and PTTL did not return numbers".to_owned())),
            },
            _ => return Ok(Answer::Strange("too few answers".to_owned())),
        };
        Ok(Answer::Value { expiry, length })
    }
}

fn number(value: &Value) -> Option<i64> {
    from_redis_value_ref(value).ok()
}

/// A reply to TIME.
fn clock(value: &Value) -> Option<i64> {
    from_redis_value_ref(value).ok().map(milliseconds)
}
