//! The RDB format: a streaming reader for all versions, on bytes alone.
//!
//! [`Reader`] is fed bytes as they arrive and reports their contents to a [`Visitor`]: each key, its raw value (the
//! body of a `DUMP` payload, unchanged) and its elements in canonical form ([`Elements`]). It keeps at most one string
//! in memory, so that a list of a billion items needs a few kilobytes.
//!
//! This module does no I/O. The layout follows `rdb.c` and `rdb.h` of Redis 2.4 to 8.10 and of Valkey 9 (8.8 and 8.10
//! by their published sources, not tested with servers); `value` documents the types, `reader` the opcodes.

pub mod dialect;
pub mod dump;
#[cfg(feature = "fuzzing")]
pub(crate) mod packed_fuzzing;
pub mod value;

mod array;
mod crc;
mod cursor;
mod elements;
mod error;
mod forward;
mod head;
mod intset;
mod lint;
mod listpack;
mod lzf;
mod module;
mod reader;
mod stream;
mod tee;
mod template;
mod text;
mod value_type;
mod version;
mod visitor;
mod ziplist;
mod zipmap;

pub use crc::{Crc64, crc64};
pub use error::{Corrupt, Problem};
pub use forward::Forward;
pub(crate) use head::Head;
pub use lint::Lint;
pub(crate) use module::metadata as module_metadata;
pub use module::name as module_name;
pub(crate) use module::{Piece, read as module_piece};
pub use reader::Reader;
pub(crate) use stream::estimate_entries_read;
pub(crate) use tee::Tee;
pub(crate) use value::EMPTY;
pub use value::{Dialect, Elements, Kind, StreamId, StreamMeta, ValueType, Walker};
pub use version::{NEWEST_REDIS, NEWEST_TRIED, NEWEST_VALKEY};
pub use visitor::{Checksum, Key, Visitor};
