//! Converts an RDB stream to other formats.
//!
//! [`Export`] is a stream of bytes made from a stream of bytes: an RDB for an older server or the other fork, commands
//! for `redis-cli --pipe`, or a line of JSON for each key. It keeps at most one element of one key in memory, except
//! where a format puts counts before what they count.
//!
//! By default, anything that the target does not support is an error: [`survey`] finds it before anything is written;
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
pub use stream::{Export, ExportOptions, ExportReport, Format, OnLoss, beginning, file, survey};

/// Implements `Elements` by forwarding to a field while a method returns true.
macro_rules! forward_elements {
    ($type:ty, $field:ident, $when:ident) => {
        impl crate::rdb::Elements for $type {
            crate::convert::export::forward_elements!(@each $field $when
                elements(count: u64);
                string(bytes: &[u8]);
                long_string(length: u64);
                long_part(bytes: &[u8]);
                item(bytes: &[u8]);
                node_end();
                member(bytes: &[u8]);
                scored(member: &[u8], score: f64);
                field(field: &[u8], value: &[u8], expiry: Option<i64>);
                node(id: crate::rdb::StreamId, listpack: &[u8]);
                entry(id: crate::rdb::StreamId, fields: &[u8]);
                stream(meta: &crate::rdb::StreamMeta);
                group(name: &[u8], last_id: crate::rdb::StreamId, entries_read: Option<u64>);
                pending(id: crate::rdb::StreamId, at: i64, count: u64);
                consumer(name: &[u8], seen: i64);
                active(at: i64);
                owned(id: crate::rdb::StreamId);
                nacked(id: crate::rdb::StreamId);
                group_end();
                producers(count: u64);
                insert_index(index: Option<u64>);
                slot(index: u64, bytes: &[u8]);
            );
        }
    };
    (@each $inner:ident $when:ident $($method:ident($($name:ident: $type:ty),*);)*) => {
        $(fn $method(&mut self, $($name: $type),*) {
            if self.$when() {
                self.$inner.$method($($name),*);
            }
        })*
    };
}
pub(crate) use forward_elements;
