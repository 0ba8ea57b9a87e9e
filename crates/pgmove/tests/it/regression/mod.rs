//! One test a fault, named for its kind.

mod clean;
mod key_words;
mod partition_filters;
mod privileges;
