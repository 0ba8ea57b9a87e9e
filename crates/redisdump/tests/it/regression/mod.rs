//! Reported bugs, each with a test that fails without the fix.

mod aof_time_range;
mod aof_tolerance;
mod duplicates;
mod empty_files;
mod live_proof;
mod memory_limits;
mod module_files;
mod module_values;
mod moving_source;
mod newer_rdb;
mod proxies_and_sentinels;
mod replica_of_target;
mod selections;
