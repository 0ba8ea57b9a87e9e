//! Statistics of an RDB or an AOF: one pass, bounded memory, nothing executed.
//!
//! [`inspect_path`] reads a file or the folder of a multi-part AOF, [`inspect_stream`] an RDB from any stream. The
//! result is an [`Inspection`]: versions, keys by database, type, encoding and prefix, expiries, the largest keys. A
//! callback is called for every key. Of an AOF's commands, only names, databases and counts are collected: their effect
//! would require a server.

mod inspection;
mod inspector;
mod names;
mod prefixes;
mod read;
mod record;
mod top;

pub use inspection::{CommandStats, DatabaseStats, Expiries, Functions, Inspection, Sizes};
pub use inspector::Inspector;

pub(crate) use names::{base64, json_bytes, json_text};
pub use prefixes::PrefixNode;
pub use read::{InspectOptions, inspect_path, inspect_stream};
pub use record::KeyRecord;
