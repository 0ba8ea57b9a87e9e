//! PostgreSQL for `dbhaul`: the catalog read natively, DDL rendered from it, rows moved by COPY, equality proven.

pub mod catalog;
pub mod error;
pub mod extension;
pub mod quote;

pub use error::Error;
