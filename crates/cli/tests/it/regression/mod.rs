//! Faults that were reported, each by a test that fails without its repair.

mod aof_commands;
mod closed_connections;
mod export_outputs;
mod forged_repository;
mod jobs_apart;
mod lineage;
mod migrate_under_writes;
mod others_on_the_host;
mod pins;
mod plain_role;
mod recipients;
mod redis_files;
mod redis_logins;
mod refusals_that_go_on;
mod repositories;
mod restore_proofs;
mod rows_elsewhere;
mod schema_reports;
mod subset_snapshots;
mod swapped;
mod table_locks;
mod timescale_native;
mod timescale_rehearsal;
mod timescale_restoring;
mod unknown_kinds;
mod upload_rate;
