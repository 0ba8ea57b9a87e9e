//! Passing every element on to one receiver.

use super::elements::{Elements, StreamId, StreamMeta};
use super::lint::Lint;

/// A visitor whose elements all go to something that it holds. [`Elements`] is implemented for it here, once, so that a
/// new kind of element cannot be forgotten in one of many places.
pub trait Forward {
    /// What receives the elements.
    type To: Elements;
    /// The receiver; `None` where elements are ignored now.
    fn to(&mut self) -> Option<&mut Self::To>;
}

macro_rules! forward {
    ($($method:ident($($name:ident: $of:ty),*);)*) => {
        $(
            #[inline]
            fn $method(&mut self, $($name: $of),*) {
                if let Some(to) = self.to() {
                    to.$method($($name),*);
                }
            }
        )*
    };
}

impl<T: Forward> Elements for T {
    forward!(
        elements(count: u64);
        string(bytes: &[u8]);
        long_string(length: u64);
        long_part(bytes: &[u8]);
        item(bytes: &[u8]);
        node_end();
        member(bytes: &[u8]);
        scored(member: &[u8], score: f64);
        field(field: &[u8], value: &[u8], expiry: Option<i64>);
        node(id: StreamId, listpack: &[u8]);
        entry(id: StreamId, fields: &[u8]);
        stream(meta: &StreamMeta);
        group(name: &[u8], last_id: StreamId, entries_read: Option<u64>);
        pending(id: StreamId, at: i64, count: u64);
        consumer(name: &[u8], seen: i64);
        active(at: i64);
        owned(id: StreamId);
        nacked(id: StreamId);
        group_end();
        producers(count: u64);
        insert_index(index: Option<u64>);
        slot(index: u64, bytes: &[u8]);
        lint(lint: Lint);
        opaque(raw: &[u8]);
    );
}
