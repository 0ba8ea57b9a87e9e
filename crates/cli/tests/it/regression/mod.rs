//! Faults that were reported, each by a test that fails without its repair.

mod aof_commands;
mod closed_connections;
mod forged_repository;
mod jobs_apart;
mod migrate_under_writes;
mod others_on_the_host;
mod recipients;
mod restore_proofs;
mod subset_snapshots;
mod swapped;
mod upload_rate;
