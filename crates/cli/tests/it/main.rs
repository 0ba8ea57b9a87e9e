//! What a user of the binary sees, against real servers.

mod acl;
mod baseline;
mod by_hand;
mod cluster;
mod common;
mod completions;
mod copy_format;
mod databases;
mod dry_run;
mod encryption;
mod files;
mod help;
mod import;
mod main_job;
mod messages;
mod nightly;
mod parts;
mod progress;
mod quiet;
mod redis_folder;
mod regression;
mod rehearsal;
mod rehearsal_docker;
mod reports;
mod rooms;
mod runbooks;
#[path = "../../../repository/tests/it/s3_server/mod.rs"]
mod s3_server;
mod safety;
mod source_rules;
mod story;
mod timescale;
mod transports;
mod trouble;
mod usage;
mod vector;
