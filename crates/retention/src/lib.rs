//! Which snapshots are kept, which are removed, and why. Pure: no I/O, and no clock of its own.
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
//! The rules: each of `hourly`, `daily`, `weekly`, `monthly` and `yearly` keeps the newest snapshot in each of the
//! last N slots *that hold one*, counted in one time zone; rules may overlap; while a rule has counts left, the oldest
//! snapshot is kept too. Each source of the series is counted by itself, and a snapshot is kept while any source in it
//! needs it: a snapshot of some sources never takes the place of another source's. Beside them some snapshots are always
//! kept ([`Reason`]), and a plan that looks like an accident is refused ([`Refusal`]). A plan is data: the caller prints, serializes and
//! applies it.

mod decide;
mod plan;
mod policy;
mod render;
mod slot;
mod snapshot;

pub use decide::{plan, protected};
pub use plan::{Because, Entry, Plan, Reason, Refusal, RestorePoint, Warning};
pub use policy::{Policy, PolicyError};
pub use slot::Period;
pub use snapshot::{Guards, Snapshot};
