//! Decides which snapshots to keep and which to remove, and why. Pure: no I/O, and no clock of its own.
//!
//! ```
//! use chrono::{TimeZone as _, Utc};
//! use retention::{Guards, Policy, Snapshot, plan};
//!
//! let policy = Policy { daily: 7, weekly: 4, zone: chrono_tz::Asia::Seoul, ..Policy::default() };
//! let now = Utc.with_ymd_and_hms(2026, 2, 9, 4, 0, 0).unwrap();
//! let snapshots = [Snapshot::complete("a", now)];
//! let plan = plan(&policy, &snapshots, now, &Guards::default())?;
//! assert_eq!(plan.removed().count(), 0);
//! # Ok::<(), retention::PolicyError>(())
//! ```
//!
//! Rules: `hourly`, `daily`, `weekly`, `monthly` and `yearly` keep the newest snapshot in each of the last N periods
//! *that contain one*, in one time zone. Rules may overlap; while a rule has kept fewer than N, it also keeps the
//! oldest snapshot. Each source of the series is counted separately, and a snapshot is kept while any of its sources
//! needs it, so that a snapshot of some sources never replaces those of another source. Some snapshots are always kept
//! ([`Reason`]), and a plan that looks like an accident is refused ([`Refusal`]). A plan is data: the caller prints,
//! serializes and applies it.

mod decide;
mod plan;
mod policy;
mod render;
mod slot;
mod snapshot;

pub use decide::{plan, protected};
pub use plan::{Entry, Plan, Reason, Refusal, RestorePoint, SourcedReason, Warning};
pub use policy::{Policy, PolicyError};
pub use slot::Period;
pub use snapshot::{Guards, Snapshot};
