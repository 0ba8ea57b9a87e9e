//! Converts values to commands, for servers that cannot load their payload.
//!
//! An [`Emitter`] receives the elements of values from a [`crate::rdb::Walker`] or [`crate::rdb::Reader`], and appends
//! RESP commands to its [`Commands`] which create the same values on a server with the [`Features`] of its [`Target`]:
//!
//! ```
//! use redisdump::convert::commands::{Emitter, Target};
//! use redisdump::rdb::{Elements as _, Kind};
//!
//! let target: Target = "6.2".parse().unwrap();
//! let mut emitter = Emitter::new(target.features());
//! emitter.begin(0, b"key", Kind::Set, Some(1_900_000_000_000))?;
//! emitter.member(b"a");
//! emitter.member(b"b");
//! emitter.end()?;
//! let commands = emitter.take(); // RESP bytes, and how many replies to await: SADD and PEXPIREAT
//! assert_eq!(commands.replies, 2);
//! # Ok::<(), redisdump::convert::commands::Unsupported>(())
//! ```
//!
//! [`emit()`] does the same for one complete raw value, and emits nothing if it fails. Commands have a bounded size
//! ([`Limits`]): a list of a billion items needs no more memory than one of a thousand. Take what is ready between
//! chunks of input; it may end within the command of a long string, whose reply is counted when its end is taken.
//!
//! An emitter is also a [`Visitor`](crate::rdb::Visitor): fed by a reader, it emits a whole RDB and counts in
//! [`Emitter::unsupported`] what it omits.
//!
//! Exact are: all values and their order, scores to the last bit, expiries as absolute milliseconds, field TTLs, and
//! ids, counters and groups of streams with consumers and pending entries, including those of deleted entries (they are
//! first claimed on placeholders, which are trimmed before the real entries are added). Commands cannot express: idle
//! times and access frequencies of keys, and when a consumer was last seen. Where RESTORE is allowed, a payload
//! converted by [`crate::convert::export::convert()`] is faster and keeps those too.

mod chunked_value;
mod features;
mod keys;
mod placeholders;
mod streams;
mod unsupported;
mod unsupported_values;

pub(crate) use chunked_value::ChunkedValue;
pub use features::{Features, Target};
pub(crate) use keys::score_text;
pub use keys::{Commands, Emitter, Limits, emit};
pub(crate) use placeholders::PlaceholderExpiries;
pub use unsupported::Unsupported;
pub use unsupported_values::{UnsupportedKind, UnsupportedValues};
