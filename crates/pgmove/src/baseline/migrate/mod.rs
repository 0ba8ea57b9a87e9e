//! Migrations against a database: which have been applied, what is left, in which order it can run, and running it.
//!
//! Nothing is recorded in the database. What a file makes is looked for in the catalog, and where the catalog cannot
//! tell (rows, `DO` blocks, calls) that is said.

mod apply;
mod judge;
mod order;
mod plan;
mod state;

pub use apply::{Applied, ApplyError, Failed, apply};
pub use order::plan;
pub use plan::{Action, Mode, Plan, PlanOptions, PlannedFile, Status};
