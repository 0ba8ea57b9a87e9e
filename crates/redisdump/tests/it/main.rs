//! The crate against real Redis and Valkey servers, and against files.

mod acl;
mod aof;
mod apply;
mod apply_aof;
mod apply_pieces;
mod capture_limits;
mod cluster;
mod connect;
mod corpus;
mod damage;
mod emit;
mod export;
mod fixture_aof;
mod folder;
mod inspect;
mod long_strings;
mod matrix;
mod oddities;
mod proof;
mod proof_memory;
mod regression;
mod scan;
mod servers;
mod support;
mod tls;
