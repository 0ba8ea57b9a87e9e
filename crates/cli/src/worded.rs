//! Conflicts and warnings of the libraries as data, with their sentences.

use std::fmt;

use serde::Serialize;

/// A conflict or warning with its sentence.
#[derive(Debug, Serialize)]
pub(crate) struct Worded<T> {
    /// The sentence.
    message: String,
    #[serde(flatten)]
    typed: T,
}

impl<T: fmt::Display> Worded<T> {
    pub(crate) fn new(typed: T) -> Worded<T> {
        Worded { message: typed.to_string(), typed }
    }
}

impl<T> fmt::Display for Worded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
