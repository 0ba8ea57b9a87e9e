//! The crate against real PostgreSQL servers.

mod baseline;
mod baseline_migrations;
mod common;
mod connect;
mod faults;
mod flow;
mod graph;
mod large_objects;
mod many;
mod policies;
mod refusals;
mod regression;
mod roundtrip;
