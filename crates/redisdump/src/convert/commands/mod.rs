//! Values as commands, for servers that cannot load their payload.
//!
//! An [`Emitter`] takes the elements of one value after the other, as [`crate::rdb::Walker`] and
//! [`crate::rdb::Reader`] tell them, and appends RESP commands to its [`Commands`] which give the same value on a
//! server with the [`Features`] of its [`Target`]:
//!
//! ```
//! use redisdump::emit::{Emitter, Target};
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
//! # Ok::<(), redisdump::emit::Inexpressible>(())
//! ```
//!
//! [`emit()`] does the same for one raw value that is in memory whole, and leaves nothing behind when it fails. Commands
//! come in pieces of bounded size ([`Limits`]): a list of a billion items needs no more memory than one of a thousand.
//! Take what is ready between two pieces of input: it may end within the command of a long string, whose reply is counted
//! when its end is taken.
//!
//! An emitter is a [`Visitor`](crate::rdb::Visitor) too: fed by a reader, it emits a whole RDB, and counts in
//! [`Emitter::losses`] what it had to leave out.
//!
//! What is exact: every value and order, scores to the last bit, expiries as absolute milliseconds, the expiries of hash
//! fields, ids, counters and groups of streams with consumers and pending entries, also those of deleted entries (they
//! are pending on placeholders first, which are trimmed before the real entries come). What commands cannot say: idle
//! times and frequencies of keys, when a consumer was last seen. What the target does not know at all is
//! [`Inexpressible`]. Where RESTORE is allowed, a payload that [`crate::convert::export::convert()`] has put into a form that
//! the target knows is quicker and loses nothing of that either.

mod features;
mod inexpressible;
mod keys;
mod losses;
mod pieced;
mod stand_ins;
mod streams;

pub use features::{Features, Target};
pub use inexpressible::Inexpressible;
pub(crate) use keys::score_text;
pub use keys::{Commands, Emitter, Limits, emit};
pub use losses::{Loss, Losses};
pub(crate) use pieced::Pieced;
pub(crate) use stand_ins::StandIns;
