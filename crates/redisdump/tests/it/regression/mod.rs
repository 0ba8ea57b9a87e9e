//! Faults that were reported, each by a test that fails without its repair.

mod aof_moments;
mod duplicates;
mod empty_files;
mod module_values;
mod moving_source;
mod proxies_and_sentinels;
mod replica_of_target;
