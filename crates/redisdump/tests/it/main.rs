//! The crate against real Redis and Valkey servers, and against files.

mod acl;
mod aof;
mod apply;
mod apply_aof;
mod capture_limits;
mod chunked_restore;
mod cluster;
mod connect;
mod corpus;
mod damage;
mod edge_cases;
mod emit;
mod export;
mod fixture_aof;
mod folder;
mod inspect;
mod long_strings;
mod matrix;
mod proof;
mod proof_memory;
mod regression;
mod scan;
mod servers;
mod support;
mod tls;
