//! Converts an RDB stream to other formats.
//!
//! [`Export`] is a stream of bytes made from a stream of bytes: an RDB for an older server or the other fork, commands
//! for `redis-cli --pipe`, or a line of JSON for each key. It keeps at most one element of one key in memory, except
//! where a format puts counts before what they count.
//!
//! By default, anything that the target does not support is an error: [`preflight`] finds it before anything is written;
//! the report lists it afterwards. For an AOF, [`beginning`] returns the RDB at its front and [`aof_commands`] the
//! rest. [`convert()`] converts a single value for RESTORE.

mod aof_commands;
mod convert;
mod encode;
mod json;
mod rdb_file;
mod restore_commands;
mod sink;
mod stream;

pub use aof_commands::aof_commands;
pub use convert::convert;
pub(crate) use convert::{loads, module_of};
#[cfg(feature = "fuzzing")]
pub(crate) use stream::through;
pub use stream::{Export, ExportOptions, ExportReport, Format, OnUnsupported, beginning, file, preflight};
