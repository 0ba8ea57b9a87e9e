//! A schema baseline: a declaration of what a database must have, checked against a catalog.
//!
//! ```toml
//! environments = ["minikube", "oci"]
//!
//! [[migration]]                                # in the order in which they are applied
//! name = "v3_2_1_trade_count_split"
//! optional-in = ["minikube"]
//!
//! [extension.vector]
//! optional-in = ["minikube"]
//!
//! [table.daily_risk_state.columns]             # in schema public, unless written "schema.table"
//! date = "date"
//! buy_count = { type = "integer", nullable = false, default = true, provided-by = "v3_2_1_trade_count_split" }
//!
//! [table.daily_risk_state.constraints]
//! daily_risk_state_pkey = { kind = "primary-key", columns = ["date"] }
//! ```
//!
//! Types are compared by meaning: `varchar(20)` is `character varying(20)`. What is optional in an environment is
//! reported when missing, but does not fail the check there. Objects that are not in the baseline are ignored.

mod capture;
mod check;
mod declared;
mod error;
mod migrate;
mod observed;
mod outcome;
pub(crate) mod script;
mod types;

pub use capture::capture;
pub use check::check;
pub use declared::{Baseline, Column, Constraint, ConstraintKind, Extension, Index, Migration, Names, Table};
pub use error::BaselineError;
pub use migrate::{
    Action, Applied, ApplyError, Failed, MigrationRemedy, Mode, Plan, PlanOptions, PlannedFile, Status,
    apply, plan,
};
pub use observed::{Observed, ObservedColumn, ObservedConstraint, ObservedIndex, ObservedTable};
pub use outcome::{CheckOutcome, Finding, Severity};
pub use script::{Script, UnsupportedScript};
