//! A visitor that passes everything to two visitors.

use super::lint::Lint;

use super::value::{Dialect, Elements, StreamId, StreamMeta};
use super::visitor::{Key, Visitor};

/// Calls the first visitor, then the second.
pub(crate) struct Tee<'a, A, B>(pub(crate) &'a mut A, pub(crate) &'a mut B);

macro_rules! forward {
    ($($method:ident($($name:ident: $of:ty),*);)*) => {
        $(
            #[inline]
            fn $method(&mut self, $($name: $of),*) {
                self.0.$method($($name),*);
                self.1.$method($($name),*);
            }
        )*
    };
}

impl<A: Elements, B: Elements> Elements for Tee<'_, A, B> {
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

impl<A: Visitor, B: Visitor> Visitor for Tee<'_, A, B> {
    forward!(
        header(dialect: Dialect, version: u16);
        aux(name: &[u8], value: &[u8]);
        function(code: &[u8]);
        module_aux(module: &str);
        key(key: &Key<'_>);
        raw(bytes: &[u8]);
        key_end();
    );
}

impl<A: Visitor, B: Visitor> crate::aof::Visitor for Tee<'_, A, B> {}
