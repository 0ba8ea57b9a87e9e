//! Migrations: which have been applied, which remain, in which order they can run, and running them.
//!
//! Nothing is recorded in the database. The catalog is searched for what a file creates; where it cannot tell (rows,
//! `DO` blocks, calls), the plan says so.

mod apply;
mod order;
mod plan;
mod state;
mod status;

pub use apply::{Applied, ApplyError, Failed, apply};
pub use order::plan;
pub use plan::{Action, MigrationRemedy, Mode, Plan, PlanOptions, PlannedFile, Status};
