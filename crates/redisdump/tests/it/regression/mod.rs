//! Faults that were reported, each by a test that fails without its repair.

mod aof_time_range;
mod aof_tolerance;
mod duplicates;
mod empty_files;
mod memory_limits;
mod module_files;
mod module_values;
mod moving_source;
mod newer_rdb;
mod proxies_and_sentinels;
mod replica_of_target;
mod selections;
