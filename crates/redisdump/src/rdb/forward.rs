//! Passing every element on to one receiver.

use super::elements::{Elements, StreamId, StreamMeta, every_element};
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
    every_element!(forward);
}
