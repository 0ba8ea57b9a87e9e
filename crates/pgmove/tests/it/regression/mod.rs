//! One test a fault, named for its kind.

mod clean;
mod clean_configuration;
mod foreign_code;
mod held_locks;
mod key_words;
mod partition_filters;
mod privileges;
mod source_settings;
mod timescale_versions;
mod vanished;
