//! Forwarding of all elements to one receiver.

use super::elements::{Elements, StreamId, StreamMeta, every_element};
use super::lint::Lint;

/// A visitor that forwards its elements to something it contains. [`Elements`] is implemented for it once, so that a
/// new kind of element cannot be forgotten in one of many places.
pub trait Forward {
    /// Type of the receiver.
    type To: Elements;
    /// The receiver; `None` while elements are ignored.
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
