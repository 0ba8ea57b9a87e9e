//! Conversion of values: to commands for servers that cannot load a payload, to files for older servers, to JSON.

pub mod commands;
pub mod export;
