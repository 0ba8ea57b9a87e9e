//! A visitor that passes everything to two visitors.

use super::elements::every_element;
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
    every_element!(forward);
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
