//! The RDB format: a streaming reader of every version, on bytes alone.
//!
//! [`Reader`] is fed bytes as they arrive and tells a [`Visitor`] what they mean: each key, its raw value (which is the
//! body of a `DUMP` payload as it stands) and its elements in canonical form ([`Elements`]). It holds no more than the
//! one string that it is in the middle of, so a list of a billion items passes through a few kilobytes.
//!
//! What lives here does no I/O and knows no server. The layout follows `rdb.c` and `rdb.h` of Redis 2.4 to 8.10 and of
//! Valkey 9 (of 8.8 and 8.10 as published; no server of them was at hand); `value` documents the types, `reader` the opcodes.

pub mod dialect;
pub mod dump;
pub(crate) mod hostile;
pub mod value;

mod array;
mod both;
mod crc;
mod cursor;
mod elements;
mod error;
mod head;
mod intset;
mod listpack;
mod lzf;
mod module;
mod odd;
mod reader;
mod stream;
mod template;
mod text;
mod version;
mod visitor;
mod ziplist;
mod zipmap;

pub(crate) use both::Both;
pub use crc::{Crc64, crc64};
pub use error::{Corrupt, Problem};
pub(crate) use head::Head;
pub(crate) use module::metadata as module_metadata;
pub use module::name as module_name;
pub(crate) use module::{Piece, read as module_piece};
pub use odd::Odd;
pub use reader::Reader;
pub(crate) use stream::estimate_entries_read;
pub(crate) use value::EMPTY;
pub use value::{Dialect, Elements, Kind, StreamId, StreamMeta, ValueType, Walker};
pub use version::{NEWEST_REDIS, NEWEST_TRIED, NEWEST_VALKEY};
pub use visitor::{Checksum, Key, Visitor};
