//! One test a fault, named for its kind.

mod clean;
mod foreign_code;
mod key_words;
mod partition_filters;
mod privileges;
mod source_settings;
mod timescale_versions;
