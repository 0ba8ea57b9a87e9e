//! One test per bug, named for its kind.

mod builtin_owners;
mod clean;
mod clean_configuration;
mod deadlocks;
mod differing_rows;
mod domain_checks;
mod extension_members;
mod foreign_code;
mod globals;
mod held_locks;
mod inheritance;
mod key_words;
mod partition_filters;
mod planner_statistics;
mod privileges;
mod resumed_schemas;
mod schema_comparisons;
mod source_settings;
mod timescale_versions;
mod vanished;
