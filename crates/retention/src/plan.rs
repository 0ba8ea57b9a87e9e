//! Output: every snapshot with its decision and its reasons.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::Period;

/// Why a snapshot is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "reason", content = "period")]
pub enum Reason {
    /// It is the newest of its slot.
    Slot(Period),
    /// It is the oldest, and this rule is not full yet.
    Oldest(Period),
    /// One of the newest, as many as the policy keeps.
    Last,
    /// It is within `keep-within` of the newest.
    Within,
    /// It is the newest that can be restored.
    Newest,
    /// It is the newest that passed a check.
    Checked,
    /// It is the newest that passed a rehearsal.
    Rehearsed,
    /// Pinned by a user.
    Pinned,
    /// It is younger than a day.
    Young,
    /// It is dated in the future; it takes no slot.
    Future,
    /// It is still being written.
    InProgress,
    /// It is incomplete or damaged, but nothing better is newer.
    NothingNewer,
}

/// A reason, and the sources for which it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SourcedReason {
    /// The reason.
    #[serde(flatten)]
    pub reason: Reason,
    /// The sources that need the snapshot for this reason; empty if it does not depend on what the snapshot holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
}

/// The decision on one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry {
    /// Its id.
    pub id: String,
    /// When it was taken.
    pub taken_at: DateTime<Utc>,
    /// Kept or removed.
    pub keep: bool,
    /// Why it is kept; empty if it is removed.
    pub reasons: Vec<SourcedReason>,
    /// The store's time contradicts its date: it takes no slot from another.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub date_unproven: bool,
}

impl Entry {
    /// Whether it is kept for this reason, for whatever source.
    pub fn has(&self, reason: Reason) -> bool {
        self.reasons.iter().any(|sourced| sourced.reason == reason)
    }
}

/// Why nothing must be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "refusal")]
#[non_exhaustive]
pub enum Refusal {
    /// Some manifests cannot be read, so the series is not known.
    Unreadable {
        /// Number of unreadable manifests.
        manifests: usize,
    },
    /// Half of the snapshots or more are dated in the future: the clock is wrong.
    Clock,
    /// Nothing succeeded since the last deletion: backups fail.
    NothingSucceeded {
        /// The last deletion.
        since: DateTime<Utc>,
    },
    /// The number of removals looks like an accident.
    TooMany {
        /// How many would be removed.
        would_go: usize,
        /// How many may.
        limit: usize,
    },
}

/// What the user should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "warning")]
#[non_exhaustive]
pub enum Warning {
    /// A snapshot is dated in the future.
    Future {
        /// The snapshot's id.
        id: String,
        /// Its date.
        taken_at: DateTime<Utc>,
    },
    /// No snapshot of the series can be restored.
    NoneComplete,
}

/// The earliest time to which a source can be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RestorePoint {
    /// The source; `None` if the series' sources are unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The moment.
    pub taken_at: DateTime<Utc>,
}

/// The decisions on a whole series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    /// The zone of the policy, in which times are shown.
    pub zone: chrono_tz::Tz,
    /// The sources of the series, by name. Each is counted separately.
    pub sources: Vec<String>,
    /// Every snapshot, oldest first.
    pub entries: Vec<Entry>,
    /// Warnings for the user.
    pub warnings: Vec<Warning>,
    /// The earliest restore point of each source after the plan is applied.
    pub oldest_restore_points: Vec<RestorePoint>,
    /// Why the plan must not be applied.
    pub refused: Option<Refusal>,
}

impl Plan {
    /// What is removed.
    pub fn removed(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| !entry.keep)
    }

    /// What is kept.
    pub fn kept(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.keep)
    }

    /// The oldest restore point of a source.
    pub fn oldest_restore_point(&self, source: Option<&str>) -> Option<DateTime<Utc>> {
        let point = self.oldest_restore_points.iter().find(|point| point.source.as_deref() == source);
        point.map(|point| point.taken_at)
    }
}
