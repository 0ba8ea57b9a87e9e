//! Values in another form: commands for servers that cannot load a payload, files for older servers, JSON.

pub mod commands;
pub mod export;
