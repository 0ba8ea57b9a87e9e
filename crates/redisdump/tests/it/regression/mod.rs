//! Faults that were reported, each by a test that fails without its repair.

mod aof_moments;
mod empty_files;
mod proxies_and_sentinels;
mod replica_of_target;
