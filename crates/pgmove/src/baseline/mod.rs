//! A schema baseline: what a database must have, declared by people, checked against a catalog.
//!
//! ```toml
//! [migration.v3_2_1_trade_count_split]
//! optional-in = ["minikube"]
//!
//! [table.daily_risk_state]                     # in schema public, unless written "schema.table"
//! indexes = ["daily_risk_state_pkey"]
//! [table.daily_risk_state.columns]
//! date = "date"
//! buy_count = { type = "integer", nullable = false, migration = "v3_2_1_trade_count_split" }
//!
//! [extension.vector]
//! optional-in = ["minikube"]
//! ```
//!
//! Types are compared by meaning: `varchar(20)` is `character varying(20)`. What is optional in an environment is
//! told when it is missing, and does not fail the check there. What a database has beyond its baseline is not looked at.

mod check;
mod declared;
mod types;

pub use check::{Finding, Observed, ObservedColumn, ObservedTable, Severity, Verdict, check};
pub use declared::{Baseline, BaselineError, Column, Extension, Migration, Table};
