//! The repository against folders, stores that fail, and a real S3 server.

mod attestations;
mod bit_flips;
mod common;
mod conformance;
mod copy;
mod disk_space;
mod encryption;
mod faults;

mod concurrency;
mod kill;
mod kill_rotate;
mod maintenance;
mod model;
mod regression;
mod s3;
mod s3_server;
mod snapshots;
